"""The client: requests with or without an offer, over connections that are kept and reused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from switchover.asyncio.client_response import ClientResponse, ContentSource
from switchover.asyncio.dialing import Route, limit_time, open_connection
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.http1_client import Content, HTTP1ClientProtocol
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
_PoolKey = tuple[str, str, int, bool]
_FieldLines = Fields | Mapping[str, str] | Iterable[tuple[str, str]]


class Client:
    """Sends requests, and offers protocols with them.

    ``route`` says how servers are reached (Unix socket, TLS context). ``fields`` go into every
    request. ``reaction`` is what to do about a 426; without one it is an ordinary answer.
    ``timeout`` limits, in seconds, connecting and every wait for the head of a response.
    ``max_idle`` is how many unused connections are kept for each origin; a connection that
    has been switched to another protocol than TLS is never among them. ``tls_upgrade`` asks
    for TLS on the connections to ``http`` URLs (RFC 2817).

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
    ) -> None:
        self.route = route or Route()
        self.fields = Fields(fields)
        self.reaction = reaction
        self.limits = limits or Limits()
        self.timeout = timeout
        self.max_idle = max_idle
        self.max_redirects = max_redirects
        self.tls_upgrade = tls_upgrade
        self._idle: dict[_PoolKey, list[HTTP1ClientProtocol]] = {}
        self._adopted: dict[Any, None] = {}
        self._live: set[HTTP1ClientProtocol] = set()
        self._empty: asyncio.Event | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; tunnels end in order, and are aborted after a second.

        Returns when they have ended.
        """
        self._closed = True
        self._idle.clear()
        for connection in list(self._live):
            connection.on_idle_end = None
            connection.close()
        adopted = list(self._adopted)
        for switched in adopted:
            switched.shutdown(1.0)
        if adopted:
            await asyncio.gather(*(one.wait_closed() for one in adopted))
        if self._live:
            self._empty = asyncio.Event()
            await self._empty.wait()

    def adopt(self, switched: Any) -> None:
        """End ``switched`` (it has ``shutdown(timeout)`` and ``wait_closed()``) with the client."""
        self._adopted[switched] = None

    def release(self, switched: Any) -> None:
        """Forget what was adopted: it has ended, or is the caller's to end."""
        self._adopted.pop(switched, None)

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
        redirects = 0
        while True:
            answer = await self._send(target, request, content, upgrades, on_interim)
            answer.history = list(history)
            repeatable = content is None or isinstance(content, bytes | str)
            if answer.status == 426 and self.reaction is not None and repeatable:
                retry = self.reaction.react(answer.request, answer.response, attempt=len(history))
                if isinstance(retry, Retry):
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
        if upgrades:
            request = _offer(request, upgrades)
        while True:
            protected = await self._protect(url)
            connection = await self._connection(url, protected=protected)
            fresh = connection.requests == 0
            try:
                return await self._exchange(connection, url, request, content, upgrades, on_interim)
            except Disconnected:
                # RFC 9112 §9.3.1: a kept connection may have been closed just now.
                repeatable = content is None or isinstance(content, bytes | str)
                if fresh or not repeatable or not may_repeat_unanswered(request):
                    raise

    async def _protect(self, url: URL) -> bool:
        """Have a connection switched to TLS ready, if the policy asks for one."""
        policy = self.tls_upgrade
        if policy is None or url.secure:
            return False
        if any(idle.reusable for idle in self._idle.get(_key(url, protected=True), ())):
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
        connection = await self._connection(url, protected=False)
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
            taken.append(upgrade.switched(event, connection, self, url))

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
                    return result
        except BaseException:
            connection.abort()
            raise
        protected = connection.facts.protected and not url.secure
        return ClientResponse(request, answer, self.borrow(url, connection, protected=protected))

    # Connections.

    async def _connection(self, url: URL, *, protected: bool) -> HTTP1ClientProtocol:
        if self._closed:
            raise LocalProtocolError("the client has been closed")
        idle = self._idle.get(_key(url, protected=protected), [])
        while idle:
            connection = idle.pop()
            connection.on_idle_end = None
            if connection.reusable:
                return connection
            connection.close()
        if protected:
            raise Disconnected("the connection that was switched to TLS has been closed")
        async with limit_time("connecting", self.timeout):
            _, protocol = await open_connection(url, self.route, self._new_driver)
        assert isinstance(protocol, HTTP1ClientProtocol)
        self.keep_account(protocol)
        return protocol

    def keep_account(self, connection: HTTP1ClientProtocol) -> None:
        """Close ``connection`` with the client, whatever it is doing then."""
        self._live.add(connection)
        connection.on_lost = self._lost

    def _lost(self, connection: HTTP1ClientProtocol) -> None:
        self._live.discard(connection)
        if self._empty is not None and not self._live:
            self._empty.set()

    def _new_driver(self) -> HTTP1ClientProtocol:
        return HTTP1ClientProtocol(limits=self.limits)

    def borrow(
        self, url: URL, connection: HTTP1ClientProtocol, *, protected: bool = False
    ) -> ContentSource:
        """Return the content of the response on ``connection``, which goes back to the pool."""
        return _Borrowed(self, _key(url, protected=protected), connection)

    def put_back(self, key: _PoolKey, connection: HTTP1ClientProtocol) -> None:
        """Keep ``connection`` for the next request under ``key``, if it may carry one."""
        idle = self._idle.setdefault(key, [])
        if self._closed or not connection.reusable or len(idle) >= self.max_idle:
            connection.close()
            return

        def forget(lost: HTTP1ClientProtocol) -> None:
            with contextlib.suppress(ValueError):
                idle.remove(lost)

        connection.on_idle_end = forget
        idle.append(connection)


class _Borrowed:
    """The content of a response; gives the connection back when it has been read."""

    __slots__ = ("_client", "_connection", "_key", "_released")

    def __init__(self, client: Client, key: _PoolKey, connection: HTTP1ClientProtocol) -> None:
        self._client = client
        self._key = key
        self._connection = connection
        self._released = False

    @property
    def trailers(self) -> Fields | None:
        return self._connection.trailers

    @property
    def facts(self) -> PeerFacts:
        return self._connection.facts

    async def read(self) -> bytes:
        if self._released:
            return b""
        try:
            return await self._connection.read()
        except BaseException:
            self._connection.abort()
            raise

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._client.put_back(self._key, self._connection)


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


def _key(url: URL, *, protected: bool) -> _PoolKey:
    return (_HTTP_SCHEME.get(url.scheme, url.scheme), url.host, url.port, protected)
