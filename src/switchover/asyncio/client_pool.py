"""The connections of a client: kept, reused, and closed with it."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import ssl as ssl_module
from typing import Any, cast

from switchover.asyncio.client_response import ContentSource
from switchover.asyncio.dialing import Route, limit_time, open_connection
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.http1_client import HTTP1ClientProtocol
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.tls import client_context
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.uri import URL

__all__ = ["HTTP2", "ClientPool", "PoolKey"]

#: Scheme, host, port, and whether the connection was switched to TLS.
PoolKey = tuple[str, str, int, bool]
_HTTP_SCHEME = {"ws": "http", "wss": "https"}


class HTTP2(enum.Enum):
    """Whether a client begins in HTTP/2; it may also switch to it, by offering ``h2c``."""

    #: Begin in HTTP/1.1.
    NEVER = "never"
    #: Over TLS, let ALPN decide (RFC 9113 §3.2); in cleartext begin in HTTP/1.1.
    ALPN = "alpn"
    #: Begin in HTTP/2 without asking (RFC 9113 §3.3): the server is known to speak it.
    PRIOR_KNOWLEDGE = "prior knowledge"


class ClientPool:
    """The connections of one client.

    An HTTP/1.1 connection carries one request at a time and is kept when it is through; an
    HTTP/2 connection carries many, and there is one for each origin.
    """

    def __init__(
        self,
        route: Route,
        *,
        http2: HTTP2,
        limits: Limits,
        timeout: float | None,
        max_idle: int,
    ) -> None:
        self.route = route
        self.http2 = http2
        self.limits = limits
        self.timeout = timeout
        self.max_idle = max_idle
        self._idle: dict[PoolKey, list[HTTP1ClientProtocol]] = {}
        self._shared: dict[PoolKey, HTTP2ClientProtocol] = {}
        self._dialling: dict[PoolKey, asyncio.Lock] = {}
        #: What else ends with the client: tunnels, and connections that are HTTP/2 now.
        self._adopted: dict[Any, None] = {}
        self._live: set[HTTP1ClientProtocol] = set()
        self._empty: asyncio.Event | None = None
        self._closed = False

    async def close(self) -> None:
        """Close every connection; what was adopted ends in order, or after a second."""
        self._closed = True
        self._idle.clear()
        self._shared.clear()
        for connection in list(self._live):
            connection.on_idle_end = None
            connection.close()
        adopted = list(self._adopted)
        for switched in adopted:
            switched.shutdown(1.0)
        if adopted:
            await asyncio.gather(*(one.wait_closed() for one in adopted))
        if self._live:
            self._empty = asyncio.Event()
            await self._empty.wait()

    def adopt(self, switched: Any) -> None:
        """End ``switched`` (it has ``shutdown(timeout)`` and ``wait_closed()``) with the pool."""
        self._adopted[switched] = None

    def release(self, switched: Any) -> None:
        """Forget what was adopted: it has ended, or is the caller's to end."""
        self._adopted.pop(switched, None)

    # Having a connection.

    async def connection(
        self, url: URL, *, protected: bool = False
    ) -> HTTP1ClientProtocol | HTTP2ClientProtocol:
        """Return a connection that may carry a request to ``url``, made if need be.

        ``protected`` asks for one that was switched to TLS, which is never made here. Raises
        :class:`Disconnected` if there is none, and what connecting raises.
        """
        key = pool_key(url, protected=protected)
        kept = self._kept(key)
        if kept is not None:
            return kept
        if protected:
            raise Disconnected("the connection that was switched to TLS has been closed")
        if not self._may_share(url):
            return await self._dial(url, key)
        # Whoever comes while the first connection is being made may find it shared.
        lock = self._dialling.setdefault(key, asyncio.Lock())
        async with lock:
            return self._kept(key) or await self._dial(url, key)

    def _may_share(self, url: URL) -> bool:
        return self.http2 is HTTP2.PRIOR_KNOWLEDGE or (self.http2 is HTTP2.ALPN and url.secure)

    def _kept(self, key: PoolKey) -> HTTP1ClientProtocol | HTTP2ClientProtocol | None:
        if self._closed:
            raise LocalProtocolError("the client has been closed")
        shared = self._shared.get(key)
        if shared is not None:
            if shared.reusable:
                return shared
            del self._shared[key]
        idle = self._idle.get(key, [])
        while idle:
            connection = idle.pop()
            connection.on_idle_end = None
            if connection.reusable:
                return connection
            connection.close()
        return None

    def has_protected(self, url: URL) -> bool:
        """Whether a connection to ``url`` that was switched to TLS is free."""
        idle = self._idle.get(pool_key(url, protected=True), ())
        return any(connection.reusable for connection in idle)

    async def _dial(self, url: URL, key: PoolKey) -> HTTP1ClientProtocol | HTTP2ClientProtocol:
        async with limit_time("connecting", self.timeout):
            _, chooser = await open_connection(url, self._route_to(url), self._chooser)
        chosen = cast("_Chooser", chooser).chosen
        if isinstance(chosen, HTTP2ClientProtocol):
            self.keep_http2(url, chosen)
        else:
            self.keep_account(chosen)
        return chosen

    def _route_to(self, url: URL) -> Route:
        if self.http2 is HTTP2.NEVER or not url.secure or self.route.ssl is not None:
            return self.route
        return self.route.with_context(_http2_context())

    def _chooser(self) -> _Chooser:
        return _Chooser(self)

    def keep_account(self, connection: HTTP1ClientProtocol) -> None:
        """Close ``connection`` with the client, whatever it is doing then."""
        if not connection.lost:
            self._live.add(connection)
            connection.on_lost = self._lost

    def _lost(self, connection: HTTP1ClientProtocol) -> None:
        self._live.discard(connection)
        if self._empty is not None and not self._live:
            self._empty.set()

    # Giving it back.

    def keep_http2(self, url: URL, connection: HTTP2ClientProtocol) -> None:
        """Share ``connection`` among the requests to the origin of ``url``."""
        self.adopt(connection)
        self._shared[pool_key(url)] = connection
        connection.on_end = self.release

    def borrow(
        self, url: URL, connection: HTTP1ClientProtocol, *, protected: bool = False
    ) -> ContentSource:
        """Return the content of the response on ``connection``, which comes back after it."""
        return _Borrowed(self, pool_key(url, protected=protected), connection)

    def put_back(self, key: PoolKey, connection: HTTP1ClientProtocol) -> None:
        """Keep ``connection`` for the next request under ``key``, if it may carry one."""
        idle = self._idle.setdefault(key, [])
        # What was switched to TLS is put back for the very request it was switched for.
        most = max(self.max_idle, 1) if key[3] else self.max_idle
        if self._closed or not connection.reusable or len(idle) >= most:
            connection.close()
            return

        def forget(lost: HTTP1ClientProtocol) -> None:
            with contextlib.suppress(ValueError):
                idle.remove(lost)

        connection.on_idle_end = forget
        idle.append(connection)


