"""Listening sockets, and who reads what they accept: transports of our own, or the loop's.

Ours are faster (``docs/decisions/0023-own-transport.md``). They need Linux, the compiled build
and a loop that watches descriptors (asyncio's own on Linux, uvloop); elsewhere, and where the
settings say so, the event loop's are used.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from switchover.asyncio.flow import send_at_once
from switchover.http.server import COMPILED

__all__ = ["Listening", "bind", "bind_path", "listen", "listen_on_all"]

_own: Any = None
if COMPILED:
    with contextlib.suppress(ImportError):  # not Linux
        from switchover.asyncio._listener import Listener

        _own = Listener


class Listening(Protocol):
    """What accepts connections, until it is closed."""

    @property
    def sockets(self) -> Sequence[Any]:
        """The listening sockets."""

    def close(self) -> None:
        """Accept no more."""


async def bind(host: str | None, port: int, *, reuse_port: bool) -> list[socket.socket]:
    """Return a socket bound to each address of ``host``, to all addresses for ``None``.

    Raises :class:`OSError` if there is none, or one cannot be had.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    with contextlib.ExitStack() as undo:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                failure = error  # a family that the kernel has not got
                continue
            undo.callback(sock.close)
            _prepare(sock, reuse_port=reuse_port)
            try:
                sock.bind(address)
            except OSError as error:
                failure = OSError(error.errno, f"cannot listen on {address}: {error.strerror}")
                if error.errno != errno.EADDRNOTAVAIL:
                    raise failure from None
                sock.close()
                continue  # known to the resolver, and not to any interface: ::1 without IPv6
            sockets.append(sock)
        if not sockets:
            raise failure or OSError(errno.EADDRNOTAVAIL, f"{host!r} has no address")
        undo.pop_all()
    return sockets


def _prepare(sock: socket.socket, *, reuse_port: bool) -> None:
    if os.name == "posix":
        # A port whose last connections have just ended can be had again (not so on Windows,
        # where the option lets two servers have one port).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise OSError(errno.ENOPROTOOPT, "reuse_port: this system has no such option")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        # IPv4 has a socket of its own.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def bind_path(path: str) -> socket.socket:
    """Return a Unix socket bound to ``path``; a socket that stands there already is replaced.

    It may be one that a dead server has left, or that of a live one, which then gets nothing
    more: the event loops do the same. Anything else stays. Raises :class:`OSError` if the path
    cannot be had.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        if not path.startswith("\0"):  # a name that is in no file system
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    os.remove(path)
        try:
            sock.bind(path)
        except OSError as error:
            why = error.strerror or error
            raise OSError(error.errno, f"cannot listen on {path!r}: {why}") from None
        undo.pop_all()
    return sock


async def listen_on_all(
    sockets: Sequence[socket.socket],
    factory: Callable[[], asyncio.BaseProtocol],
    *,
    backlog: int,
    own: bool,
) -> list[Listening]:
    """Accept connections on all ``sockets``, as :func:`listen` does, or on none of them."""
    with contextlib.ExitStack() as undo:
        listening = []
        for sock in sockets:
            one = await listen(sock, factory, backlog=backlog, own=own)
            undo.callback(one.close)
            listening.append(one)
        undo.pop_all()
    return listening


async def listen(
    sock: socket.socket,
    factory: Callable[[], asyncio.BaseProtocol],
    *,
    backlog: int,
    own: bool,
) -> Listening:
    """Accept connections on ``sock``, with a protocol of ``factory`` for each.

    ``own`` asks for transports of our own. Raises :class:`OSError` if it cannot listen.
    """
    send_at_once(sock)
    loop = asyncio.get_running_loop()
    if own and _own is not None and _watches(loop):
        listener: Listening = _own(loop, sock, factory, backlog)
        return listener
    if sock.family == getattr(socket, "AF_UNIX", None):
        return await loop.create_unix_server(factory, sock=sock, backlog=backlog)
    return await loop.create_server(factory, sock=sock, backlog=backlog)


def _watches(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether ``loop`` is one that calls back when a descriptor is ready, as far as is known."""
    kind = type(loop)
    return isinstance(loop, asyncio.SelectorEventLoop) or kind.__module__.startswith("uvloop")
