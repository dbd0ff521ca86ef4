"""Running a coroutine as a command: the event loop, signals, failures as one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import click

from switchover.errors import SwitchoverError

__all__ = ["fail", "in_one_sentence", "loop_factory", "run", "stop_signal"]


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
        fail(in_one_sentence(error))
    sys.exit(code)


def in_one_sentence(error: OSError) -> str:
    """Say what went wrong with a connection or a file, without the words of an errno."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return f"cannot find the host: {error.strerror}"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused{_where(error)}"
    if error.errno is not None and error.filename is not None:
        return f"{error.filename}: {os.strerror(error.errno)}"
    return str(error) or type(error).__name__


def _where(error: OSError) -> str:
    # asyncio writes "Connect call failed ('127.0.0.1', 9)"; a Unix socket's path is left out.
    found = re.search(r"\('([^']+)', (\d+)", str(error))
    return f" by {found[1]} port {found[2]}" if found else ": nobody listens there"


def fail(message: str, code: int = 1) -> NoReturn:
    """Print ``message`` as the command's failure, and exit."""
    click.echo(f"switchover: {message}", err=True)
    sys.exit(code)


def stop_signal() -> asyncio.Event:
    """Return what the first SIGINT or SIGTERM sets; from now on they end nothing themselves."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C is an exception there
            loop.add_signal_handler(number, stopped.set)
    return stopped
