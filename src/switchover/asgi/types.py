"""The vocabulary of ASGI 3.0: scopes, messages and the application itself.

The ``TypedDict`` classes say what this server puts into a scope and what it understands
in a message. The callables are typed with plain mappings, as the frameworks type theirs:
an application written against any of them is an :data:`Application`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Literal, NotRequired, TypedDict

__all__ = [
    "ASGIVersions",
    "Application",
    "HTTPDisconnectEvent",
    "HTTPEarlyHintEvent",
    "HTTPRequestEvent",
    "HTTPResponseBodyEvent",
    "HTTPResponseStartEvent",
    "HTTPResponseTrailersEvent",
    "HTTPScope",
    "HeaderList",
    "LifespanScope",
    "LifespanShutdownCompleteEvent",
    "LifespanShutdownEvent",
    "LifespanShutdownFailedEvent",
    "LifespanStartupCompleteEvent",
    "LifespanStartupEvent",
    "LifespanStartupFailedEvent",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "TLSExtension",
    "UpgradeAbortEvent",
    "UpgradeDisconnectEvent",
    "UpgradeExtension",
    "UpgradeReceiveEvent",
    "UpgradeSendEvent",
    "WebSocketAcceptEvent",
    "WebSocketCloseEvent",
    "WebSocketConnectEvent",
    "WebSocketDisconnectEvent",
    "WebSocketReceiveEvent",
    "WebSocketResponseBodyEvent",
    "WebSocketResponseStartEvent",
    "WebSocketScope",
    "WebSocketSendEvent",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: What a user writes, or a framework makes: ``async def app(scope, receive, send)``.
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HeaderList = Iterable[tuple[bytes, bytes]]


class ASGIVersions(TypedDict):
    """Which ASGI, and which revision of the message format inside it."""

    version: str
    spec_version: str


class TLSExtension(TypedDict):
    """``extensions["tls"]`` (ASGI TLS extension 0.2)."""

    server_cert: str | None
    client_cert_chain: list[str]
    client_cert_name: str | None
    client_cert_error: str | None
    tls_version: int | None
    cipher_suite: int | None


class UpgradeExtension(TypedDict):
    """``extensions["http.upgrade"]`` (``docs/reference/asgi-upgrade.md``)."""

    version: str
    mechanism: Literal["upgrade", "connect", "extended-connect"]
    protocols: list[str]
    authority: str
    receive: Receive
    send: Send


class HTTPScope(TypedDict):
    """One HTTP request."""

    type: Literal["http"]
    asgi: ASGIVersions
    http_version: str
    method: str
    scheme: str
    path: str
    raw_path: bytes
    query_string: bytes
    root_path: str
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    state: NotRequired[dict[str, Any]]
    extensions: dict[str, Any]


class WebSocketScope(TypedDict):
    """One WebSocket connection, from its opening handshake on."""

    type: Literal["websocket"]
    asgi: ASGIVersions
    http_version: str
    scheme: str
    path: str
    raw_path: bytes
    query_string: bytes
    root_path: str
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    subprotocols: list[str]
    state: NotRequired[dict[str, Any]]
    extensions: dict[str, Any]


class LifespanScope(TypedDict):
    """The life of the server."""

    type: Literal["lifespan"]
    asgi: ASGIVersions
    state: dict[str, Any]


class HTTPRequestEvent(TypedDict):
    """A piece of the request's content."""

    type: Literal["http.request"]
    body: bytes
    more_body: bool


class HTTPDisconnectEvent(TypedDict):
    """The client has left, or the response is complete."""

    type: Literal["http.disconnect"]


class HTTPResponseStartEvent(TypedDict):
    """Status and fields; held back until the first body message."""

    type: Literal["http.response.start"]
    status: int
    headers: NotRequired[HeaderList]
    trailers: NotRequired[bool]


class HTTPResponseBodyEvent(TypedDict):
    """A piece of the response's content."""

    type: Literal["http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HTTPResponseTrailersEvent(TypedDict):
    """Trailer fields (extension ``http.response.trailers``)."""

    type: Literal["http.response.trailers"]
    headers: NotRequired[HeaderList]
    more_trailers: NotRequired[bool]


class HTTPEarlyHintEvent(TypedDict):
    """A 103 with ``Link`` fields (extension ``http.response.early_hint``)."""

    type: Literal["http.response.early_hint"]
    links: NotRequired[Iterable[bytes]]


class UpgradeReceiveEvent(TypedDict):
    """Octets of the switched connection; ``more`` false: the peer has ended its data."""

    type: Literal["http.upgrade.receive"]
    data: bytes
    more: bool


class UpgradeDisconnectEvent(TypedDict):
    """The switched connection is over; ``clean``: both directions were ended, none cut."""

    type: Literal["http.upgrade.disconnect"]
    clean: bool


class UpgradeSendEvent(TypedDict):
    """Octets for the peer; ``more`` false ends this direction (half-close)."""

    type: Literal["http.upgrade.send"]
    data: NotRequired[bytes]
    more: NotRequired[bool]


class UpgradeAbortEvent(TypedDict):
    """Cut the switched connection off, so that the peer sees an error."""

    type: Literal["http.upgrade.abort"]


class WebSocketConnectEvent(TypedDict):
    """The opening handshake waits for an answer."""

    type: Literal["websocket.connect"]


class WebSocketAcceptEvent(TypedDict):
    """Complete the opening handshake."""

    type: Literal["websocket.accept"]
    subprotocol: NotRequired[str | None]
    headers: NotRequired[HeaderList]


class WebSocketReceiveEvent(TypedDict):
    """A message; exactly one of the two keys is present."""

    type: Literal["websocket.receive"]
    bytes: NotRequired[bytes]
    text: NotRequired[str]


class WebSocketSendEvent(TypedDict):
    """A message; exactly one of the two keys is present and not ``None``."""

    type: Literal["websocket.send"]
    bytes: NotRequired[bytes | None]
    text: NotRequired[str | None]


class WebSocketDisconnectEvent(TypedDict):
    """The WebSocket connection has ended."""

    type: Literal["websocket.disconnect"]
    code: int
    reason: str


class WebSocketCloseEvent(TypedDict):
    """Close, or before *accept*: refuse with 403."""

    type: Literal["websocket.close"]
    code: NotRequired[int]
    reason: NotRequired[str | None]


class WebSocketResponseStartEvent(TypedDict):
    """Refuse with this response (extension ``websocket.http.response``)."""

    type: Literal["websocket.http.response.start"]
    status: int
    headers: NotRequired[HeaderList]


class WebSocketResponseBodyEvent(TypedDict):
    """Content of that response."""

    type: Literal["websocket.http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class LifespanStartupEvent(TypedDict):
    """The server is about to listen."""

    type: Literal["lifespan.startup"]


class LifespanShutdownEvent(TypedDict):
    """The server has closed its connections."""

    type: Literal["lifespan.shutdown"]


class LifespanStartupCompleteEvent(TypedDict):
    """The application is ready."""

    type: Literal["lifespan.startup.complete"]


class LifespanStartupFailedEvent(TypedDict):
    """The application cannot run; the server must not start."""

    type: Literal["lifespan.startup.failed"]
    message: NotRequired[str]


class LifespanShutdownCompleteEvent(TypedDict):
    """The application has cleaned up."""

    type: Literal["lifespan.shutdown.complete"]


class LifespanShutdownFailedEvent(TypedDict):
    """The application could not clean up."""

    type: Literal["lifespan.shutdown.failed"]
    message: NotRequired[str]
