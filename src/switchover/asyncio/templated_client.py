"""What the clients of connect-udp and connect-tcp share: asking a proxy's template for a tunnel.

Over HTTP/1.1 the request is an Upgrade on a connection of its own, over HTTP/2 an extended
CONNECT on a stream. Nothing of the tunnel is sent before the answer is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, cast

from switchover.asyncio.dialing import Route, limit_time, open_connection
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.http1_client import HTTP1ClientProtocol
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.switching import hand_over
from switchover.asyncio.tls import client_context
from switchover.errors import Disconnected, ProxyRefused, RemoteProtocolError
from switchover.http.events import Switched
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.messages import Request, Response
from switchover.http.uri import URL, parse_url
from switchover.tunnel.templated import check_templated_response, templated_request
from switchover.tunnel.templates import ProxyTemplate

__all__ = [
    "Asked",
    "FieldLines",
    "Opening",
    "ProxyConnection",
    "ask",
    "facts_of",
    "open_proxy",
    "proxy_template",
]

FieldLines = Fields | Mapping[str, str] | Iterable[tuple[str, str]]
ProxyConnection = HTTP1ClientProtocol | HTTP2ClientProtocol
#: Octets of a refusal's content that its exception carries.
_REFUSAL_LIMIT = 64 * 1024
_S = TypeVar("_S", bound=asyncio.BaseProtocol)


class _Source(Protocol):
    async def read(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What to ask a proxy for: a tunnel to ``host`` and ``port`` under ``token``."""

    token: str
    template: ProxyTemplate
    host: str
    port: int
    fields: FieldLines = ()

    def request(self) -> Request:
        """Return the request as HTTP/1.1 has it; raises :class:`LocalProtocolError`."""
        return templated_request(
            self.template, self.token, self.host, self.port, fields=Fields(self.fields)
        )

    def extended_connect(self) -> Request:
        """Return the request as HTTP/2 has it (RFC 9298 §3.4)."""
        url = self.url
        plain = self.request()
        # RFC 9113 §8.2.2: connection-specific fields do not exist there.
        kept = [
            (name, value)
            for name, value in plain.fields
            if name.lower() not in ("host", "connection", "upgrade")
        ]
        return Request(
            "CONNECT",
            url.target,
            Fields(kept),
            version="2",
            scheme="https" if url.secure else "http",
            authority=url.authority,
            protocol=self.token,
        )

    @property
    def url(self) -> URL:
        """Where the proxy is, with the destination expanded."""
        return parse_url(self.template.expand(self.host, self.port))


def proxy_template(text: str, well_known: str) -> ProxyTemplate:
    """Return the template ``text``; a bare origin stands for the one at ``well_known``.

    Raises :class:`LocalProtocolError` for a template that RFC 9298 §2 does not allow.
    """
    # RFC 9298 §3: a client that knows host and port only uses the default template.
    if "{" not in text and parse_url(text).target == "/":
        text = text.removesuffix("/") + well_known
    return ProxyTemplate(text)


class _Tunnel(Protocol):
    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None: ...


_T = TypeVar("_T", bound=_Tunnel)


class Opening(Generic[_T]):
    """A tunnel on a connection of its own, made when this is awaited or entered.

    What derives from it asks for the tunnel, in :meth:`_ask`.
    """

    def __init__(
        self,
        asked: Asked,
        *,
        route: Route | None,
        http2: bool,
        timeout: float | None,
        limits: Limits | None,
    ) -> None:
        asked.request()  # what cannot be asked for is said here
        self._asked = asked
        self._route = route or Route()
        self._http2 = http2
        self._timeout = timeout
        self._limits = limits
        self._tunnel: _T | None = None

    def __await__(self) -> Generator[Any, None, _T]:
        return self._open().__await__()

    async def __aenter__(self) -> _T:
        self._tunnel = await self._open()
        return self._tunnel

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        assert self._tunnel is not None
        await self._tunnel.__aexit__(exc_type, exc, traceback)

    async def _open(self) -> _T:
        async with limit_time("opening the tunnel", self._timeout):
            driver = await open_proxy(
                self._asked.url, self._route, http2=self._http2, limits=self._limits
            )
            try:
                return await self._ask(driver)
            except BaseException:
                driver.abort()
                raise

    async def _ask(self, driver: ProxyConnection) -> _T:
        """Return the tunnel; ``driver`` is for it alone, and to be ended after it."""
        raise NotImplementedError


