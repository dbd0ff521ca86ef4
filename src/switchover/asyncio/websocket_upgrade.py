"""``websocket()``: let a server switch to WebSockets."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.upgrades import Accept
from switchover.asyncio.websocket import WebSocket, WebSocketSettings, run_handler
from switchover.asyncio.websocket_maker import WebSocketMaker
from switchover.http.messages import Request, Response
from switchover.upgrade.registry import ContentRule, Upgrade
from switchover.upgrade.tokens import UpgradeToken
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.extensions import ServerExtension
from switchover.websocket.opening import ServerOpening
from switchover.websocket.origins import SAME_ORIGIN, OriginPolicy
from switchover.websocket.subprotocols import SubprotocolChoice

if TYPE_CHECKING:
    from switchover.upgrade.decisions import Select

__all__ = ["WebSocketHandler", "WebSocketSuccessor", "websocket"]

WebSocketHandler = Callable[[WebSocket], Awaitable[None]]


def websocket(
    handler: WebSocketHandler | None = None,
    *,
    path: str | None = None,
    predicate: Callable[[Request], bool] | None = None,
    subprotocols: SubprotocolChoice = None,
    origins: OriginPolicy | Iterable[str] = SAME_ORIGIN,
    extensions: Sequence[ServerExtension] | None = None,
    required: bool = True,
    accept: Accept | None = None,
    max_message_size: int | None = 1024 * 1024,
    settings: WebSocketSettings | None = None,
    on_message: Callable[[WebSocket, Any], object] | None = None,
    on_close: Callable[[WebSocket], object] | None = None,
) -> Upgrade:
    """Register ``handler`` for WebSockets at ``path``; it gets each :class:`WebSocket`.

    ``subprotocols`` is the server's list in order of preference (or a function that picks),
    ``origins`` says which web pages may connect (the server's own, by default), and
    ``extensions`` what is negotiated (permessage-deflate by default, ``()`` for none).
    ``required``: the resource is nothing but a WebSocket, and answers 426 to plain requests.
    ``accept`` is as in :func:`token`. ``max_message_size`` is in octets; ``settings`` are
    times and queue sizes. ``on_message(ws, message)`` and ``on_close(ws)`` are the callback
    interface: with them there need be no ``handler``.

    When ``handler`` returns, the WebSocket is closed with 1000; when it raises, with 1011.
    """
    opening = ServerOpening(
        subprotocols=subprotocols,
        origins=origins,
        extensions=(PermessageDeflate(),) if extensions is None else extensions,
    )
    return Upgrade(
        token=UpgradeToken("websocket"),
        path=path,
        predicate=predicate,
        methods=frozenset({"GET"}),
        content=ContentRule.REFUSE,
        prepare=opening.prepare,
        misfit=opening.misfit,
        required=required,
        successor=WebSocketSuccessor(
            handler,
            accept=accept,
            max_message_size=max_message_size,
            settings=settings or WebSocketSettings(),
            on_message=on_message,
            on_close=on_close,
        ),
    )


class WebSocketSuccessor(WebSocketMaker):
    """Makes a WebSocket of a connection that has been switched, and runs its handler."""

    def __init__(
        self,
        handler: WebSocketHandler | None,
        *,
        accept: Accept | None,
        max_message_size: int | None,
        settings: WebSocketSettings,
        on_message: Callable[[WebSocket, Any], object] | None,
        on_close: Callable[[WebSocket], object] | None,
    ) -> None:
        super().__init__(handler, max_message_size, settings, on_message, on_close)
        self._accept = accept
        if accept is not None:
            self.consider = self._consider

    async def _consider(self, exchange: Exchange, selection: Select, content: bytes) -> None:
        assert self._accept is not None
        verdict = self._accept(exchange.request, content)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if isinstance(verdict, Response):
            await exchange.send_response(verdict, end=True)
            return
        fields = selection.acceptance.fields.copy()
        for name, value in verdict or ():
            fields.add(name, value)
        ws = self.make(selection, exchange.request, Response(101, fields), exchange.server)
        await exchange.switch(selection.protocol, fields, ws)
        if self._handler is not None:
            await run_handler(ws, self._handler)
