"""The demonstration server: a contract that tools and tests rely on.

=========================  =============================================================
``GET /``                  an HTML page that shows switches live (and, for
                           ``Accept: text/event-stream``, the stream it shows)
``GET /plain``             ``plain``
``POST /body``             the same content back
``/echo``                  WebSocket echo; subprotocols ``echo.v1`` and ``echo.v2``
``/shout``, ``shout/1``    every octet back, ASCII letters upper-cased
``/secure``                426 in cleartext, ``secure`` inside TLS
any path, ``h2c``          HTTP/2 (RFC 7540 §3.2), and by prior knowledge
any path, ``TLS/…``        TLS (RFC 2817)
anything else              404
=========================  =============================================================
"""

from __future__ import annotations

import asyncio
import importlib.resources
import json
from collections.abc import Awaitable, Callable
from typing import Any

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.reports import Report
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.websocket import WebSocket
from switchover.http.fields import Fields
from switchover.http.messages import Response

__all__ = ["ECHO_LIMIT", "Demonstration", "echo", "shout"]

#: Messages of the echo, and content of ``/body``, in octets.
ECHO_LIMIT = 16 * 1024 * 1024
_BODY_LIMIT = 64 * 1024 * 1024


async def echo(ws: WebSocket) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def shout(tunnel: Tunnel) -> None:
    """Send every octet back, ASCII letters in upper case; the peer's end ends ours."""
    async for data in tunnel:
        await tunnel.send(data.upper())


class Demonstration:
    """The ordinary resources of the demonstration server, and the live view of its switches."""

    def __init__(self) -> None:
        self._viewers: set[asyncio.Queue[dict[str, Any]]] = set()
        self._routes: dict[str, dict[str, Callable[[Exchange], Awaitable[None]]]] = {
            "/": {"GET": self._page, "HEAD": self._page},
            "/plain": {"GET": _plain, "HEAD": _plain},
            "/body": {"POST": _body, "PUT": _body},
            "/secure": {"GET": _secure, "HEAD": _secure},
        }

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one exchange."""
        methods = self._routes.get(exchange.request.path)
        if methods is None:
            await _answer(exchange, 404, "Not Found\n")
            return
        route = methods.get(exchange.request.method)
        if route is None:
            allow = ", ".join(methods)
            await _answer(exchange, 405, f"Method Not Allowed: try {allow}\n", {"Allow": allow})
            return
        await route(exchange)

    def observe(self, report: Report) -> None:
        """Show ``report`` to whoever looks at the page."""
        entry = {
            "outcome": report.outcome,
            "method": report.request.method,
            "target": report.request.target,
            "offered": report.request.protocol or report.request.fields.get("upgrade", ""),
            "protocol": report.protocol,
            "reason": report.reason,
            "rule": report.rule,
            "agent": report.request.fields.get("user-agent", ""),
        }
        for queue in self._viewers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(entry)

    async def _page(self, exchange: Exchange) -> None:
        if "text/event-stream" in exchange.request.fields.get("accept", ""):
            await self._stream(exchange)
            return
        page = importlib.resources.files("switchover.cli").joinpath("page.html").read_bytes()
        fields = Fields(
            {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Length": str(len(page)),
                "Vary": "Accept",
                "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; connect-src *",
            }
        )
        await exchange.send_response(Response(200, fields, content=page), end=True)

    async def _stream(self, exchange: Exchange) -> None:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(256)
        self._viewers.add(queue)
        ends = (
            asyncio.ensure_future(exchange.wait_disconnected()),
            asyncio.ensure_future(exchange.server.wait_closing()),
        )
        fields = Fields({"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await exchange.send_response(Response(200, fields))
            await exchange.send_content(b": switches, as they happen\n\n")
            while not any(end.done() for end in ends):
                waiting = asyncio.ensure_future(queue.get())
                await asyncio.wait({waiting, *ends}, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    break
                line = f"data: {json.dumps(waiting.result())}\n\n"
                await exchange.send_content(line.encode())
            await exchange.send_end()
        finally:
            for end in ends:
                end.cancel()
            self._viewers.discard(queue)


async def _answer(
    exchange: Exchange, status: int, text: str, fields: dict[str, str] | None = None
) -> None:
    await exchange.send_response(Response.text(status, text, fields or {}), end=True)


async def _plain(exchange: Exchange) -> None:
    await _answer(exchange, 200, "plain")


async def _secure(exchange: Exchange) -> None:
    if exchange.facts.protected:
        await _answer(exchange, 200, "secure")
    else:
        await _answer(
            exchange,
            404,
            "Not Found: this is served inside TLS, and this server has no TLS upgrade.\n",
        )


async def _body(exchange: Exchange) -> None:
    pieces: list[bytes] = []
    size = 0
    while piece := await exchange.receive_content():
        pieces.append(piece)
        size += len(piece)
        if size > _BODY_LIMIT:
            await _answer(exchange, 413, "Content Too Large: 64 MiB at most\n")
            return
    kind = exchange.request.fields.get("content-type", "application/octet-stream")
    fields = Fields({"Content-Type": kind, "Content-Length": str(size)})
    await exchange.send_response(Response(200, fields))
    for piece in pieces:
        await exchange.send_content(piece)
    await exchange.send_end()
