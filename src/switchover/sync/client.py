"""The blocking client: requests with or without an offer, and ``switch()``."""

from __future__ import annotations

import contextlib
import json as json_module
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from switchover.asyncio.client import Client as AsyncClient
from switchover.asyncio.client_response import ClientResponse as AsyncClientResponse
from switchover.asyncio.content import Content as AsyncContent
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.offers import ClientUpgrade
from switchover.asyncio.switch import switch as async_switch
from switchover.asyncio.tunnel import Tunnel as AsyncTunnel
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.sync.background import Call, Lease, lease
from switchover.sync.tunnel import Tunnel
from switchover.upgrade.tokens import UpgradeToken

__all__ = ["Client", "ClientResponse", "Content", "switch"]

#: What a request may carry: octets, text, or pieces of octets.
Content = bytes | str | Iterable[bytes] | None
_FieldLines = Fields | Mapping[str, str] | Iterable[tuple[str, str]]
_Offer = Sequence["str | UpgradeToken | ClientUpgrade"]


class ClientResponse:
    """A final response, or a connection that has been switched.

    ``protocol`` is the protocol that was switched to, and ``tunnel`` the connection under it;
    both are ``None`` when the server declined or nothing was offered. The content is read
    with :meth:`read`, :meth:`text`, :meth:`json`, or by iterating over the pieces.
    """

    def __init__(
        self, answer: AsyncClientResponse, held: Lease | None, tunnel: Tunnel | None = None
    ) -> None:
        self.tunnel = tunnel
        self._answer = answer
        self._lease = held

    def __repr__(self) -> str:
        return repr(self._answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if self.tunnel is not None and exc_type is not None:
            self.tunnel.abort()
        else:
            self.close()

    # Facts.

    @property
    def request(self) -> Request:
        """The request as it was sent."""
        return self._answer.request

    @property
    def response(self) -> Response:
        """The head of the response."""
        return self._answer.response

    @property
    def protocol(self) -> str | None:
        """The protocol that was switched to."""
        return self._answer.protocol

    @property
    def status(self) -> int:
        """The status code."""
        return self._answer.status

    @property
    def reason(self) -> str:
        """The reason phrase as received."""
        return self._answer.reason

    @property
    def fields(self) -> Fields:
        """The header fields."""
        return self._answer.fields

    @property
    def http_version(self) -> str:
        """``"1.0"``, ``"1.1"`` or ``"2"``."""
        return self._answer.http_version

    @property
    def trailers(self) -> Fields | None:
        """The trailer fields, once the content has been read to its end."""
        return self._answer.trailers

    @property
    def facts(self) -> PeerFacts | None:
        """Peer, TLS and chain of the connection that brought the response."""
        return self._answer.facts

    @property
    def history(self) -> list[Response]:
        """Responses that led here: 426 answers reacted to, redirects followed."""
        return [earlier.response for earlier in self._answer.history]

    def raise_for_switch(self) -> None:
        """Raise :class:`SwitchDeclined`, or :class:`UpgradeRequired` for 426, if not switched."""
        self._answer.raise_for_switch()

    # Content.

    @property
    def content(self) -> bytes:
        """The content, once it has been read whole; raises :class:`RuntimeError` before."""
        return self._answer.content

    def read(self, limit: int | None = None, timeout: float | None = None) -> bytes:
        """Read and return the whole content.

        Raises :class:`LimitExceeded` beyond ``limit`` octets, :class:`DeadlineExceeded` after
        ``timeout`` seconds, :class:`RemoteProtocolError` or :class:`Disconnected` if it does
        not come whole.
        """
        if self._lease is None:
            return self._answer.content
        return self._lease.run(self._answer.read(limit), "reading the response", timeout)

    def text(self, encoding: str = "utf-8") -> str:
        """Read the whole content as text; faulty octets are replaced."""
        return self.read().decode(encoding, "replace")

    def json(self) -> Any:
        """Read the whole content as JSON; raises :class:`ValueError` if it is none."""
        return json_module.loads(self.read())

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces()

    def pieces(self, timeout: float | None = None) -> Iterator[bytes]:
        """Iterate over the content as it comes.

        Raises :class:`DeadlineExceeded` if a piece takes longer than ``timeout`` seconds.
        """
        held = self._lease
        if held is None:
            yield from filter(None, [self._answer.content])
            return
        pieces = aiter(self._answer)

        async def following() -> bytes:
            return await anext(pieces, b"")

        async def end() -> None:
            await pieces.aclose()  # type: ignore[attr-defined]  # it is a generator

        try:
            while piece := held.run(following(), "reading the response", timeout):
                yield piece
        finally:
            with contextlib.suppress(Disconnected):  # the client has been closed meanwhile
                held.run(end())

    def close(self) -> None:
        """Let go of the connection; a tunnel is closed in order."""
        if self.tunnel is not None:
            self.tunnel.close()
        elif self._lease is not None:
            with contextlib.suppress(Disconnected):  # the client has been closed before
                self._lease.run(self._answer.close())


class Client:
    """Sends requests, and offers protocols with them, for programs without an event loop.

    ``options`` are those of :class:`switchover.Client`. Threads may share a client. Use it as
    a context manager, or call :meth:`close`.
    """

    def __init__(self, **options: Any) -> None:
        self._client = AsyncClient(**options)
        self._options = options
        self._lease: Lease | None = None
        self._lock = threading.Lock()
        self._tunnels: weakref.WeakSet[Tunnel] = weakref.WeakSet()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        held = getattr(self, "_lease", None)
        if held is not None and not held.inherited:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            held.abandon()

    def close(self) -> None:
        """Close every connection; tunnels end in order, and are aborted after a second."""
        with self._lock:
            self._closed = True
            held, self._lease = self._lease, None
        if held is None or held.inherited:
            return
        try:
            held.run(self._client.close())
        finally:
            for tunnel in list(self._tunnels):
                tunnel.forget()
            held.release()

    def get(self, url: str, **options: Any) -> ClientResponse:
        """Send a GET request and read the response; see :meth:`request`."""
        return self.request("GET", url, **options)

    def post(self, url: str, content: Content = None, **options: Any) -> ClientResponse:
        """Send a POST request and read the response; see :meth:`request`."""
        return self.request("POST", url, content=content, **options)

    def request(
        self,
        method: str,
        url: str,
        *,
        fields: _FieldLines = (),
        content: Content = None,
        offer: _Offer = (),
        on_interim: Callable[[Response], object] | None = None,
        timeout: float | None = None,
    ) -> ClientResponse:
        """Send a request; return its answer, with the content read unless it switched.

        ``offer`` lists the protocols to offer, the preferred one first. An iterable
        ``content`` is iterated over, and ``on_interim`` called, in this thread. ``timeout``
        limits the whole in seconds, beside the client's own. Raises
        :class:`LocalProtocolError` for what cannot be sent (nothing was),
        :class:`RemoteProtocolError`, :class:`Disconnected`, :class:`DeadlineExceeded`, or
        :class:`OSError` if the server cannot be reached.
        """
        call = self._call()
        asked = self._client.request(
            method,
            url,
            fields=fields,
            content=_content(call, content),
            offer=offer,
            on_interim=call.here(on_interim) if on_interim is not None else None,
        )
        return self._answered(call.run(asked, "the request", timeout))

    def stream(
        self,
        method: str,
        url: str,
        *,
        fields: _FieldLines = (),
        content: Content = None,
        offer: _Offer = (),
        on_interim: Callable[[Response], object] | None = None,
        timeout: float | None = None,
    ) -> ClientResponse:
        """Like :meth:`request`, but return as soon as the head of the response is there.

        Read the content from the response, or close it: until then it holds its connection.
        """
        call = self._call()
        asked = self._client.stream(
            method,
            url,
            fields=fields,
            content=_content(call, content),
            offer=offer,
            on_interim=call.here(on_interim) if on_interim is not None else None,
        )
        return self._answered(call.run(asked, "waiting for the response", timeout))

    def _call(self) -> Call:
        with self._lock:
            if self._closed:
                raise LocalProtocolError("the client has been closed")
            if self._lease is not None and self._lease.inherited:
                # After a fork the connections are the parent's.
                self._client, self._lease = AsyncClient(**self._options), None
            if self._lease is None:
                self._lease = lease()
                self._lease.keep(self._client.close, self._client.close)
            return self._lease.call()

    def _answered(self, answer: AsyncClientResponse) -> ClientResponse:
        assert self._lease is not None
        tunnel = None
        if answer.tunnel is not None:
            tunnel = _hold(answer.tunnel, self._lease.another())
            self._tunnels.add(tunnel)
        return ClientResponse(answer, self._lease, tunnel)


def _content(call: Call, content: Content) -> AsyncContent:
    if content is None or isinstance(content, bytes | str):
        return content
    return call.pieces(content)


def _hold(tunnel: AsyncTunnel, held: Lease) -> Tunnel:
    held.keep(tunnel.abort, lambda: tunnel.close(0.5))
    return Tunnel(tunnel, held)


def switch(
    url: str,
    *,
    offer: _Offer,
    method: str = "GET",
    content: Content = None,
    timeout: float | None = None,
    **options: Any,
) -> ClientResponse:
    """Offer protocols to the server of ``url`` and use the one it selects.

    ``offer`` lists upgrade tokens, the preferred one first; ``options`` are those of
    :func:`switchover.switch`. ``timeout`` limits the whole in seconds::

        with switchover.sync.switch("http://localhost/shout", offer=["shout/1"]) as switched:
            if switched.protocol:                      # "shout/1"; None if declined
                switched.tunnel.send(b"hello")
            else:
                print(switched.status)                 # the ordinary answer

    ``required=True`` raises :class:`SwitchDeclined` (:class:`UpgradeRequired` for 426) if the
    server declines.
    """
    held = lease()
    call = held.call()
    try:
        asked = async_switch(
            url, offer=offer, method=method, content=_content(call, content), **options
        )
        answer = call.run(_switched(asked, held), "switching", timeout)
    except BaseException:
        held.cancel()
        raise
    if answer.tunnel is not None:
        return ClientResponse(answer, held, Tunnel(answer.tunnel, held))
    held.release()
    return ClientResponse(answer, None)


async def _switched(asked: async_switch, held: Lease) -> AsyncClientResponse:
    answer = await asked.__aenter__()
    if answer.tunnel is not None:
        tunnel = answer.tunnel
        held.keep(tunnel.abort, lambda: tunnel.close(0.5))
    else:
        await asked.__aexit__(None, None, None)  # the answer has been read
    return answer
