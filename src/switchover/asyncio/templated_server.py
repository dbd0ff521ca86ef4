"""What the servers of connect-udp and connect-tcp do before they switch.

Who asks is found out first, then where to: the destination is judged by name and port, looked
up, judged by its addresses, and an address that was judged is the one that is reached
(SEC-34). Refusals are ordinary responses that say what went wrong in Proxy-Status.
"""

from __future__ import annotations

import abc
import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from switchover.asyncio.connect_handler import Authenticate, look_up
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.upgrades import Accept
from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.tunnel.connect import Authority, read_basic_credentials, refused
from switchover.tunnel.policy import DestinationPolicy, Refusal

if TYPE_CHECKING:
    from switchover.upgrade.decisions import Select

__all__ = ["Admission", "Reached", "TemplatedSuccessor", "refuse"]

logger = logging.getLogger("switchover.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Who gets a tunnel, and where to; see :func:`connect_udp` for what the options mean."""

    policy: DestinationPolicy
    authenticate: Authenticate | None = None
    accept: Accept | None = None
    realm: str = "switchover"
    max_tunnels: int = 1000
    max_tunnels_per_peer: int | None = 100
    timeout: float = 10.0

    def __post_init__(self) -> None:
        """Raise :class:`LocalProtocolError` for a realm that no field can hold."""
        if not all(" " <= character <= "~" for character in self.realm):
            raise LocalProtocolError("a realm is visible ASCII", rule="RFC 9110 §11.5")


class Reached(Protocol):
    """The way onward is open: what the server makes of the connection that asked."""

    #: Told when both ends of the tunnel have ended.
    on_end: Callable[[Any], None] | None

    @property
    def successor(self) -> asyncio.BaseProtocol:
        """What owns the connection, or the stream, after the switch."""

    def start(self) -> None:
        """Begin: the switch has been made."""

    def abort(self) -> None:
        """Give the way onward up."""


class TemplatedSuccessor(abc.ABC):
    """Answers the requests to a proxy's template, and counts the tunnels it has opened."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        #: The tunnels that are open or being opened, with their clients' addresses.
        self.tunnels: dict[object, str] = {}

    @abc.abstractmethod
    async def reach(self, target: Authority, exchange: Exchange) -> Reached | Response:
        """Open the way to ``target``; return it, or the response that says why not."""

    async def consider(self, exchange: Exchange, selection: Select, content: bytes) -> None:
        """Switch ``exchange``, or refuse it with an ordinary response."""
        target: Authority = selection.acceptance.state
        added = await self._admit(exchange, target)
        if isinstance(added, Response):
            await refuse(exchange, added)
            return
        place = object()
        self.tunnels[place] = _host(exchange)
        opened = False
        try:
            opened = await self._open(exchange, selection, added, place)
        finally:
            if not opened:
                self.tunnels.pop(place, None)

    async def _open(
        self, exchange: Exchange, selection: Select, added: Fields, place: object
    ) -> bool:
        reached = await self._reach_in_time(selection.acceptance.state, exchange)
        if isinstance(reached, Response):
            await refuse(exchange, reached)
            return False
        server, successor = exchange.server, reached.successor

        def ended(_: Any) -> None:
            self.tunnels.pop(place, None)
            server.dismiss(successor)

        reached.on_end = ended
        fields = selection.acceptance.fields.copy()
        for name, value in added:
            fields.add(name, value)
        try:
            await exchange.switch(selection.protocol, fields, successor)
        except BaseException:
            reached.abort()
            raise
        exchange.release()
        reached.start()
        return True

    async def _admit(self, exchange: Exchange, target: Authority) -> Fields | Response:
        """Return fields for the switching response, or why there is no tunnel."""
        admission = self.admission
        if admission.authenticate is not None and not await self._known(exchange.request):
            return _unauthorized(admission.realm)
        added: Any = None
        if admission.accept is not None:
            added = admission.accept(exchange.request, b"")
            if inspect.isawaitable(added):
                added = await added
            if isinstance(added, Response):
                return added
        refusal = self._full(_host(exchange)) or admission.policy.judge_target(target)
        if isinstance(refusal, Refusal):
            return refusal.response(close=False)
        return refusal or added or Fields()

    async def _known(self, request: Request) -> bool:
        authenticate = self.admission.authenticate
        assert authenticate is not None
        credentials = read_basic_credentials(request, "authorization")
        if credentials is None:
            return False
        verdict = authenticate(*credentials)
        return await verdict if inspect.isawaitable(verdict) else verdict

    def _full(self, peer: str) -> Response | None:
        # SEC-36: bounded in all, and for each client.
        if len(self.tunnels) >= self.admission.max_tunnels:
            return refused(503, "Too many tunnels are open.", error="connection_limit_reached")
        limit = self.admission.max_tunnels_per_peer
        if limit is not None and list(self.tunnels.values()).count(peer) >= limit:
            text = "Too many tunnels of yours are open."
            return refused(429, text, error="connection_limit_reached")
        return None

    async def _reach_in_time(self, target: Authority, exchange: Exchange) -> Reached | Response:
        try:
            async with asyncio.timeout(self.admission.timeout):
                return await self.reach(target, exchange)
        except TimeoutError:
            return refused(504, f"{target} was not reached in time.", error="connection_timeout")

    async def resolve(self, target: Authority) -> list[str] | Response:
        """Return the addresses of ``target`` that may be dialled, or the response of a refusal."""
        # RFC 9298 §3.1: "the UDP proxy MUST perform DNS resolution before replying to the
        # HTTP request"; the answer of connect-tcp waits for the connection anyway.
        addresses = self.admission.policy.judge_addresses(await look_up(target))
        if isinstance(addresses, Refusal):
            return addresses.response(close=False)
        return addresses


async def refuse(exchange: Exchange, response: Response) -> None:
    """Send ``response`` instead of switching; the connection goes on."""
    target = ascii(exchange.request.target)[1:-1]
    logger.info("%s: refused with %d", target, response.status)
    # RFC 9931 §5: only a rejected CONNECT has to end its connection; an Upgrade does not.
    response.fields.remove("Connection")
    await exchange.send_response(response, end=True)


def _unauthorized(realm: str) -> Response:
    # The proxy is the resource of its template, an origin: RFC 9110 §11.6, not §11.7.
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    challenge = Fields([("WWW-Authenticate", f'Basic realm="{quoted}", charset="UTF-8"')])
    return refused(401, "This proxy asks who you are.", fields=challenge)


def _host(exchange: Exchange) -> str:
    peername = exchange.facts.peername
    return str(peername[0]) if isinstance(peername, tuple) else "local"
