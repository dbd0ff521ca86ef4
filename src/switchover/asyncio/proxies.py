"""Reaching a server through proxies: CONNECT through HTTP proxies, and SOCKS.

Everything is tunnelled, requests to ``http`` URLs too: an offer to switch is for the next
hop only (RFC 9110 §7.8), so it has to be made inside a tunnel to reach the server.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

from switchover.asyncio.flow import send_at_once
from switchover.asyncio.http1_client import HTTP1ClientProtocol
from switchover.asyncio.switching import hand_over
from switchover.asyncio.tls import ClientTLS, client_context, connect_inside, start_tls
from switchover.errors import LocalProtocolError, ProxyRefused, RemoteProtocolError
from switchover.http.events import Switched
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.uri import URL, parse_url
from switchover.tunnel.connect import basic_credentials, check_connect_response, connect_request

__all__ = ["Proxy", "open_through", "proxies_for"]

_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
_REFUSAL_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy on the way.

    ``url`` is ``http://[user:password@]host:port``, ``https://…`` for a proxy that is itself
    spoken to under TLS, or ``socks5://…`` (with the ``socks`` extra installed). ``ssl`` is the
    context for an ``https`` proxy; ``fields`` go into the CONNECT request.
    """

    url: str
    ssl: ssl_module.SSLContext | None = None
    fields: Fields | None = None

    @property
    def is_socks(self) -> bool:
        """Whether the proxy speaks SOCKS instead of HTTP."""
        return self.url.partition("://")[0].lower() in _SOCKS

    def target(self) -> URL:
        """Return the URL of an HTTP proxy in parts.

        Raises :class:`LocalProtocolError` for any other.
        """
        url = parse_url(self.url)
        if url.scheme not in ("http", "https"):
            raise LocalProtocolError(f"a proxy's URL is http, https or socks5, not {url.scheme}")
        return url

    def authorization(self) -> str | None:
        """Return the value of Proxy-Authorization for the credentials in the URL."""
        userinfo = self.target().userinfo
        if userinfo is None:
            return None
        user, _, password = userinfo.partition(":")
        return basic_credentials(unquote(user), unquote(password))


def proxies_for(
    url: URL,
    proxy: str | Proxy | Sequence[str | Proxy] | bool | None,  # noqa: FBT001
) -> tuple[Proxy, ...]:
    """Return the proxies on the way to ``url``, the nearest first.

    ``True`` asks the environment (``ws_proxy``, ``https_proxy``, ``all_proxy``, ``no_proxy``
    and their kin); a sequence nests tunnels.
    """
    if proxy is None or proxy is False:
        return ()
    if proxy is True:
        found = _from_environment(url)
        return (Proxy(found),) if found else ()
    several = [proxy] if isinstance(proxy, str | Proxy) else proxy
    return tuple(one if isinstance(one, Proxy) else Proxy(one) for one in several)


def _from_environment(url: URL) -> str | None:
    if proxy_bypass(f"{url.host}:{url.port}"):
        return None
    known = getproxies()
    names = ["wss", "https"] if url.secure else ["ws", "http"]
    for name in (*names, "socks", "all"):
        if known.get(name):
            found = known[name]
            return found if "://" in found else f"http://{found}"
    return None


async def open_through(
    proxies: Sequence[Proxy],
    url: URL,
    factory: Callable[[], asyncio.BaseProtocol],
    tls: ClientTLS | None,
) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    """Open a connection to ``url`` through ``proxies``; return its transport and protocol.

    With ``tls`` the server is spoken to under TLS. Raises :class:`ProxyRefused` (which carries
    the proxy's whole answer), :class:`OSError`, :class:`RemoteProtocolError`,
    :class:`LocalProtocolError`.
    """
    first = proxies[0]
    if first.is_socks:
        if len(proxies) > 1:
            raise LocalProtocolError("a SOCKS proxy cannot be followed by another proxy")
        sock = await _through_socks(first, url)
        send_at_once(sock)
        loop = asyncio.get_running_loop()
        return await connect_inside(
            tls, factory, lambda made: loop.create_connection(made, sock=sock)
        )
    way = _Way()
    try:
        await way.start(first)
        for proxy in proxies[1:]:
            target = proxy.target()
            await way.tunnel(target.host, target.port)
            if target.secure:
                await way.protect(proxy.ssl or client_context(), target.host)
            way.next_proxy(proxy)
        await way.tunnel(url.host, url.port)
        if tls is not None:
            await way.protect(tls.context, tls.server_hostname)
        return way.arrive(factory())
    except BaseException:
        way.abandon()
        raise


