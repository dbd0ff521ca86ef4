"""``udp_tunnel()``: UDP to a destination, through a proxy that speaks connect-udp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from switchover.asyncio.dialing import Route
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.templated_client import (
    Asked,
    FieldLines,
    Opening,
    ProxyConnection,
    ask,
    facts_of,
    proxy_template,
)
from switchover.asyncio.udp_tunnel import UdpTunnel
from switchover.http.events import Switched
from switchover.http.limits import Limits
from switchover.tunnel.udp import CONNECT_UDP, WELL_KNOWN

__all__ = ["open_udp_tunnel", "udp_tunnel"]


class udp_tunnel(Opening[UdpTunnel]):  # used like a function, as ``open`` is
    """Open a UDP tunnel to ``host`` and ``port`` through the proxy of ``template``.

    ``template`` is the proxy's URI template, ``"https://proxy/udp/{target_host}/{target_port}/"``
    or the bare origin of a proxy that uses the default one. ``host`` is a name, which the
    proxy looks up, or an address. ``fields`` go into the request (``Authorization``, say),
    ``route`` says how the proxy is reached. With ``http2`` the tunnel is a stream of HTTP/2,
    if the proxy takes that. ``timeout`` limits, in seconds, everything until the tunnel is
    open. ``options`` are those of :class:`UdpTunnel`::

        async with switchover.udp_tunnel("https://proxy.example", "192.0.2.1", 53) as tunnel:
            await tunnel.send(query)
            answer = await tunnel.recv()

    With ``await udp_tunnel(…)`` the caller closes it. Raises :class:`LocalProtocolError` for a
    template or destination that is none (nothing is sent), :class:`ProxyRefused` (which
    carries the proxy's whole answer), :class:`RemoteProtocolError`,
    :class:`DeadlineExceeded`, :class:`OSError`.
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
        **options: Any,
    ) -> None:
        asked = Asked(CONNECT_UDP, proxy_template(template, WELL_KNOWN), host, port, fields)
        super().__init__(asked, route=route, http2=http2, timeout=timeout, limits=limits)
        self._options = options

    async def _ask(self, driver: ProxyConnection) -> UdpTunnel:
        tunnel = await _open_on(driver, self._asked, **self._options)
        if isinstance(driver, HTTP2ClientProtocol):
            tunnel.on_lost = _closing(driver)
        return tunnel


def _closing(driver: HTTP2ClientProtocol) -> Callable[[UdpTunnel], None]:
    """The connection was opened for this one tunnel."""
    return lambda _: driver.shutdown()


async def open_udp_tunnel(
    driver: ProxyConnection,
    template: str,
    host: str,
    port: int,
    *,
    fields: FieldLines = (),
    **options: Any,
) -> UdpTunnel:
    """Open a tunnel on a connection to the proxy that exists; see :class:`udp_tunnel`.

    An HTTP/2 connection carries many.
    """
    asked = Asked(CONNECT_UDP, proxy_template(template, WELL_KNOWN), host, port, fields)
    return await _open_on(driver, asked, **options)


async def _open_on(driver: ProxyConnection, asked: Asked, **options: Any) -> UdpTunnel:
    def make(event: Switched) -> UdpTunnel:
        return UdpTunnel(
            event.request, event.response, facts=facts_of(driver, CONNECT_UDP), **options
        )

    # RFC 9931 §6.3: over HTTP/1.1 no UDP payload goes out before the 101. The tunnel does not
    # exist before its answer, over HTTP/2 neither.
    tunnel, _ = await ask(driver, asked, make)
    return tunnel
