"""``connect()``: a WebSocket to a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from switchover.asyncio.client import Client
from switchover.asyncio.dialing import Route, connecting_turn, limit_time, open_connection
from switchover.asyncio.http1_client import HTTP1ClientProtocol
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.http2_tunnels import open_websocket_stream
from switchover.asyncio.switching import hand_over
from switchover.asyncio.websocket import WebSocket
from switchover.errors import HandshakeRejected, RemoteProtocolError, SwitchError
from switchover.http.events import Switched
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.messages import Request, Response
from switchover.http.uri import URL, parse_url
from switchover.websocket.connection import Connection, Side
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.extensions import ClientExtension
from switchover.websocket.opening import (
    Negotiated,
    check_response,
    extended_request,
    opening_request,
    redirected,
)
from switchover.websocket.opening.redirects import REDIRECTS

__all__ = ["connect", "open_websocket"]

_FieldLines = Fields | Mapping[str, str] | Iterable[tuple[str, str]]
#: Octets of a refusal's content that its exception carries.
_REFUSAL_LIMIT = 64 * 1024


class connect:  # used like a function, as ``open`` is
    """Open a WebSocket to ``url`` (``ws``, ``wss``; ``http`` and ``https`` stand for them).

    ``subprotocols`` are offered in order of preference; ``extensions`` are offered too
    (permessage-deflate by default, ``()`` for none); ``origin`` and ``fields`` go into the
    request. ``route`` says how the server is reached (Unix socket, TLS context).
    ``open_timeout`` limits, in seconds, everything until the connection is open.
    ``max_redirects`` redirects are followed. ``one_at_a_time`` keeps RFC 6455 §4.1's rule of
    one handshake at a time for each host and port. With ``client``, the WebSocket is opened on
    that client's connections: over HTTP/2 it shares one with other requests (RFC 8441).

    ``max_message_size`` and further ``options`` are those of :class:`WebSocket`::

        async with switchover.connect("ws://localhost/echo") as ws:
            await ws.send("hello")
            print(await ws.recv())

    With ``ws = await connect(…)`` the caller closes it. Raises :class:`HandshakeRejected`
    (which carries the server's whole answer), :class:`InvalidHandshake`,
    :class:`DeadlineExceeded`, :class:`OSError`.
    """

    def __init__(
        self,
        url: str,
        *,
        subprotocols: Sequence[str] = (),
        extensions: Sequence[ClientExtension] | None = None,
        origin: str | None = None,
        fields: _FieldLines = (),
        route: Route | None = None,
        open_timeout: float | None = 10.0,
        max_redirects: int = 0,
        one_at_a_time: bool = True,
        limits: Limits | None = None,
        client: Client | None = None,
        **options: Any,
    ) -> None:
        self._url = url
        self._subprotocols = subprotocols
        self._extensions = (PermessageDeflate(),) if extensions is None else tuple(extensions)
        self._origin = origin
        self._fields = fields
        self._route = route or Route()
        self._open_timeout = open_timeout
        self._max_redirects = max_redirects
        self._one_at_a_time = one_at_a_time
        self._limits = limits
        self._client = client
        self._options = options
        self._ws: WebSocket | None = None

    def __await__(self) -> Generator[Any, None, WebSocket]:
        return self._open().__await__()

    async def __aenter__(self) -> WebSocket:
        self._ws = await self._open()
        return self._ws

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        assert self._ws is not None
        await self._ws.close(1000 if exc_type is None else 1011)

    async def _open(self) -> WebSocket:
        url, fields = parse_url(self._url), Fields(self._fields)
        async with limit_time("opening the WebSocket", self._open_timeout):
            for _ in range(self._max_redirects):
                try:
                    return await self._attempt(url, fields)
                except HandshakeRejected as rejected:
                    response = rejected.response
                    if response is None or response.status not in REDIRECTS:
                        raise
                    url, fields = redirected(url, response, fields)
            return await self._attempt(url, fields)

    async def _attempt(self, url: URL, fields: Fields) -> WebSocket:
        async with AsyncExitStack() as stack:
            connection = await self._connection(url, fields, stack)
            if isinstance(connection, HTTP2ClientProtocol):
                await stack.aclose()  # a stream is no connection: the next may begin
                request = self._request(extended_request, url, fields)
                return await open_websocket_stream(
                    connection, request, self._extensions, **self._options
                )
            request = self._request(opening_request, url, fields)
            return await open_websocket(connection, request, self._extensions, **self._options)

    async def _connection(
        self, url: URL, fields: Fields, stack: AsyncExitStack
    ) -> HTTP1ClientProtocol | HTTP2ClientProtocol:
        self._request(opening_request, url, fields)  # what may not be sent is said first
        if self._one_at_a_time:
            await stack.enter_async_context(connecting_turn(url))
        if self._client is not None:
            return await self._client.pool.connection(url)
        _, driver = await open_connection(
            url, self._route, lambda: HTTP1ClientProtocol(limits=self._limits)
        )
        assert isinstance(driver, HTTP1ClientProtocol)
        return driver

    def _request(self, make: Callable[..., Request], url: URL, fields: Fields) -> Request:
        # RFC 6455 §4.1: each attempt has a nonce of its own.
        return make(
            url,
            subprotocols=self._subprotocols,
            extensions=self._extensions,
            origin=self._origin,
            fields=fields,
        )


async def open_websocket(
    driver: HTTP1ClientProtocol,
    request: Request,
    extensions: Sequence[ClientExtension] = (),
    *,
    max_message_size: int | None = 1024 * 1024,
    **options: Any,
) -> WebSocket:
    """Send the opening ``request`` on ``driver``'s connection; return the WebSocket.

    Raises what :func:`check_response` raises; the connection is closed then.
    """
    opened: list[WebSocket] = []
    problem: list[SwitchError] = []
    agreed: list[Negotiated] = []

    def check(sent: Request, response: Response) -> str:
        try:
            agreed.append(check_response(sent, response, extensions=extensions))
        except SwitchError as error:
            problem.append(error)
            raise RemoteProtocolError(str(error), rule=error.rule) from error
        return "websocket"

    def on_switch(event: Switched, transport: asyncio.Transport) -> None:
        machine = Connection(
            Side.CLIENT,
            extensions=agreed[0].extensions,
            subprotocol=agreed[0].subprotocol,
            max_message_size=max_message_size,
        )
        ws = WebSocket(machine, request=event.request, response=event.response, **options)
        opened.append(ws)
        hand_over(transport, ws, event.trailing_data)

    try:
        answer = await driver.send(request, check=check, on_switch=on_switch)
        if isinstance(answer, Switched):
            return opened[0]
        answer.content = await _refusal(driver)
        # RFC 6455 §4.1: "If the status code received from the server is not 101, the client
        # handles the response per HTTP procedures."
        check_response(request, answer, extensions=extensions)
        raise AssertionError("a response other than 101 was taken for the handshake")
    except BaseException:
        driver.abort()
        if problem:
            raise problem[0] from None
        raise


async def _refusal(driver: HTTP1ClientProtocol) -> bytes:
    """Read the content of a refusal, as much as the exception should carry."""
    content = b""
    while len(content) < _REFUSAL_LIMIT and (piece := await driver.read()):
        content += piece
    return content[:_REFUSAL_LIMIT]