class _Way:
    """A connection that grows from tunnel to tunnel."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._driver: HTTP1ClientProtocol | None = None
        self._proxy: Proxy | None = None
        self._trailing = b""

    async def start(self, proxy: Proxy) -> None:
        """Connect to the first proxy."""
        target = proxy.target()
        tls = ClientTLS(proxy.ssl or client_context(), target.host) if target.secure else None
        loop = asyncio.get_running_loop()
        driver = HTTP1ClientProtocol()
        self._transport, _ = await connect_inside(
            tls, lambda: driver, lambda made: loop.create_connection(made, target.host, target.port)
        )
        self._driver, self._proxy = driver, proxy

    async def tunnel(self, host: str, port: int) -> None:
        """Ask the current proxy for a tunnel to the next place."""
        driver, proxy = self._driver, self._proxy
        assert driver is not None
        assert proxy is not None
        request = connect_request(
            host, port, authorization=proxy.authorization(), fields=proxy.fields
        )

        def on_switch(event: Switched, transport: asyncio.Transport) -> None:
            transport.pause_reading()
            self._trailing = event.trailing_data

        answer = await driver.send(request, check=check_connect_response, on_switch=on_switch)
        if not isinstance(answer, Switched):
            raise await _refusal(proxy, request, answer, driver)

    async def protect(self, context: ssl_module.SSLContext, hostname: str) -> None:
        """Speak TLS inside the tunnel."""
        assert self._transport is not None
        if self._trailing:
            # A TLS server never speaks first: whoever sent this is not the server.
            raise RemoteProtocolError("octets came through the tunnel before the TLS handshake")
        keeper = _Keeper()
        self._transport = await start_tls(
            self._transport, keeper, context, server_side=False, server_hostname=hostname
        )
        self._transport.pause_reading()
        self._trailing = bytes(keeper.data)

    def next_proxy(self, proxy: Proxy) -> None:
        """Speak HTTP to the proxy at the end of the tunnel."""
        self._proxy = proxy
        self._driver = HTTP1ClientProtocol()
        self._continue_with(self._driver)

    def arrive(
        self, protocol: asyncio.BaseProtocol
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Let ``protocol`` own the connection to the server."""
        return self._continue_with(protocol), protocol

    def _continue_with(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
        transport, trailing = self._transport, self._trailing
        assert transport is not None
        self._trailing = b""
        hand_over(transport, protocol, trailing)
        transport.resume_reading()
        return transport

    def abandon(self) -> None:
        """Drop the connection: the way did not lead to the server."""
        if self._transport is not None:
            self._transport.abort()


class _Keeper(asyncio.Protocol):
    """Owns the TLS transport between its handshake and its first user, and keeps what comes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def data_received(self, data: bytes) -> None:
        self.data += data


async def _refusal(
    proxy: Proxy, request: Request, answer: Response, driver: HTTP1ClientProtocol
) -> ProxyRefused:
    content = b""
    while len(content) < _REFUSAL_LIMIT and (piece := await driver.read()):
        content += piece
    answer.content = content[:_REFUSAL_LIMIT]
    status = answer.fields.get("proxy-status")
    cause = f"the proxy says: {status}" if status else ""
    if answer.status == 407:
        given = proxy.authorization() is not None
        cause = "it does not accept the credentials" if given else "it asks for credentials"
    return ProxyRefused(
        f"the proxy at {proxy.target()} answered {answer.status} to CONNECT {request.target}",
        request=request,
        response=answer,
        rule="RFC 9110 §9.3.6",
        cause=cause,
    )


async def _through_socks(proxy: Proxy, url: URL) -> socket.socket:
    try:
        from python_socks import ProxyError
        from python_socks.async_.asyncio import Proxy as SocksProxy
    except ImportError:
        raise LocalProtocolError(
            "SOCKS proxies need the 'socks' extra: pip install switchover[socks]"
        ) from None
    # "socks5h" asks the proxy to resolve names, which is what python-socks does for socks5.
    address = proxy.url.replace("socks5h://", "socks5://").replace("socks4a://", "socks4://")
    try:
        sock: socket.socket = await SocksProxy.from_url(address).connect(url.host, url.port)
    except ProxyError as error:
        raise ProxyRefused(f"the SOCKS proxy refused {url.host_port}: {error}") from error
    sock.setblocking(False)
    return sock
