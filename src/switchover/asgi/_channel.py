"""Between a WebSocket connection and an application: the part that runs for every one of both.

What an application may send otherwise, and what becomes of its faults, is
:class:`~switchover.asgi.websocket.WebSocketCycle`, which derives from :class:`Channel`. This file
is compiled as ``_channel_c``; the C types stand in ``_channel_c.pxd``. Choose through
:mod:`switchover.asgi.channel`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from switchover.asgi import _call as call
from switchover.asgi.types import Message
from switchover.errors import LocalProtocolError

if TYPE_CHECKING:
    from switchover.asyncio.exchange import Exchange
    from switchover.asyncio.websocket import WebSocket
    from switchover.http.fields import Fields
    from switchover.upgrade.registry import Acceptance

__all__ = ["CLOSED", "CONNECTING", "DENYING", "OPEN", "Channel"]

# The states; see the diagram in switchover.asgi.websocket.
CONNECTING = 0
DENYING = 1
OPEN = 2
CLOSED = 3


class Channel(call.ApplicationCall):
    """``receive`` and ``send`` of an application, on one connection.

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
        self._exchange: Any = exchange
        self._acceptance: Any = acceptance
        self._create: Any = create
        self._state = CONNECTING
        self._connected = False
        self._denial: Any = None  # websocket.http.response.start, until it is sent
        self._ws: Any = None

    # What a derived class decides. What it returns, if anything, is awaited.

    def application_gave_up(self) -> call.Rest | None:
        """End the exchange: the application has returned, and has not accepted."""
        raise NotImplementedError

    def _begin_other(self, kind: str, message: Message) -> call.Rest | None:
        raise NotImplementedError

    def _send_patiently(self, data: str | bytes) -> call.Rest:
        raise NotImplementedError

    def _receive_before(self) -> Coroutine[Any, Any, Message]:
        raise NotImplementedError

    def _chosen(self, acceptance: Acceptance, message: Message) -> Acceptance:
        raise NotImplementedError

    def returned(self) -> call.Rest | None:
        """End the connection, if that has not been done: the application has returned."""
        ws = self._ws
        if ws is None:
            return self.application_gave_up()
        if ws._machine._receiving:
            ws.close_nowait()  # the server waits for the end of connections, not we
        # Else the peer has closed, or broken a rule: the end goes its way without us.
        return None

    # What the application calls.

    def receive(self) -> Awaitable[Message]:
        """Return ``websocket.connect``, messages, and at last ``websocket.disconnect``."""
        ws = self._ws
        if ws is not None:
            # No coroutine of ours for each message, and no exception for the end.
            event: Awaitable[Message] = ws._receive_for(self)
            return event
        return self._receive_first()

    async def _receive_first(self) -> Message:
        event = self.connected()
        return event if event is not None else await self._receive_before()

    def connected(self) -> Message | None:
        """Return the first event; ``None`` if the application has it already."""
        if self._connected:
            return None
        self._connected = True
        return {"type": "websocket.connect"}

    def received(self, data: str | bytes) -> Message:
        """Return the event for a message."""
        if type(data) is str:
            return {"type": "websocket.receive", "text": data}
        return {"type": "websocket.receive", "bytes": data}

    def ended(self) -> Message:
        """Return the event for the end of the connection."""
        self._state = CLOSED
        # Who asks for more has answered what came: the Close that is due goes before ours.
        machine = self._ws.machine
        machine.settle()
        code = machine.close_code
        return {
            "type": "websocket.disconnect",
            # ASGI: 1005 if the peer's Close had none; 1006 if no Close came.
            "code": 1006 if code is None else code,
            "reason": machine.close_reason,
        }

    def begin_send(self, message: Message) -> call.Rest | None:
        """See :class:`~switchover.asgi._call.ApplicationCall`."""
        kind = message["type"]
        if self._state == OPEN and kind == "websocket.send":
            data = message.get("bytes")
            text = message.get("text")
            if text is not None:
                data = text
            elif data is None:
                raise LocalProtocolError("websocket.send without text or bytes", rule="ASGI 3.0")
            if self._ws._try_send(data):
                return None
            return self._send_patiently(data)
        if self._state == CONNECTING and kind == "websocket.accept":
            return self._begin_accept(message)
        return self._begin_other(kind, message)

    # The opening handshake.

    def _begin_accept(self, message: Message) -> call.Rest | None:
        exchange = self._exchange
        acceptance = self._acceptance
        if message.get("headers") or message.get("subprotocol") is not None:
            acceptance = self._chosen(acceptance, message)
        ws = self._create(exchange, acceptance)
        if not exchange.try_switch("websocket", acceptance.fields, ws):
            return self._switch_patiently(acceptance.fields, ws)
        self._switched(ws)
        return None

    async def _switch_patiently(self, fields: Fields, ws: WebSocket) -> None:
        await self._exchange.switch("websocket", fields, ws)
        self._switched(ws)

    def _switched(self, ws: WebSocket) -> None:
        self._ws = ws
        self._state = OPEN
        # An idle connection keeps no more than it needs.
        self._exchange.release()
        self._exchange = self._acceptance = None
