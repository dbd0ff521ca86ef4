"""The client: requests with or without an offer, over connections that are kept and reused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from switchover.asyncio.client_pool import HTTP2, ClientPool
from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.content import Content
from switchover.asyncio.dialing import Route, limit_time
from switchover.asyncio.http1_client import HTTP1ClientProtocol
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.http2_tunnels import extended_connect
from switchover.asyncio.offers import ClientUpgrade, TLSPolicy, resolve
from switchover.errors import Disconnected, LocalProtocolError, RemoteProtocolError
from switchover.http.events import Switched
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.messages import Request, Response
from switchover.http.uri import URL, parse_url
from switchover.upgrade.client import (
    Retry,
    UpgradeReaction,
    fresh_request,
    may_repeat_unanswered,
    offered_tokens,
    offering_request,
    redirected,
)
from switchover.upgrade.tokens import UpgradeToken

__all__ = ["Client"]

_HTTP_SCHEME = {"ws": "http", "wss": "https"}
_Offer = Sequence["str | UpgradeToken | ClientUpgrade"]
_FieldLines = Fields | Mapping[str, str] | Iterable[tuple[str, str]]


class Client:
    """Sends requests, and offers protocols with them.

    ``route`` says how servers are reached (Unix socket, TLS context). ``fields`` go into every
    request. ``reaction`` is what to do about a 426; without one it is an ordinary answer.
    ``timeout`` limits, in seconds, connecting and every wait for the head of a response.
    ``max_idle`` is how many unused connections are kept for each origin; a connection that
    has been switched to another protocol than TLS is never among them. ``tls_upgrade`` asks
    for TLS on the connections to ``http`` URLs (RFC 2817). ``http2`` says whether connections
    begin in HTTP/2; they may also switch to it, with ``offer=["h2c"]``.

    Use it as an asynchronous context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        *,
        route: Route | None = None,
        fields: _FieldLines = (),
        reaction: UpgradeReaction | None = None,
        limits: Limits | None = None,
        timeout: float | None = 30.0,
        max_idle: int = 8,
        max_redirects: int = 0,
        tls_upgrade: TLSPolicy | None = None,
        http2: HTTP2 = HTTP2.NEVER,
    ) -> None:
        self.fields = Fields(fields)
        self.reaction = reaction
        self.timeout = timeout
        self.max_redirects = max_redirects
        self.tls_upgrade = tls_upgrade
        #: The client's connections.
        self.pool = ClientPool(
            route or Route(),
            http2=http2,
            limits=limits or Limits(),
            timeout=timeout,
            max_idle=max_idle,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; tunnels end in order, and are aborted after a second.

        Returns when they have ended.
        """
        await self.pool.close()

    # Requests.

    async def get(self, url: str, **options: Any) -> ClientResponse:
        """Send a GET request and read the response; see :meth:`request`."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, content: Content = None, **options: Any) -> ClientResponse:
        """Send a POST request and read the response; see :meth:`request`."""
        return await self.request("POST", url, content=content, **options)

    async def request(
        self,
        method: str,
        url: str,
        *,
        fields: _FieldLines = (),
        content: Content = None,
        offer: _Offer = (),
        on_interim: Callable[[Response], None] | None = None,
    ) -> ClientResponse:
        """Send a request; return its answer, with the content read unless it switched.

        ``offer`` lists the protocols to offer, the preferred one first: upgrade tokens as
        text, or :class:`ClientUpgrade` objects. Raises
        :class:`LocalProtocolError` for what cannot be sent (nothing was),
        :class:`RemoteProtocolError`, :class:`Disconnected`, :class:`DeadlineExceeded`, or
        :class:`OSError` if the server cannot be reached.
        """
        response = await self.stream(
            method, url, fields=fields, content=content, offer=offer, on_interim=on_interim
        )
        if response.protocol is None or response.tunnel is None:
            await response.read()
        return response

    async def stream(
        self,
        method: str,
        url: str,
        *,
        fields: _FieldLines = (),
        content: Content = None,
        offer: _Offer = (),
        on_interim: Callable[[Response], None] | None = None,
    ) -> ClientResponse:
        """Like :meth:`request`, but return as soon as the head of the response is there.

        Read the content from the response, or close it: until then it holds its connection.
        """
        target = parse_url(url)
        upgrades = [resolve(member) for member in offer]
        request = self._build(method, target, fields, content)
        history: list[ClientResponse] = []
        redirects = retries = 0
        while True:
            answer = await self._send(target, request, content, upgrades, on_interim)
            answer.history = list(history)
            repeatable = content is None or isinstance(content, bytes | str)
            if answer.status == 426 and self.reaction is not None and repeatable:
                retry = self.reaction.react(answer.request, answer.response, attempt=retries)
                if isinstance(retry, Retry):
                    retries += 1
                    await answer.read(1024 * 1024)
                    history.append(answer)
                    upgrades = [resolve(token) for token in retry.tokens]
                    request = fresh_request(request)
                    continue
            if answer.status in (301, 302, 303, 307, 308) and redirects < self.max_redirects:
                redirects += 1
                await answer.read(1024 * 1024)
                history.append(answer)
                url, request, keeps_content = redirected(request, answer.response, url=url)
                target = parse_url(url)
                if not keeps_content:
                    content = None
                elif not repeatable:
                    return answer
                continue
            return answer

    def _build(self, method: str, url: URL, fields: _FieldLines, content: Content) -> Request:
        lines = Fields([("Host", url.authority)])
        for name, value in (*self.fields, *Fields(fields)):
            if name.lower() == "host":
                lines.set("Host", value)
            else:
                lines.add(name, value)
        if content is not None and not ("content-length" in lines or "transfer-encoding" in lines):
            if isinstance(content, bytes | str):
                length = len(content.encode() if isinstance(content, str) else content)
                lines.add("Content-Length", str(length))
            else:
                lines.add("Transfer-Encoding", "chunked")
        scheme = _HTTP_SCHEME.get(url.scheme, url.scheme)
        return Request(method, url.target, lines, scheme=scheme, authority=url.authority)

    async def _send(
        self,
        url: URL,
        request: Request,
        content: Content,
        upgrades: Sequence[ClientUpgrade],
        on_interim: Callable[[Response], None] | None,
    ) -> ClientResponse:
        while True:
            protected = await self._protect(url)
            connection = await self.pool.connection(url, protected=protected)
            fresh = connection.requests == 0
            try:
                if isinstance(connection, HTTP2ClientProtocol):
                    return await self._over_http2(
                        connection, request, content, upgrades, on_interim
                    )
                offering = _offer(request, upgrades) if upgrades else request
                return await self._exchange(
                    connection, url, offering, content, upgrades, on_interim
                )
            except Disconnected:
                # RFC 9112 §9.3.1: a kept connection may have been closed just now.
                repeatable = content is None or isinstance(content, bytes | str)
                if fresh or not repeatable or not may_repeat_unanswered(request):
                    raise

    async def _over_http2(
        self,
        connection: HTTP2ClientProtocol,
        request: Request,
        content: Content,
        upgrades: Sequence[ClientUpgrade],
        on_interim: Callable[[Response], None] | None,
    ) -> ClientResponse:
        async with limit_time("waiting for the response", self.timeout):
            upgrades = [upgrade for upgrade in upgrades if not upgrade.done_in_http2]
            if upgrades:
                return await extended_connect(connection, request, upgrades, self.pool)
            stream = await connection.send(request, content, on_interim=on_interim)
        response = await stream.head()
        assert isinstance(response, Response)  # no CONNECT was sent
        return ClientResponse(request, response, stream)

    async def _protect(self, url: URL) -> bool:
        """Have a connection switched to TLS ready, if the policy asks for one."""
        policy = self.tls_upgrade
        if policy is None or url.secure:
            return False
        if self.pool.has_protected(url):
            return True
        # RFC 2817 §3.2: where a cleartext answer is not acceptable, the client "MUST send an
        # OPTIONS request to begin the TLS handshake", and the real request only inside.
        options = Request(
            "OPTIONS",
            "*",
            Fields([("Host", url.authority)]),
            scheme="http",
            authority=url.authority,
        )
        connection = await self.pool.connection(url)
        if isinstance(connection, HTTP2ClientProtocol):
            raise LocalProtocolError("TLS cannot be offered in HTTP/2", rule="RFC 9113 §8.2.2")
        upgrades = [policy.upgrade]
        answer = await self._exchange(
            connection, url, _offer(options, upgrades), None, upgrades, None
        )
        await answer.read(1024 * 1024)
        if policy.required:
            answer.raise_for_switch()
        return answer.protocol is not None

    async def _exchange(
        self,
        connection: HTTP1ClientProtocol,
        url: URL,
        request: Request,
        content: Content,
        upgrades: Sequence[ClientUpgrade],
        on_interim: Callable[[Response], None] | None,
    ) -> ClientResponse:
        taken: list[Any] = []

        def check(sent: Request, response: Response) -> str:
            return _selected(upgrades, sent, response).check(sent, response)

        def on_switch(event: Switched, transport: asyncio.Transport) -> None:
            upgrade = _selected(upgrades, event.request, event.response)
            taken.append(upgrade.switched(event, connection, self.pool, url))

        try:
            async with limit_time("waiting for the response", self.timeout):
                answer = await connection.send(
                    request,
                    content,
                    check=check if upgrades else None,
                    on_switch=on_switch,
                    on_interim=on_interim,
                )
                if isinstance(answer, Switched):
                    result: ClientResponse = await taken[0]
                    result.switching = answer.response
                    return result
        except BaseException:
            connection.abort()
            raise
        protected = connection.facts.protected and not url.secure
        source = self.pool.borrow(url, connection, protected=protected)
        return ClientResponse(request, answer, source)


def _offer(request: Request, upgrades: Sequence[ClientUpgrade]) -> Request:
    lines = [line for upgrade in upgrades for line in upgrade.fields()]
    fields = request.fields.copy()
    for name, value in lines:
        fields.set(name, value)
    complete = Request(
        request.method,
        request.target,
        fields,
        scheme=request.scheme,
        authority=request.authority,
    )
    tokens = [token for upgrade in upgrades for token in upgrade.tokens]
    return offering_request(complete, tokens, options=[name for name, _ in lines])


def _selected(
    upgrades: Sequence[ClientUpgrade], request: Request, response: Response
) -> ClientUpgrade:
    """Find the upgrade whose token the 101 names first; any, to complain, if none does."""
    answered = response.fields.members("upgrade")
    offered = offered_tokens(request)
    for member in answered[:1]:
        for upgrade in upgrades:
            tokens = [UpgradeToken.parse(token) for token in upgrade.tokens]
            if any(str(t).lower() == member.lower() and t in offered for t in tokens):
                return upgrade
    if not upgrades:
        raise RemoteProtocolError("a 101 that nobody asked for", rule="RFC 9110 §7.8")
    return upgrades[0]
