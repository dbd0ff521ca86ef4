"""Opening the connection that a client's request will travel on."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl as ssl_module
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from switchover.asyncio.flow import send_at_once
from switchover.asyncio.proxies import Proxy, open_through, proxies_for
from switchover.asyncio.tls import ClientTLS, client_context, connect_inside
from switchover.errors import DeadlineExceeded
from switchover.http.uri import URL

__all__ = [
    "PhaseLimit",
    "Route",
    "connecting_turn",
    "default_context",
    "limit_time",
    "open_connection",
    "own_limits",
]


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach the server of a URL.

    ``path`` is a Unix socket to use instead of the URL's host and port. ``sock`` is a
    connected socket to use once. ``ssl`` is the context for TLS from the first octet
    (``None``: a default that verifies). ``server_hostname`` replaces the URL's host in SNI
    and in the check of the certificate. ``local_address`` is where to connect from.
    """

    path: str | os.PathLike[str] | None = None
    sock: socket.socket | None = field(default=None, compare=False)
    ssl: ssl_module.SSLContext | None = None
    server_hostname: str | None = None
    local_address: tuple[str, int] | None = None
    proxy: str | Proxy | Sequence[str | Proxy] | bool | None = None

    def with_context(self, context: ssl_module.SSLContext) -> Route:
        """Return the same route with ``context`` for TLS."""
        return replace(self, ssl=context)


@cache
def default_context() -> ssl_module.SSLContext:
    """Return the context used when none is given: TLS 1.2 at least, certificates verified."""
    return client_context()


async def open_connection(
    url: URL, route: Route, factory: Callable[[], asyncio.BaseProtocol]
) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    """Connect to the server of ``url``; return the transport and the protocol made for it.

    Raises :class:`OSError`, :class:`ssl.SSLError` or :class:`ssl.CertificateError`.
    """
    tls = None
    if url.secure:
        tls = ClientTLS(route.ssl or default_context(), route.server_hostname or url.host)
    proxies = proxies_for(url, route.proxy)
    if proxies:
        return await open_through(proxies, url, factory, tls)
    return await connect_inside(tls, factory, lambda made: _connect(url, route, made))


async def _connect(
    url: URL, route: Route, factory: Callable[[], asyncio.BaseProtocol]
) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    loop = asyncio.get_running_loop()
    keywords: dict[str, Any] = {}
    if route.path is not None:
        return await loop.create_unix_connection(factory, os.fspath(route.path))
    if route.sock is not None:
        send_at_once(route.sock)
        return await loop.create_connection(factory, sock=route.sock)
    if isinstance(loop, asyncio.BaseEventLoop) and not _is_address(url.host):
        keywords["happy_eyeballs_delay"] = 0.25  # uvloop tries one address after the other
    if route.local_address is not None:
        keywords["local_addr"] = route.local_address
    return await loop.create_connection(factory, url.host, url.port, **keywords)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


_turns: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[str, int], asyncio.Lock]
] = weakref.WeakKeyDictionary()


@asynccontextmanager
async def connecting_turn(url: URL) -> AsyncIterator[None]:
    """Wait until no other WebSocket to the same host and port is in state CONNECTING.

    RFC 6455 §4.1: "There MUST be no more than one connection in a CONNECTING state" for one
    remote address. Host and port as named in the URL stand for the address.
    """
    locks = _turns.setdefault(asyncio.get_running_loop(), {})
    key = (url.host.lower(), url.port)
    lock = locks.setdefault(key, asyncio.Lock())
    try:
        async with lock:
            yield
    finally:
        if not lock.locked() and not getattr(lock, "_waiters", None):
            locks.pop(key, None)


class PhaseLimit:
    """A limit for one phase of one request, in the place of the client's own.

    ``seconds`` may be ``None``: no limit. :meth:`restart` starts it anew, from any thread.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Timeout] | None = None

    def restart(self) -> None:
        """Give the phase its whole time again, if it is under way."""
        running = self._running
        if running is not None:
            running[0].call_soon_threadsafe(self._restart)

    def enter(self, limit: asyncio.Timeout) -> None:
        """Take note that the phase has begun, and what ends it."""
        self._running = asyncio.get_running_loop(), limit

    def leave(self) -> None:
        """Take note that the phase is over."""
        self._running = None

    def _restart(self) -> None:
        if self._running is not None and self.seconds is not None:
            loop, limit = self._running
            if not limit.expired():
                limit.reschedule(loop.time() + self.seconds)


_own_limits: ContextVar[Mapping[str, PhaseLimit]] = ContextVar("own_limits")


@contextmanager
def own_limits(limits: Mapping[str, PhaseLimit]) -> Iterator[None]:
    """Let what is started in the block, in this task or thread, take ``limits`` by phase."""
    token = _own_limits.set(limits)
    try:
        yield
    finally:
        _own_limits.reset(token)


@asynccontextmanager
async def limit_time(phase: str, seconds: float | None) -> AsyncIterator[None]:
    """Raise :class:`DeadlineExceeded` if the block takes longer than ``seconds``.

    :func:`own_limits` take precedence.
    """
    own = _own_limits.get({}).get(phase) or PhaseLimit(seconds)
    if own.seconds is None:
        yield
        return
    limit = asyncio.timeout(own.seconds)
    try:
        async with limit:
            own.enter(limit)
            yield
    except TimeoutError as error:
        if limit.expired():
            raise DeadlineExceeded(phase, own.seconds) from error
        raise
    finally:
        own.leave()
