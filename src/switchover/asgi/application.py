"""From exchanges to an ASGI application: the handler that a server is given."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from switchover.asgi.http import HTTPCycle
from switchover.asgi.proxy_headers import ProxyHeaders
from switchover.asgi.scopes import http_scope, websocket_scope
from switchover.asgi.types import Application, Scope
from switchover.asgi.upgrade import UpgradeChannel
from switchover.asgi.websocket import WebSocketCycle
from switchover.asgi.websocket_options import WebSocketOptions
from switchover.asyncio.exchange import Exchange
from switchover.upgrade.decisions import Answer, Select, decide
from switchover.upgrade.registry import Acceptance, Registry, Upgrade
from switchover.upgrade.tokens import UpgradeToken

__all__ = ["ApplicationHandler", "handler"]

_WEBSOCKET = UpgradeToken("websocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    root_path: str
    proxy_headers: ProxyHeaders | None
    underscore_names: bool
    state: Mapping[str, Any] | None


class ApplicationHandler:
    """Runs one ASGI application; an instance is a handler for a server."""

    __slots__ = ("_app", "_create", "_options", "_registry")

    def __init__(self, app: Application, options: _Options, websocket: WebSocketOptions) -> None:
        self._app = app
        self._options = options
        self._create = websocket.create
        self._registry = Registry(
            [Upgrade(token=_WEBSOCKET, prepare=websocket.opening.prepare)],
        )

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Answer one exchange with the application.

        Not a coroutine itself: a WebSocket that idles for days keeps one frame, not three.
        """
        offer = exchange.offer
        if offer is not None and offer.find(_WEBSOCKET) is not None:
            request = exchange.request
            secure = request.scheme == "https"
            decision = decide(request, self._registry, secure=secure, examined=offer)
            if isinstance(decision, Select):
                return self._run_websocket(exchange, decision.acceptance)
            if isinstance(decision, Answer):
                return exchange.send_response(decision.response, end=True)
        return self._run_http(exchange)

    def _run_http(self, exchange: Exchange) -> Awaitable[None]:
        options = self._options
        channel: UpgradeChannel | None = None
        if exchange.offer is not None or exchange.request.method == "CONNECT":
            channel = UpgradeChannel.for_exchange(exchange)
        extensions: dict[str, Any] = {
            "http.response.trailers": {},
            "http.response.early_hint": {},
        }
        if channel is not None:
            extensions["http.upgrade"] = channel.extension
        scope = http_scope(
            exchange,
            root_path=options.root_path,
            underscore_names=options.underscore_names,
            extensions=extensions,
        )
        return HTTPCycle(exchange, channel).run(self._app, self._finished(scope))

    def _run_websocket(self, exchange: Exchange, acceptance: Acceptance) -> Awaitable[None]:
        options = self._options
        scope = websocket_scope(
            exchange, root_path=options.root_path, underscore_names=options.underscore_names
        )
        cycle = WebSocketCycle(exchange, acceptance, self._create)
        return cycle.run(self._app, self._finished(scope))

    def _finished(self, scope: Any) -> Scope:
        """Add to a scope what does not come from the request alone."""
        if self._options.state is not None:
            scope["state"] = dict(self._options.state)
        if self._options.proxy_headers is not None:
            self._options.proxy_headers.apply(scope)
        return cast("Scope", scope)


def handler(
    app: Application,
    *,
    root_path: str = "",
    proxy_headers: ProxyHeaders | Iterable[str] | None = None,
    underscore_names: bool = False,
    websocket: WebSocketOptions | None = None,
    state: Mapping[str, Any] | None = None,
) -> ApplicationHandler:
    """Return a handler that answers with ``app``, for :class:`switchover.asyncio.server.Server`.

    Args:
        app: Any ASGI 3 application.
        root_path: Where a proxy in front has mounted the application, such as ``"/api"``;
            put before every path, and told in the scope.
        proxy_headers: Which proxies are believed about the client's address and scheme: a
            :class:`ProxyHeaders`, or addresses for it. ``None`` believes nobody.
        underscore_names: Pass field names with underscores on. Dangerous where the
            application, or a WSGI application behind it, turns field names into variables
            (RFC 9110 §17.10).
        websocket: Origin policy, limits and extensions of the application's WebSockets.
        state: Copied into each scope, as the lifespan protocol has it.
    """
    if proxy_headers is not None and not isinstance(proxy_headers, ProxyHeaders):
        proxy_headers = ProxyHeaders(proxy_headers)
    options = _Options(
        root_path=root_path.rstrip("/"),
        proxy_headers=proxy_headers,
        underscore_names=underscore_names,
        state=state,
    )
    return ApplicationHandler(app, options, websocket or WebSocketOptions())
