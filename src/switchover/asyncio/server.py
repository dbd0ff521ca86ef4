"""The server: listening sockets, the connections on them, and a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl as ssl_module
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from email.utils import formatdate
from typing import Any, Self, cast

from switchover.asyncio.exchange import Exchange, Handler
from switchover.asyncio.http1_server import HTTP1ServerProtocol
from switchover.asyncio.reports import Observer
from switchover.asyncio.roll import Roll
from switchover.asyncio.settings import ServerSettings
from switchover.asyncio.sockets import Listening, bind, bind_path, listen_on_all
from switchover.asyncio.tls import harden
from switchover.asyncio.tls_transport import TLSTransport
from switchover.asyncio.websocket import WebSocket
from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.registry import Policy, Registry, Upgrade, server_order

__all__ = ["Server"]

logger = logging.getLogger("switchover.server")
access = logging.getLogger("switchover.access")


async def _answer_server_options(exchange: Exchange) -> None:
    # RFC 9110 §9.3.7: "An OPTIONS request with an asterisk ("*") as the request target applies
    # to the server in general rather than to a specific resource."
    fields = Fields([("Content-Length", "0")])
    if exchange.facts.protected and exchange.facts.chain[-1] == "HTTP/1.1":
        # RFC 2817 §3.2: this may have asked for TLS. Inside, libshout takes an answer that is
        # silent about the connection for its end, and begins anew for ever.
        fields.add("Connection", "keep-alive")
    await exchange.send_response(Response(200, fields), end=True)


async def not_found(exchange: Exchange) -> None:
    """Answer 404: what a server without an application does with ordinary requests."""
    await exchange.send_response(Response.text(404, "Not Found\n"), end=True)


class Server(Roll):
    """Serves a handler, and the switches it is given, on any number of sockets.

    ``handler`` answers ordinary exchanges; ``upgrades`` are the protocols the server switches
    to, in its order of preference, made by :func:`~switchover.websocket`,
    :func:`~switchover.token` and their kin; ``policy`` selects among several that were
    offered; ``advertise`` names protocols to list in ordinary answers (RFC 9110 §7.8).
    ``connect`` answers CONNECT requests (by default they are refused and the connection
    closed: RFC 9931 §8). ``observer`` is told what becomes of each offer.

    Use it as an asynchronous context manager, or call :meth:`close`::

        async with Server(handler, upgrades=[…]) as server:
            await server.start("127.0.0.1", 8101)
            await server.serve_forever()
    """

    def __init__(
        self,
        handler: Handler | None = None,
        upgrades: Iterable[Upgrade | Iterable[Upgrade]] = (),
        *,
        settings: ServerSettings | None = None,
        connect: Handler | None = None,
        policy: Policy = server_order,
        advertise: Sequence[str] = (),
        observer: Observer | None = None,
    ) -> None:
        super().__init__(settings or ServerSettings())
        self.handler: Handler = handler or not_found
        self.connect = connect
        self.registry = Registry(_flat(upgrades), policy=policy, advertise=advertise)
        self.observer = observer
        #: The handler takes up offers itself, of protocols that are not registered.
        self.handler_takes_offers = False
        self._listeners: list[Listening] = []
        self._unix_paths: list[str] = []
        self._closed: asyncio.Event | None = None
        self._date = (0, "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # Listening.

    async def start(
        self,
        host: str | None = "127.0.0.1",
        port: int = 0,
        *,
        path: str | os.PathLike[str] | None = None,
        sock: socket.socket | None = None,
        ssl: ssl_module.SSLContext | None = None,
        backlog: int = 2048,
        reuse_port: bool = False,
    ) -> None:
        """Listen on ``host`` and ``port``, on the Unix socket ``path``, or on ``sock``.

        May be called more than once. Port 0 takes a free one; :attr:`addresses` says which.
        With ``ssl``, TLS is spoken from the first octet (see :func:`harden` for what that
        changes in the context). Raises :class:`OSError` if the address cannot be had,
        :class:`LocalProtocolError` for a combination that is unsafe.
        """
        if ssl is not None:
            self._check_tls_listener(ssl)
            harden(ssl)
        loop = asyncio.get_running_loop()
        if self._closed is None:
            self._closed = asyncio.Event()
        factory = self._factory(loop, "http" if ssl is None else "https")
        if ssl is not None:
            factory = self._inside(ssl, factory)
        if path is not None:
            path = os.fspath(path)
            sockets = [bind_path(path)]
            if not path.startswith("\0"):  # a name that is in no file system
                self._unix_paths.append(path)
        elif sock is not None:
            sockets = [sock]
        else:
            sockets = await bind(host, port, reuse_port=reuse_port)
        own = self.settings.own_transports
        try:
            self._listeners += await listen_on_all(sockets, factory, backlog=backlog, own=own)
        except BaseException:
            for bound in sockets if sock is None else ():
                bound.close()
            raise

    def _factory(
        self, loop: asyncio.AbstractEventLoop, scheme: str
    ) -> Callable[[], asyncio.BaseProtocol]:
        return lambda: HTTP1ServerProtocol(self, loop, scheme=scheme)

    def _inside(
        self, context: ssl_module.SSLContext, factory: Callable[[], asyncio.BaseProtocol]
    ) -> Callable[[], asyncio.BaseProtocol]:
        seconds = self.settings.timeouts.tls_handshake
        return lambda: TLSTransport(factory(), context, server_side=True, handshake_timeout=seconds)

    def _check_tls_listener(self, context: ssl_module.SSLContext) -> None:
        """Refuse TLS listeners beside a TLS upgrade: see CVE-2025-49812 in THREAT_MODEL.md."""
        for upgrade in self.registry.upgrades:
            check = getattr(upgrade.successor, "check_tls_listener", None)
            if check is not None:
                check(context)

    @property
    def addresses(self) -> list[Any]:
        """Where the server listens: ``(host, port, …)`` tuples, and paths of Unix sockets."""
        return [s.getsockname() for listener in self._listeners for s in listener.sockets]

    @property
    def port(self) -> int:
        """The port of the first listening TCP socket."""
        for address in self.addresses:
            if isinstance(address, tuple):
                return int(address[1])
        raise LocalProtocolError("the server listens on no TCP port")

    async def serve_forever(self) -> None:
        """Return when the server has been closed; cancelling it closes the server."""
        if self._closed is None:
            self._closed = asyncio.Event()
        try:
            await self._closed.wait()
        except asyncio.CancelledError:
            await self.close()
            raise

    # The end.

    async def close(self, grace: float | None = None) -> None:
        """Stop listening and end every connection in the way of its protocol.

        Exchanges under way are finished, WebSockets are closed with 1001, HTTP/2 peers get
        GOAWAY, tunnels their end of data. What is left after ``grace`` seconds (the settings'
        shutdown time by default) is aborted.
        """
        self.closing = True
        self._closing.set()
        for listener in self._listeners:
            listener.close()
        for protocol in list(self.connections):
            _goodbye(protocol)
        await self._drained(self.settings.timeouts.shutdown if grace is None else grace)
        for transport in list(self.connections.values()):
            cast("asyncio.Transport", transport).abort()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        for path in self._unix_paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._unix_paths.clear()
        self._listeners.clear()
        if self._closed is not None:
            self._closed.set()

    async def wait_closing(self) -> None:
        """Return when the server begins to close.

        For answers without an end, such as a stream of events: they have to end then, or they
        are aborted when the time for it is up. (Whether an answer under way is worth finishing
        only its handler can know.)
        """
        await self._closing.wait()

    async def _drained(self, seconds: float) -> None:
        self._empty = asyncio.Event()
        self._check_empty()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            logger.warning("%d connections did not end in time", len(self.connections))

    # What drivers and successors ask of the server.

    def handler_for(self, request: Request) -> Handler:
        """Return what answers ``request``: the server itself for ``OPTIONS *``."""
        if request.target == "*" and request.method == "OPTIONS":
            return _answer_server_options
        return self.handler

    def date(self) -> str:
        """Return the value of the ``Date`` field, made once a second (RFC 9110 §6.6.1)."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True))
        return self._date[1]

    def log_access(self, exchange: Exchange, driver: Any) -> None:
        """Log a finished exchange, if that is wanted; peer octets are escaped (SEC-44)."""
        if self.settings.access_log:
            access.info(
                '%s "%s %s HTTP/%s" %d',
                driver.facts.peername,
                exchange.request.method,
                ascii(exchange.request.target)[1:-1],
                exchange.request.version,
                getattr(exchange, "response_status", 0),
            )


def _flat(upgrades: Iterable[Upgrade | Iterable[Upgrade]]) -> Iterator[Upgrade]:
    for member in upgrades:
        if isinstance(member, Upgrade):
            yield member
        else:
            yield from member


def _goodbye(protocol: asyncio.BaseProtocol) -> None:
    shutdown: Callable[[], None] | None = getattr(protocol, "shutdown", None)
    if shutdown is not None:
        shutdown()
    elif isinstance(protocol, WebSocket):
        protocol.close_nowait(1001, "the server is shutting down")
