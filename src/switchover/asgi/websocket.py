"""The websocket scope: one WebSocket connection between an exchange and an application.

::

    CONNECTING ── websocket.accept ──────────────► OPEN ── websocket.close ──► CLOSED
        ├── websocket.close ─────────────────────────────── 403 ─────────────► CLOSED
        └── websocket.http.response.start ──► DENYING ── …body ──────────────► CLOSED

There is no queue and no task in between: ``receive`` and ``send`` of the application are
awaited in its own task, directly on the :class:`~switchover.asyncio.websocket.WebSocket`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from switchover.asgi.http import caused_by_disconnect, illegal_message, response_fields
from switchover.asgi.types import Application, Message, Scope
from switchover.errors import ConnectionClosed, Disconnected, LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.upgrade.registry import Acceptance
from switchover.websocket.close_codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from switchover.asyncio.exchange import Exchange
    from switchover.asyncio.websocket import WebSocket

__all__ = ["WebSocketCycle"]

logger = logging.getLogger("switchover.asgi")

_FAILED = "Internal Server Error: the application failed; the server's log says why.\n"
_NO_ANSWER = "Internal Server Error: the application gave no answer.\n"

_SEND = "websocket.send"
_ACCEPT = "websocket.accept"
_CLOSE = "websocket.close"
_DENY_START = "websocket.http.response.start"
_DENY_BODY = "websocket.http.response.body"


class _State(Enum):
    CONNECTING = "before websocket.accept"
    DENYING = "while the denial response is sent"
    OPEN = "after websocket.accept"
    CLOSED = "after the connection's end"


_LEGAL = {
    _State.CONNECTING: (_ACCEPT, _CLOSE, _DENY_START),
    _State.DENYING: (_DENY_BODY,),
    _State.OPEN: (_SEND, _CLOSE),
    _State.CLOSED: (),
}

# What the opening handshake itself puts into the 101.
_NOT_FROM_THE_APPLICATION = (
    b"connection",
    b"upgrade",
    b"content-length",
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
    b"sec-websocket-version",
)


class WebSocketCycle:
    """Runs the application for one opening handshake and the connection that follows.

    ``acceptance`` is the valid answer to the opening handshake, as yet without subprotocol;
    ``create`` makes the WebSocket object that takes the connection over.
    """

    __slots__ = ("_acceptance", "_connected", "_create", "_denial", "_exchange", "_state", "_ws")

    def __init__(
        self,
        exchange: Exchange,
        acceptance: Acceptance,
        create: Callable[[Exchange, Acceptance], WebSocket],
    ) -> None:
        self._exchange: Exchange | None = exchange
        self._acceptance: Acceptance | None = acceptance
        self._create = create
        self._state = _State.CONNECTING
        self._connected = False
        self._denial: Message = {}
        self._ws: Any = None

    async def run(self, app: Application, scope: Scope) -> None:
        """Call the application, and end the connection in its place if it does not."""
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001  # logged there, and answered for
            await self._application_failed(error, scope)
        else:
            await self._application_returned()

    # What the application calls.

    def receive(self) -> Awaitable[Message]:
        """Return ``websocket.connect``, messages, and at last ``websocket.disconnect``."""
        ws = self._ws
        if ws is not None:
            # No coroutine of ours for each message, and no exception for the end.
            event: Awaitable[Message] = ws._receive_for(self)
            return event
        return self._receive_before()

    def received(self, data: str | bytes) -> Message:
        """Return the event for a message."""
        if type(data) is str:
            return {"type": "websocket.receive", "text": data}
        return {"type": "websocket.receive", "bytes": data}

    async def _receive_before(self) -> Message:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._state is not _State.CLOSED and self._exchange is not None:
            await self._exchange.wait_disconnected()
        return {"type": "websocket.disconnect", "code": 1006, "reason": ""}

    def ended(self) -> Message:
        """Return the event for the end of the connection."""
        self._state = _State.CLOSED
        ws: WebSocket = self._ws
        # Who asks for more has answered what came: the Close that is due goes before ours.
        ws.machine.settle()
        code = ws.close_code
        return {
            "type": "websocket.disconnect",
            # ASGI: 1005 if the peer's Close had none; 1006 if no Close came.
            "code": CloseCode.ABNORMAL_CLOSURE if code is None else code,
            "reason": ws.close_reason,
        }

    async def send(self, message: Message) -> None:
        """Take a message from the application.

        Raises:
            LocalProtocolError: the message is not legal now; nothing was written.
            Disconnected: the connection has ended (an ``OSError``, as ASGI 2.4 asks).
        """
        kind = message["type"]
        if kind == _SEND and self._state is _State.OPEN:
            data = message.get("text")
            if data is None:
                data = message.get("bytes")
                if data is None:
                    raise LocalProtocolError(f"{_SEND} without text or bytes", rule="ASGI 3.0")
            if self._ws._try_send(data):
                return
            try:
                await self._ws.send(data)
            except ConnectionClosed as error:
                raise self._gone() from error
            return
        await self._send_other(kind, message)

    async def _send_other(self, kind: str, message: Message) -> None:
        state = self._state
        if kind not in _LEGAL[state]:
            if state is _State.CLOSED and kind in (_SEND, _CLOSE):
                raise self._gone()
            raise illegal_message(kind, state.value, _LEGAL[state])
        if kind == _ACCEPT:
            await self._accept(message)
        elif kind == _DENY_START:
            self._denial = message
            self._state = _State.DENYING
        elif kind == _DENY_BODY:
            await self._deny(message)
        elif state is _State.OPEN:
            self._state = _State.CLOSED
            await self._ws.close(message.get("code", 1000), message.get("reason") or "")
        else:
            await self._forbid(message)

    def _gone(self) -> Disconnected:
        self._state = _State.CLOSED
        return Disconnected("the WebSocket connection has ended")

    # The opening handshake.

    async def _accept(self, message: Message) -> None:
        exchange, acceptance = self._exchange, self._acceptance
        assert exchange is not None
        assert acceptance is not None
        fields = acceptance.fields.copy()
        for name, value in message.get("headers", ()):
            self._add_field(fields, name, value)
        subprotocol = self._subprotocol(message.get("subprotocol"))
        if subprotocol is not None:
            fields.set("Sec-WebSocket-Protocol", subprotocol)
            state = replace(acceptance.state, subprotocol=subprotocol)
            acceptance = Acceptance(acceptance.fields, state, acceptance.protocol)
        ws = self._create(exchange, acceptance)
        await exchange.switch("websocket", fields, ws)
        self._ws = ws
        self._state = _State.OPEN
        # An idle connection keeps no more than it needs.
        exchange.release()
        self._exchange = self._acceptance = None

    def _add_field(self, fields: Fields, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"sec-websocket-protocol":
            raise LocalProtocolError(
                f"the subprotocol goes into the 'subprotocol' key of {_ACCEPT!r}, not into its"
                " headers",
                rule="ASGI 3.0",
            )
        if lowered in _NOT_FROM_THE_APPLICATION:
            raise LocalProtocolError(
                f"the server itself sends {lowered.decode('latin-1')!r} in the opening handshake",
                rule="RFC 6455 §4.2.2",
            )
        fields.add(name, value)

    def _subprotocol(self, chosen: str | None) -> str | None:
        """Return the application's choice, ``None`` if the client did not offer it."""
        if chosen is None:
            return None
        assert self._exchange is not None
        offered = self._exchange.request.fields.members("Sec-WebSocket-Protocol")
        if chosen in offered:
            return chosen
        # RFC 6455 §4.2.2: if the server "does not wish to agree to one of the suggested
        # subprotocols, it MUST NOT send back a |Sec-WebSocket-Protocol| header field".
        logger.warning(
            "the application accepts with subprotocol %r, which the client did not offer"
            " (offered: %s); it is left out",
            chosen,
            ascii(offered),
        )
        return None

    async def _deny(self, message: Message) -> None:
        exchange = self._exchange
        assert exchange is not None
        data = bytes(message.get("body", b""))
        more = message.get("more_body", False)
        if not exchange.response_started:
            response = self._denial_response(data, complete=not more)
            await exchange.send_response(response, end=not more)
        elif data:
            await exchange.send_content(data)
        if not more:
            self._state = _State.CLOSED
            if not exchange.response_complete:
                await exchange.send_end()

    def _denial_response(self, data: bytes, *, complete: bool) -> Response:
        start, self._denial = self._denial, {}
        status = start["status"]
        # RFC 8441 §5: over HTTP/2 a 2xx would be the switch itself.
        if status < 300:
            raise LocalProtocolError(
                f"status {status} does not refuse an opening handshake: 300 and above do",
                rule="RFC 6455 §4.2.2",
            )
        fields = response_fields(start.get("headers", ()))
        if complete and "content-length" not in fields and status != 304:
            fields.add(b"content-length", b"%d" % len(data))
        return Response(status, fields, content=data)

    async def _forbid(self, message: Message) -> None:
        # ASGI: "If this is sent before the socket is accepted, the server must close the
        # connection with a HTTP 403 error code".
        assert self._exchange is not None
        reason = message.get("reason") or "the application refused the WebSocket connection"
        self._state = _State.CLOSED
        await self._exchange.send_response(Response.text(403, f"Forbidden: {reason}\n"), end=True)

    # The application's end.

    async def _application_failed(self, error: Exception, scope: Scope) -> None:
        if caused_by_disconnect(error):
            logger.debug("the application stopped when the client left: %r", error)
        else:
            path = ascii(scope["path"])[1:-1]
            logger.error("websocket %s: the application failed", path, exc_info=error)
        if self._ws is not None:
            # RFC 6455 §7.4.1: "1011 indicates that a server is terminating the connection
            # because it encountered an unexpected condition".
            self._ws.close_nowait(1011, "the application failed")
        else:
            await self._answer_instead(_FAILED)

    async def _application_returned(self) -> None:
        if self._ws is not None:
            self._ws.close_nowait()  # the server waits for the end of connections, not we
        elif self._state is not _State.CLOSED:
            logger.error("the application returned %s", self._state.value)
            await self._answer_instead(_NO_ANSWER)

    async def _answer_instead(self, text: str) -> None:
        exchange = self._exchange
        if exchange is None or exchange.response_complete:
            return
        if exchange.response_started:
            exchange.abort()
            return
        self._state = _State.CLOSED
        try:
            await exchange.send_response(Response.text(500, text), end=True)
        except Disconnected:
            logger.debug("the client left before it was told of the failure")
