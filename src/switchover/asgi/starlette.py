"""Routes for Starlette and FastAPI whose handlers take over the connection.

Needs Starlette, which switchover itself does not. A handler gets the request, with
everything that middleware has put into it, and the switched connection::

    async def irc(request: Request, connection: UpgradedConnection) -> None:
        async for data in connection:
            await connection.send(data)

    app = FastAPI()
    app.router.routes.append(UpgradeRoute("/irc", irc, protocols=["irc/6.9"]))

In an ordinary route, with FastAPI's dependencies, return an :class:`UpgradeResponse`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from switchover.asgi.types import UpgradeExtension
from switchover.asgi.upgrade import extension_of
from switchover.errors import Disconnected
from switchover.upgrade.tokens import UpgradeToken

__all__ = [
    "ConnectRoute",
    "UpgradeHandler",
    "UpgradeResponse",
    "UpgradeRoute",
    "UpgradedConnection",
    "offered_protocols",
]


class UpgradedConnection:
    """A connection after the switch, as the ``http.upgrade`` extension gives it.

    Iterate over it for the octets as they come; the iteration ends when the peer has ended
    its data. ``protocol`` is the one that was selected.
    """

    def __init__(self, extension: UpgradeExtension, protocol: str) -> None:
        self.protocol = protocol
        self._receive = extension["receive"]
        self._send = extension["send"]
        self._ended = False

    async def receive(self) -> bytes:
        """Return the next octets, ``b""`` once the peer has ended its data.

        Raises:
            Disconnected: the connection was cut off before.
        """
        if self._ended:
            return b""
        message = await self._receive()
        if message["type"] == "http.upgrade.disconnect":
            raise Disconnected("the connection was lost")
        self._ended = not message["more"]
        data: bytes = message["data"]
        return data if data or self._ended else await self.receive()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the octets until the peer's end of data."""
        while data := await self.receive():
            yield data

    async def send(self, data: bytes) -> None:
        """Send octets; waits while the peer does not read. Raises ``Disconnected``."""
        await self._send({"type": "http.upgrade.send", "data": data, "more": True})

    async def send_eof(self) -> None:
        """End our direction; the peer may go on sending."""
        await self._send({"type": "http.upgrade.send", "data": b"", "more": False})

    async def abort(self) -> None:
        """Cut the connection off."""
        await self._send({"type": "http.upgrade.abort"})


#: ``async def handler(request, connection)``; the connection closes when it returns.
UpgradeHandler = Callable[[Request, UpgradedConnection], Awaitable[None]]


def offered_protocols(request: Request) -> list[str]:
    """Return what the request offers to switch to, the client's favourite first."""
    extension = extension_of(request.scope)
    return list(extension["protocols"]) if extension is not None else []


class UpgradeResponse(Response):
    """The response that switches: return it from any route.

    Args:
        handler: Called with the request and the connection, after the switch.
        protocol: One of :func:`offered_protocols`; ``None`` for a plain CONNECT.
        headers: Further fields of the response.
    """

    def __init__(
        self,
        handler: UpgradeHandler,
        protocol: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        fields = dict(headers or {})
        if protocol is not None:
            fields["upgrade"] = protocol
        super().__init__(status_code=101, headers=fields)
        self.handler = handler
        self.protocol = protocol

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the 101, then run the handler on the connection."""
        extension = extension_of(scope)
        if extension is None:
            raise RuntimeError(
                "scope['extensions'] has no 'http.upgrade': the request offers no protocol, or the"
                " server, or a middleware that builds its own scope, does not pass it on"
            )
        await super().__call__(scope, receive, send)
        connection = UpgradedConnection(extension, self.protocol or "CONNECT")
        await self.handler(Request(scope, receive), connection)


class UpgradeRoute(Route):
    """A path that switches to one of ``protocols``, in this order of preference.

    A request that offers none of them goes to ``otherwise``, an ordinary endpoint, or is
    answered 426 with the list.
    """

    def __init__(
        self,
        path: str,
        handler: UpgradeHandler,
        *,
        protocols: Sequence[str],
        otherwise: Callable[[Request], Awaitable[Response]] | None = None,
        methods: Sequence[str] = ("GET", "POST", "CONNECT"),
        name: str | None = None,
    ) -> None:
        self.handler = handler
        self.tokens = [UpgradeToken.parse(protocol) for protocol in protocols]
        self.otherwise = otherwise
        super().__init__(path, self._endpoint, methods=list(methods), name=name)

    async def _endpoint(self, request: Request) -> Response:
        for token in self.tokens:
            for offered in offered_protocols(request):
                if token.matches(UpgradeToken.parse(offered)):
                    return UpgradeResponse(self.handler, offered)
        if self.otherwise is not None:
            return await self.otherwise(request)
        return self._required()

    def _required(self) -> Response:
        # RFC 9110 §15.5.22: "The server MUST send an Upgrade header field in a 426 response to
        # indicate the required protocol(s)".
        listed = ", ".join(map(str, self.tokens))
        return PlainTextResponse(
            f"Upgrade Required: this resource is served over {listed}.\n",
            status_code=426,
            headers={"upgrade": listed, "connection": "upgrade"},
        )


class ConnectRoute(BaseRoute):
    """Takes CONNECT requests, whatever their target, that ``allowed`` lets through.

    Args:
        handler: Called with the request and the tunnel; the target is
            ``request.scope["extensions"]["http.upgrade"]["authority"]``.
        allowed: Gets the target, ``host:port``; what it refuses is answered 403. There is no
            default: a proxy that connects anywhere is a danger to the network it stands in.
    """

    def __init__(self, handler: UpgradeHandler, *, allowed: Callable[[str], bool]) -> None:
        self.handler = handler
        self.allowed = allowed

    def matches(self, scope: Scope) -> tuple[Match, dict[str, Any]]:
        """Match any plain CONNECT."""
        extension = extension_of(scope) if scope["type"] == "http" else None
        if extension is None or extension["mechanism"] != "connect":
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.handler}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Switch to the tunnel, or refuse."""
        extension = extension_of(scope)
        assert extension is not None
        response: Response = UpgradeResponse(self.handler, None)
        if not self.allowed(extension["authority"]):
            response = PlainTextResponse("Forbidden: this target is not allowed.\n", 403)
        await response(scope, receive, send)
