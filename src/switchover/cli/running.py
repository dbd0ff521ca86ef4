"""Running a coroutine as a command: the event loop, signals, failures as one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import click

from switchover.errors import SwitchoverError

__all__ = ["fail", "loop_factory", "run", "until_stopped"]


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop's event loop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run(main: Coroutine[Any, Any, int]) -> NoReturn:
    """Run ``main`` and exit with the code it returns; a failure is one sentence on stderr."""
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            code = runner.run(main)
    except KeyboardInterrupt:
        code = 130
    except SwitchoverError as error:
        fail(str(error))
    except OSError as error:
        fail(str(error))
    sys.exit(code)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print ``message`` as the command's failure, and exit."""
    click.echo(f"switchover: {message}", err=True)
    sys.exit(code)


async def until_stopped() -> None:
    """Return at the first SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C is an exception there
            loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
