"""``switchover``: the group of commands."""

from __future__ import annotations

import sys

import click

import switchover
from switchover.cli.connect import connect
from switchover.cli.probe import probe
from switchover.cli.serve import serve
from switchover.http.head import COMPILED as HEAD_COMPILED
from switchover.websocket.framing import COMPILED as FRAMING_COMPILED

__all__ = ["main"]


def _version() -> str:
    compiled = {True: "compiled", False: "pure Python"}
    return (
        f"switchover {switchover.__version__} (Python {sys.version.split()[0]};"
        f" heads: {compiled[HEAD_COMPILED]}, frames: {compiled[FRAMING_COMPILED]})"
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(switchover.__version__, message=_version())
def main() -> None:
    """Switch protocols over HTTP: serve, connect, and see what a server switches to."""


main.add_command(serve)
main.add_command(connect)
main.add_command(probe)