class _Chooser(asyncio.Protocol):
    """Takes a new connection, and gives it to the driver of the protocol it begins in."""

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
        self.chosen: HTTP1ClientProtocol | HTTP2ClientProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        session = transport.get_extra_info("ssl_object")
        alpn = session.selected_alpn_protocol() if session is not None else None
        if alpn == "h2" or (self._pool.http2 is HTTP2.PRIOR_KNOWLEDGE and session is None):
            self.chosen = HTTP2ClientProtocol(asyncio.get_running_loop())
        else:
            self.chosen = HTTP1ClientProtocol(limits=self._pool.limits)
        transport.set_protocol(self.chosen)
        self.chosen.connection_made(transport)


class _Borrowed:
    """The content of a response; gives the connection back when it has been read."""

    __slots__ = ("_connection", "_key", "_pool", "_released")

    def __init__(self, pool: ClientPool, key: PoolKey, connection: HTTP1ClientProtocol) -> None:
        self._pool = pool
        self._key = key
        self._connection = connection
        self._released = False

    @property
    def trailers(self) -> Fields | None:
        return self._connection.trailers

    @property
    def facts(self) -> PeerFacts:
        return self._connection.facts

    async def read(self) -> bytes:
        if self._released:
            return b""
        try:
            return await self._connection.read()
        except BaseException:
            self._connection.abort()
            raise

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._pool.put_back(self._key, self._connection)


def _http2_context() -> ssl_module.SSLContext:
    """Return a context that verifies, and offers ``h2`` and ``http/1.1`` by ALPN."""
    # RFC 9113 §9.2: TLS 1.2 at least, and SNI, which asyncio sends.
    return client_context(alpn=("h2", "http/1.1"))


def pool_key(url: URL, *, protected: bool = False) -> PoolKey:
    """Return what connections to ``url`` are kept under."""
    return (_HTTP_SCHEME.get(url.scheme, url.scheme), url.host, url.port, protected)
