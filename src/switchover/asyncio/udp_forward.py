"""``forward_udp()``: pass UDP tunnels on to another proxy, whatever HTTP version it speaks.

The request is written anew for the next hop (RFC 9298 §3.1: an Upgrade becomes an extended
CONNECT and the other way round); the capsules go by as they are, those unknown here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from switchover.asyncio.connect_handler import Authenticate
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.relay import Relay, RelayEnd
from switchover.asyncio.templated_client import (
    Asked,
    FieldLines,
    ProxyConnection,
    ask,
    open_proxy,
    proxy_template,
)
from switchover.asyncio.templated_server import Admission, TemplatedSuccessor
from switchover.asyncio.upgrades import Accept
from switchover.errors import Disconnected, ProxyRefused, RemoteProtocolError
from switchover.http.messages import Response
from switchover.tunnel.connect import Authority, refused
from switchover.tunnel.policy import DestinationPolicy
from switchover.tunnel.templates import ProxyTemplate
from switchover.tunnel.udp import CONNECT_UDP, WELL_KNOWN, udp_upgrade
from switchover.upgrade.registry import Upgrade

__all__ = ["ForwardSuccessor", "forward_udp"]


def forward_udp(
    proxy: str,
    policy: DestinationPolicy | None = None,
    *,
    fields: FieldLines = (),
    route: Route | None = None,
    http2: bool = False,
    path: str = WELL_KNOWN,
    authenticate: Authenticate | None = None,
    accept: Accept | None = None,
    realm: str = "switchover",
    max_tunnels: int = 1000,
    max_tunnels_per_peer: int | None = 100,
    timeout: float = 10.0,
    idle: float | None = 120.0,
) -> Upgrade:
    """Serve UDP to clients of connect-udp through the proxy of the template ``proxy``.

    ``fields`` (credentials, say), ``route`` and ``http2`` are for the way to that proxy, as
    for :class:`udp_tunnel`; nothing of the client's own fields is passed on. Names are looked
    up there, so ``policy`` judges names, ports and addresses as the client gives them. The
    other options are those of :func:`connect_udp`.
    """
    admission = Admission(
        policy=policy if policy is not None else DestinationPolicy(ports=None),
        authenticate=authenticate,
        accept=accept,
        realm=realm,
        max_tunnels=max_tunnels,
        max_tunnels_per_peer=max_tunnels_per_peer,
        timeout=timeout,
    )
    hop = _Hop(proxy_template(proxy, WELL_KNOWN), fields, route or Route(), http2=http2)
    everything = DestinationPolicy(ports=None, dangerously_allow_internal=True)
    successor = ForwardSuccessor(admission, hop, idle=idle)
    return udp_upgrade(ProxyTemplate(path), policy=everything, successor=successor)


class _Hop:
    """The next proxy, and how it is reached."""

    def __init__(
        self, template: ProxyTemplate, fields: FieldLines, route: Route, *, http2: bool
    ) -> None:
        self._template = template
        self._fields = fields
        self._route = route
        self._http2 = http2

    async def open(self, target: Authority, end: RelayEnd) -> ProxyConnection:
        """Let ``end`` have a tunnel to ``target``; return the driver of its connection."""
        asked = Asked(CONNECT_UDP, self._template, target.host, target.port, self._fields)
        driver = await open_proxy(asked.url, self._route, http2=self._http2)
        try:
            await ask(driver, asked, lambda _: end)
        except BaseException:
            driver.abort()
            raise
        return driver


class ForwardSuccessor(TemplatedSuccessor):
    """Opens a tunnel at the next proxy for each one here."""

    def __init__(self, admission: Admission, hop: _Hop, *, idle: float | None) -> None:
        super().__init__(admission)
        self._hop = hop
        self._idle = idle

    async def reach(self, target: Authority, exchange: Exchange) -> _Way | Response:
        """Ask the next proxy; what it refuses is refused here."""
        relay = Relay(idle=self._idle)
        try:
            driver = await self._hop.open(target, relay.right)
        except ProxyRefused as error:
            return _passed_on(error)
        except (OSError, Disconnected, RemoteProtocolError):
            text = "The next proxy cannot be reached, or makes no sense."
            return refused(502, text, error="destination_unavailable")
        return _Way(relay, driver)


class _Way:
    """A relay to the next proxy, whose connection ends with it."""

    def __init__(self, relay: Relay, driver: ProxyConnection) -> None:
        self._relay = relay
        self._driver = driver
        self.successor = relay.left
        self.on_end: Callable[[Any], None] | None = None
        relay.on_end = self._ended

    def start(self) -> None:
        self._relay.start()

    def abort(self) -> None:
        self._relay.abort()
        self._driver.abort()

    def _ended(self, relay: Relay) -> None:
        if isinstance(self._driver, HTTP2ClientProtocol):
            self._driver.shutdown()  # it was opened for this one tunnel
        if self.on_end is not None:
            self.on_end(relay)


def _passed_on(error: ProxyRefused) -> Response:
    answer = error.response
    if answer is None or not 400 <= answer.status < 600 or answer.status in (401, 407):
        # Our template or our credentials are wrong there: not for the client to mend.
        text = "The next proxy does not serve this one."
        return refused(502, text, error="proxy_configuration_error")
    response = Response.text(answer.status, f"The next proxy answered {answer.status}.\n")
    # RFC 9209 §2: each member of the field is for one intermediary on the way.
    status = answer.fields.get("proxy-status")
    if status is not None:
        response.fields.set("Proxy-Status", status)
    return response