async def open_proxy(
    url: URL, route: Route, *, http2: bool = False, limits: Limits | None = None
) -> ProxyConnection:
    """Connect to the proxy at ``url``; return the driver of the connection.

    With ``http2`` that is HTTP/2 if the proxy takes it: by ALPN under TLS, by prior knowledge
    in cleartext. Raises what :func:`open_connection` raises.
    """
    if http2 and url.secure:
        route = replace(route, ssl=route.ssl or client_context(alpn=["h2", "http/1.1"]))
    choice = _Choice(http2=http2, secure=url.secure, limits=limits)
    await open_connection(url, route, lambda: choice)
    assert choice.driver is not None
    return choice.driver


class _Choice(asyncio.Protocol):
    """Stands in until it is known which version is spoken."""

    def __init__(self, *, http2: bool, secure: bool, limits: Limits | None) -> None:
        self._http2 = http2
        self._secure = secure
        self._limits = limits
        self.driver: ProxyConnection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        loop = asyncio.get_running_loop()
        http2 = self._http2
        session = transport.get_extra_info("ssl_object")
        if http2 and self._secure:
            http2 = session is not None and session.selected_alpn_protocol() == "h2"
        if http2:
            self.driver = HTTP2ClientProtocol(loop)
        else:
            self.driver = HTTP1ClientProtocol(limits=self._limits)
        cast("asyncio.Transport", transport).set_protocol(self.driver)
        self.driver.connection_made(transport)


def facts_of(driver: ProxyConnection, token: str) -> PeerFacts:
    """Return what is known of the connection, with ``token`` at the end of its chain."""
    return PeerFacts(driver.transport, (*driver.facts.chain, token))


async def ask(
    driver: ProxyConnection, asked: Asked, make: Callable[[Switched], _S]
) -> tuple[_S, Switched]:
    """Send the request; return what ``make`` made of the switch, and the switch.

    It owns the connection, or the stream. Raises :class:`ProxyRefused` (which carries the
    proxy's whole answer), :class:`RemoteProtocolError` for an answer that opens no tunnel, and
    :class:`Disconnected`; the connection is aborted then, over HTTP/2 only the stream.
    """
    if isinstance(driver, HTTP2ClientProtocol):
        return await _ask_http2(driver, asked, make)
    made: list[_S] = []

    def on_switch(event: Switched, transport: asyncio.Transport) -> None:
        made.append(make(event))
        hand_over(transport, made[0], event.trailing_data)

    request = asked.request()
    try:
        answer = await driver.send(request, check=_checking(asked.token), on_switch=on_switch)
        if isinstance(answer, Switched):
            return made[0], answer
        raise await _refusal(asked, request, answer, driver)
    except BaseException:
        # RFC 9298 §3.3: "the client MUST treat this proxying attempt as failed and abort the
        # connection".
        driver.abort()
        raise


async def _ask_http2(
    driver: HTTP2ClientProtocol, asked: Asked, make: Callable[[Switched], _S]
) -> tuple[_S, Switched]:
    request = asked.extended_connect()
    made: list[_S] = []
    problem: list[RemoteProtocolError] = []

    def on_switch(event: Switched, transport: Any) -> None:
        try:
            check_templated_response(event.request, event.response, asked.token)
        except RemoteProtocolError as error:
            # RFC 9298 §3.5: "abort the request".
            problem.append(error)
            transport.set_protocol(asyncio.Protocol())
            transport.abort()
            return
        made.append(make(event))
        hand_over(transport, made[0], event.trailing_data)

    stream = await driver.send(request, on_switch=on_switch)
    if problem:
        raise problem[0]
    if stream.switched is not None:
        return made[0], stream.switched
    assert stream.response is not None
    try:
        raise await _refusal(asked, request, stream.response, stream)
    finally:
        stream.release()


def _checking(token: str) -> Callable[[Request, Response], str]:
    return lambda request, response: check_templated_response(request, response, token)


async def _refusal(
    asked: Asked, request: Request, answer: Response, source: _Source
) -> ProxyRefused:
    content = b""
    try:
        while len(content) < _REFUSAL_LIMIT and (piece := await source.read()):
            content += piece
    except (Disconnected, RemoteProtocolError):
        pass  # the status has been said already
    answer.content = content[:_REFUSAL_LIMIT]
    status = answer.fields.get("proxy-status")
    cause = f"the proxy says: {ascii(status)[1:-1]}" if status else ""
    if answer.status in (401, 407) and not cause:
        cause = "it asks for credentials, or does not accept the ones it got"
    if 200 <= answer.status < 300:
        cause = "it took the request for an ordinary one: is this the right template?"
    return ProxyRefused(
        f"the proxy at {asked.url.authority} answered {answer.status} to a request for"
        f" {asked.token} to {asked.host} port {asked.port}",
        request=request,
        response=answer,
        rule="RFC 9298 §3.3" if request.protocol is None else "RFC 9298 §3.5",
        cause=cause,
    )
