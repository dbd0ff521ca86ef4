"""``switchover probe``: what does this server switch to?"""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from switchover.asyncio.dialing import Route
from switchover.asyncio.tls import client_context
from switchover.cli.running import run
from switchover.diagnose.probe import Finding
from switchover.diagnose.probe import probe as find_out

__all__ = ["probe"]

_COLOURS = {
    "switches": "green",
    "speaks": "green",
    "requires": "yellow",
    "refuses": "yellow",
    "violates": "red",
    "silent": "red",
}


@click.command()
@click.argument("url")
@click.option("--offer", "-o", multiple=True, metavar="TOKEN", help="Try this token too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--verbose", "-v", is_flag=True, help="Show the octets exchanged.")
@click.option("--unix", metavar="PATH", default=None, help="Connect to a Unix socket.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False),
    default=None,
    metavar="FILE",
    help="Trust the certificates in this PEM file.",
)
@click.option("--insecure", "-k", is_flag=True, help="Accept any certificate. Dangerous.")
@click.option(
    "--timeout", default=5.0, show_default=True, metavar="SECONDS", help="For each answer."
)
def probe(url: str, **options: Any) -> None:
    """Offer WebSocket, h2c, TLS and more to the server of URL, and show what it does.

    Each offer is made on a connection of its own. At the end HTTP/2 is tried without asking:
    by prior knowledge, or over https by ALPN. Exits with 0 if the server switched to anything
    (or speaks HTTP/2), with 3 if it did not, with 1 if it could not be reached.
    """
    run(_probe(url, options))


async def _probe(url: str, options: dict[str, Any]) -> int:
    findings: list[Finding] = []
    route = Route(path=options["unix"])
    errors = Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=errors,
        transient=True,
        disable=options["as_json"] or not errors.is_terminal,
    ) as progress:
        task = progress.add_task(f"asking {url}")
        async for finding in find_out(
            url,
            offers=options["offer"],
            route=route,
            seconds=options["timeout"],
            contexts=lambda alpn: _context(alpn, options),
        ):
            findings.append(finding)
            progress.update(task, description=f"{finding.name}: {finding.verdict}")
    if options["as_json"]:
        click.echo(json.dumps([_as_json(f) for f in findings], indent=2))
    else:
        _show(url, findings, verbose=options["verbose"])
    return 0 if any(f.verdict in ("switches", "speaks") for f in findings) else 3


def _context(alpn: Sequence[str], options: dict[str, Any]) -> ssl.SSLContext:
    context = client_context(options["ca"], alpn=alpn)
    if options["insecure"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "offer": finding.name,
        "verdict": finding.verdict,
        "status": finding.status,
        "protocol": finding.protocol,
        "connection_kept": finding.kept,
        "detail": finding.detail,
        "sent": finding.transcript.sent.decode("latin-1"),
        "received": finding.transcript.received.decode("latin-1"),
    }


def _show(url: str, findings: list[Finding], *, verbose: bool) -> None:
    console = Console()
    table = Table(title=f"What {url} switches to", title_justify="left")
    for name in ("offer", "verdict", "status", "now speaks", "kept", "detail"):
        table.add_column(name, overflow="fold", no_wrap=name != "detail")
    for finding in findings:
        colour = _COLOURS.get(finding.verdict, "default")
        kept = {True: "yes", False: "no", None: ""}[finding.kept]
        table.add_row(
            finding.name,
            f"[{colour}]{finding.verdict}[/]",
            str(finding.status or ""),
            finding.protocol or "",
            kept,
            _shown(finding.detail),
        )
    console.print(table)
    console.print("kept: the connection could carry another request", style="dim")
    if verbose:
        for finding in findings:
            click.echo(f"\n── {finding.name}")
            _octets(">", finding.transcript.sent)
            _octets("<", finding.transcript.received)


def _octets(mark: str, data: bytes) -> None:
    for line in data.splitlines(keepends=True)[:60]:
        click.echo(f"{mark} {repr(line)[2:-1]}")


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text).replace("[", "\\[")
