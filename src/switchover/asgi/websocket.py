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

from switchover.asgi._call import Rest
from switchover.asgi.answer import response_fields
from switchover.asgi.channel import CLOSED, CONNECTING, DENYING, OPEN, Channel
from switchover.asgi.http import caused_by_disconnect, illegal_message
from switchover.asgi.types import Message, Scope
from switchover.errors import ConnectionClosed, Disconnected, LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.upgrade.registry import Acceptance

__all__ = ["WebSocketCycle"]

logger = logging.getLogger("switchover.asgi")

_FAILED = "Internal Server Error: the application failed; the server's log says why.\n"
_NO_ANSWER = "Internal Server Error: the application gave no answer.\n"

_SEND = "websocket.send"
_ACCEPT = "websocket.accept"
_CLOSE = "websocket.close"
_DENY_START = "websocket.http.response.start"
_DENY_BODY = "websocket.http.response.body"

_WHEN = {
    CONNECTING: "before websocket.accept",
    DENYING: "while the denial response is sent",
    OPEN: "after websocket.accept",
    CLOSED: "after the connection's end",
}
_LEGAL: dict[int, tuple[str, ...]] = {
    CONNECTING: (_ACCEPT, _CLOSE, _DENY_START),
    DENYING: (_DENY_BODY,),
    OPEN: (_SEND, _CLOSE),
    CLOSED: (),
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


class WebSocketCycle(Channel):
    """Runs the application for one opening handshake and the connection that follows."""

    __slots__ = ()

    # What the application calls, as far as it is not plain: see Channel.

    async def _receive_before(self) -> Message:
        if self._state != CLOSED and self._exchange is not None:
            await self._exchange.wait_disconnected()
        return {"type": "websocket.disconnect", "code": 1006, "reason": ""}

    async def _send_patiently(self, data: str | bytes) -> None:
        try:
            await self._ws.send(data)
        except ConnectionClosed as error:
            raise self._gone() from error

    def _begin_other(self, kind: str, message: Message) -> Rest | None:
        state = self._state
        if kind not in _LEGAL[state]:
            if state == CLOSED and kind in (_SEND, _CLOSE):
                raise self._gone()
            raise illegal_message(kind, _WHEN[state], _LEGAL[state])
        if kind == _DENY_START:
            self._denial = message
            self._state = DENYING
            return None
        if kind == _DENY_BODY:
            return self._deny(message)
        if state == CONNECTING:
            return self._forbid(message)
        self._state = CLOSED
        closing: Rest = self._ws.close(message.get("code", 1000), message.get("reason") or "")
        return closing

    def _gone(self) -> Disconnected:
        self._state = CLOSED
        return Disconnected("the WebSocket connection has ended")

    # The opening handshake.

    def _chosen(self, acceptance: Acceptance, message: Message) -> Acceptance:
        """Return the answer with what the application has to say about it."""
        fields = acceptance.fields.copy()
        for name, value in message.get("headers") or ():
            self._add_field(fields, name, value)
        state = acceptance.state
        subprotocol = self._subprotocol(message.get("subprotocol"))
        if subprotocol is not None:
            fields.set("Sec-WebSocket-Protocol", subprotocol)
            state = replace(state, subprotocol=subprotocol)
        return Acceptance(fields, state, acceptance.protocol)

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
        data = bytes(message.get("body", b""))
        more = message.get("more_body", False)
        if not exchange.response_started:
            response = self._denial_response(data, complete=not more)
            await exchange.send_response(response, end=not more)
        elif data:
            await exchange.send_content(data)
        if not more:
            self._state = CLOSED
            if not exchange.response_complete:
                await exchange.send_end()

    def _denial_response(self, data: bytes, *, complete: bool) -> Response:
        start, self._denial = self._denial, None
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
        reason = message.get("reason") or "the application refused the WebSocket connection"
        self._state = CLOSED
        await self._exchange.send_response(Response.text(403, f"Forbidden: {reason}\n"), end=True)

    # The application's end.

    def application_failed(self, error: Exception, scope: Scope) -> Rest | None:
        """Log ``error``, and answer 500 or close with 1011 in the application's place."""
        if caused_by_disconnect(error):
            logger.debug("the application stopped when the client left: %r", error)
        else:
            path = ascii(scope["path"])[1:-1]
            logger.error("websocket %s: the application failed", path, exc_info=error)
        if self._ws is None:
            return self._answer_instead(_FAILED)
        # RFC 6455 §7.4.1: "1011 indicates that a server is terminating the connection
        # because it encountered an unexpected condition".
        self._ws.close_nowait(1011, "the application failed")
        return None

    def application_gave_up(self) -> Rest | None:
        """Answer 500 for an application that has returned without a word, and log it."""
        if self._state == CLOSED:
            return None
        logger.error("the application returned %s", _WHEN[self._state])
        return self._answer_instead(_NO_ANSWER)

    async def _answer_instead(self, text: str) -> None:
        exchange = self._exchange
        if exchange is None or exchange.response_complete:
            return
        if exchange.response_started:
            exchange.abort()
            return
        self._state = CLOSED
        try:
            await exchange.send_response(Response.text(500, text), end=True)
        except Disconnected:
            logger.debug("the client left before it was told of the failure")
