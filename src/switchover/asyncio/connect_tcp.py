"""``connect_tcp()`` and ``tcp_tunnel()``: TCP through a proxy at a URI template, both ends.

Follows an approved draft, draft-ietf-httpbis-connect-tcp, that is no RFC yet: the capsule
types are provisional, and both ends have to follow the same version of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from switchover.asyncio.connect_handler import Authenticate, dial
from switchover.asyncio.connect_tcp_transport import ConnectTcpTransport
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.relay import Relay
from switchover.asyncio.templated_client import (
    Asked,
    FieldLines,
    Opening,
    ProxyConnection,
    ask,
    facts_of,
    proxy_template,
)
from switchover.asyncio.templated_server import Admission, TemplatedSuccessor
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import Accept
from switchover.http.events import Switched
from switchover.http.limits import Limits
from switchover.http.messages import Response
from switchover.tunnel.connect import Authority, refused
from switchover.tunnel.connect_tcp import CONNECT_TCP, tcp_upgrade
from switchover.tunnel.policy import DestinationPolicy
from switchover.tunnel.templates import ProxyTemplate
from switchover.upgrade.registry import Upgrade

__all__ = ["WELL_KNOWN", "TcpSuccessor", "connect_tcp", "tcp_tunnel"]

#: The path of the default template (draft-ietf-httpbis-connect-tcp).
WELL_KNOWN = "/.well-known/masque/tcp/{target_host}/{target_port}/"


# The server.


def connect_tcp(
    policy: DestinationPolicy | None = None,
    *,
    path: str = WELL_KNOWN,
    authenticate: Authenticate | None = None,
    accept: Accept | None = None,
    realm: str = "switchover",
    max_tunnels: int = 1000,
    max_tunnels_per_peer: int | None = 100,
    timeout: float = 10.0,
    drain: float = 30.0,
    idle: float | None = 600.0,
) -> Upgrade:
    """Serve TCP to clients of connect-tcp, over HTTP/1.1 and HTTP/2 alike (approved draft).

    ``policy`` says which destinations are opened: port 443 of public addresses, unless it
    says otherwise. ``timeout`` is for look-up and connection together, ``drain`` for the rest
    after the first end of data; a tunnel on which nothing has moved for ``idle`` seconds
    ends. The other options are those of :func:`connect_udp`.
    """
    admission = Admission(
        policy=policy if policy is not None else DestinationPolicy(),
        authenticate=authenticate,
        accept=accept,
        realm=realm,
        max_tunnels=max_tunnels,
        max_tunnels_per_peer=max_tunnels_per_peer,
        timeout=timeout,
    )
    # The successor asks its policy itself, behind the question of who asks.
    everything = DestinationPolicy(ports=None, dangerously_allow_internal=True)
    successor = TcpSuccessor(admission, drain=drain, idle=idle)
    return tcp_upgrade(ProxyTemplate(path), policy=everything, successor=successor)


class TcpSuccessor(TemplatedSuccessor):
    """Opens a TCP connection for each tunnel, before the answer, and relays."""

    def __init__(self, admission: Admission, *, drain: float, idle: float | None) -> None:
        super().__init__(admission)
        self._drain = drain
        self._idle = idle

    async def reach(self, target: Authority, exchange: Exchange) -> _Way | Response:
        """Look the target up, and connect to one of its addresses."""
        addresses = await self.resolve(target)
        if isinstance(addresses, Response):
            return addresses
        relay = Relay(drain=self._drain, idle=self._idle)
        try:
            await dial(addresses, target.port, relay)
        except OSError as error:
            why = error.strerror or error
            return refused(502, f"{target}: {why}.", error="connection_refused")
        return _Way(relay)


class _Way:
    """A relay whose left end speaks in capsules."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.successor = ConnectTcpTransport(relay.left)

    @property
    def on_end(self) -> Callable[[Any], None] | None:
        return self._relay.on_end

    @on_end.setter
    def on_end(self, callback: Callable[[Any], None] | None) -> None:
        self._relay.on_end = callback

    def start(self) -> None:
        self._relay.start()

    def abort(self) -> None:
        self._relay.abort()


# The client.


class tcp_tunnel(Opening[Tunnel]):  # used like a function, as ``open`` is
    """Open a TCP tunnel to ``host`` and ``port`` through the proxy of ``template``.

    Unlike CONNECT this needs a proxy that follows the draft; it gives a :class:`Tunnel` that
    tells an end from a loss. The options are those of :class:`udp_tunnel`::

        async with switchover.tcp_tunnel("https://proxy.example", "www.example", 80) as tunnel:
            await tunnel.send(b"GET / HTTP/1.0\\r\\n\\r\\n")

    With ``await tcp_tunnel(…)`` the caller closes it. Raises what :class:`udp_tunnel` raises.
    """

    def __init__(
        self,
        template: str,
        host: str,
        port: int,
        *,
        fields: FieldLines = (),
        route: Route | None = None,
        http2: bool = False,
        timeout: float | None = 10.0,
        limits: Limits | None = None,
    ) -> None:
        asked = Asked(CONNECT_TCP, proxy_template(template, WELL_KNOWN), host, port, fields)
        super().__init__(asked, route=route, http2=http2, timeout=timeout, limits=limits)

    async def _ask(self, driver: ProxyConnection) -> Tunnel:
        made: list[Tunnel] = []

        def make(event: Switched) -> ConnectTcpTransport:
            tunnel = Tunnel(
                CONNECT_TCP,
                event.request,
                event.response,
                facts=facts_of(driver, CONNECT_TCP),
                on_lost=ended,
            )
            made.append(tunnel)
            return ConnectTcpTransport(tunnel)

        def ended(_: Tunnel) -> None:
            if isinstance(driver, HTTP2ClientProtocol):
                driver.shutdown()

        await ask(driver, self._asked, make)
        return made[0]
