"""``token()``: let a server switch to any protocol, on an octet tunnel."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.switching import Switching, hand_over
from switchover.asyncio.tunnel import Tunnel
from switchover.errors import Disconnected, TunnelError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.registry import DEFAULT_CONTENT_LIMIT, ContentRule, Upgrade
from switchover.upgrade.tokens import UpgradeToken

if TYPE_CHECKING:
    from switchover.asyncio.server import Server
    from switchover.upgrade.decisions import Select

__all__ = [
    "Accept",
    "TokenSuccessor",
    "TunnelHandler",
    "Verdict",
    "token",
]

logger = logging.getLogger("switchover.server")

TunnelHandler = Callable[[Tunnel], Awaitable[None]]
#: What a server says to a request before it switches: ``None`` or fields for the 101 to go
#: on, an ordinary response to refuse.
Verdict = Fields | Response | None
#: Asked before the switch, with the request and its content.
Accept = Callable[[Request, bytes], Verdict | Awaitable[Verdict]]


def token(
    protocol: str | UpgradeToken,
    handler: TunnelHandler,
    *,
    versions: Sequence[str] = (),
    path: str | None = None,
    predicate: Callable[[Request], bool] | None = None,
    methods: Collection[str] | None = frozenset({"GET"}),
    content: ContentRule = ContentRule.REFUSE,
    content_limit: int = DEFAULT_CONTENT_LIMIT,
    accept: Accept | None = None,
    required: bool = False,
    secure: bool | None = None,
    extended_connect: bool = True,
) -> Upgrade:
    """Register ``handler`` for an upgrade token; it gets a :class:`Tunnel` for each switch.

    ``protocol`` is the token, ``"shout/1"``, or a bare name with the ``versions`` that are
    spoken, the preferred one first. ``path``, ``predicate`` and ``methods`` (``None``: any)
    say which requests may switch; ``content`` what becomes of a request that has content
    (with ``ContentRule.READ`` it is read first and stands in ``tunnel.content``).

    ``accept(request, content)``, a function or coroutine function, is asked before the switch
    and may refuse with any ordinary response, or add fields to the 101. With ``required`` the
    resource answers 426 to whoever does not offer the protocol.

    When ``handler`` returns, the tunnel is closed in order; when it raises, it is aborted and
    the exception is logged. Raises :class:`LocalProtocolError` for a malformed registration.
    """
    return Upgrade(
        token=UpgradeToken.parse(protocol),
        versions=tuple(versions),
        path=path,
        predicate=predicate,
        methods=None if methods is None else frozenset(methods),
        content=content,
        content_limit=content_limit,
        required=required,
        secure=secure,
        extended_connect=extended_connect,
        successor=TokenSuccessor(handler, accept),
    )


class TokenSuccessor:
    """Makes a tunnel of a connection that has been switched, and runs its handler."""

    def __init__(self, handler: TunnelHandler, accept: Accept | None = None) -> None:
        self._handler = handler
        self._accept = accept
        if accept is not None:
            self.consider = self._consider

    def attach(self, switching: Switching, transport: asyncio.Transport) -> None:
        """Take the connection over, and start the handler."""
        server = switching.server
        tunnel = Tunnel(
            switching.protocol,
            switching.request,
            switching.response,
            facts=switching.facts,
            content=switching.content,
            on_lost=server.dismiss,
        )
        tunnel.facts.chain = switching.chain
        tunnel.path_parameters = dict(switching.selection.parameters)
        server.enlist(tunnel, transport)
        hand_over(transport, tunnel, switching.trailing_data)
        server.spawn(self._run(tunnel, server), asyncio.get_running_loop())

    async def _consider(self, exchange: Exchange, selection: Select, content: bytes) -> None:
        assert self._accept is not None
        verdict = self._accept(exchange.request, content)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if isinstance(verdict, Response):
            await exchange.send_response(verdict, end=True)
            return
        server = exchange.server
        tunnel = Tunnel(
            selection.protocol,
            exchange.request,
            Response(101),
            facts=exchange.facts,
            content=content,
            on_lost=server.dismiss,
        )
        tunnel.path_parameters = dict(selection.parameters)
        await exchange.switch(selection.protocol, verdict or Fields(), tunnel)
        tunnel.facts.chain = (*tunnel.facts.chain, selection.protocol)
        await self._run(tunnel, server)

    async def _run(self, tunnel: Tunnel, server: Server) -> None:
        try:
            await self._handler(tunnel)
        except (TunnelError, Disconnected, asyncio.IncompleteReadError) as error:
            logger.info("%s: the tunnel ended: %s", tunnel.protocol, error)
            tunnel.abort()
        except asyncio.CancelledError:
            tunnel.abort()
            raise
        except Exception:
            logger.exception("%s: the handler failed", tunnel.protocol)
            tunnel.abort()
        else:
            await tunnel.close(server.settings.timeouts.close or 10.0)
