"""The answer to a client's request: a response to read, or a switch to use."""

from __future__ import annotations

import json as json_module
from collections.abc import AsyncIterator
from typing import Any, Protocol, Self

from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.tunnel import Tunnel
from switchover.errors import LimitExceeded, SwitchDeclined, UpgradeRequired
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response

__all__ = ["ClientResponse", "ContentSource"]


class ContentSource(Protocol):
    """Where the content of a response comes from: a connection, or a stream of one."""

    @property
    def trailers(self) -> Fields | None:
        """The trailer fields, once the content has been read to its end."""

    @property
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection."""

    async def read(self) -> bytes:
        """Return the next piece of content, ``b""`` at its end."""

    def release(self) -> None:
        """The response has been read, or is of no more interest."""


class ClientResponse:
    """A final response, or a connection that has been switched.

    ``protocol`` is the protocol that was switched to, and ``tunnel`` the connection under it;
    both are ``None`` when the server declined or nothing was offered. The content is read
    with :meth:`read`, :meth:`text`, :meth:`json`, or by iterating over the pieces.
    """

    __slots__ = (
        "_content",
        "_source",
        "history",
        "protocol",
        "request",
        "response",
        "switching",
        "tunnel",
    )

    def __init__(
        self,
        request: Request,
        response: Response,
        source: ContentSource | None = None,
        *,
        tunnel: Tunnel | None = None,
        protocol: str | None = None,
    ) -> None:
        self.request = request
        self.response = response
        self.tunnel = tunnel
        self.protocol = protocol
        #: The 101, if there was one: the answer itself may have come through the new protocol.
        self.switching: Response | None = None
        #: Responses that led here: 426 answers reacted to, redirects followed.
        self.history: list[ClientResponse] = []
        self._source = source
        self._content: bytes | None = None if source is not None else response.content

    def __repr__(self) -> str:
        switched = f", switched to {self.protocol}" if self.protocol else ""
        return f"<ClientResponse {self.status}{switched}>"

    @property
    def status(self) -> int:
        """The status code."""
        return self.response.status

    @property
    def reason(self) -> str:
        """The reason phrase as received."""
        return self.response.reason

    @property
    def fields(self) -> Fields:
        """The header fields."""
        return self.response.fields

    @property
    def http_version(self) -> str:
        """``"1.0"``, ``"1.1"`` or ``"2"``."""
        return self.response.version

    @property
    def trailers(self) -> Fields | None:
        """The trailer fields, once the content has been read to its end."""
        return self._source.trailers if self._source is not None else None

    @property
    def facts(self) -> PeerFacts | None:
        """Peer, TLS and chain of the connection that brought the response."""
        if self.tunnel is not None:
            return self.tunnel.facts
        return self._source.facts if self._source is not None else None

    @property
    def content(self) -> bytes:
        """The content, once it has been read whole; raises :class:`RuntimeError` before."""
        if self._content is None:
            raise RuntimeError("the content has not been read: await response.read()")
        return self._content

    async def read(self, limit: int | None = None) -> bytes:
        """Read and return the whole content.

        Raises :class:`LimitExceeded` beyond ``limit`` octets, :class:`RemoteProtocolError` or
        :class:`Disconnected` if it does not come whole.
        """
        if self._content is None:
            pieces: list[bytes] = []
            size = 0
            async for piece in self:
                size += len(piece)
                if limit is not None and size > limit:
                    await self.close()
                    raise LimitExceeded(f"the content is longer than {limit} octets")
                pieces.append(piece)
            self._content = b"".join(pieces)
        return self._content

    async def text(self, encoding: str = "utf-8") -> str:
        """Read the whole content as text; faulty octets are replaced."""
        return (await self.read()).decode(encoding, "replace")

    async def json(self) -> Any:
        """Read the whole content as JSON; raises :class:`ValueError` if it is none."""
        return json_module.loads(await self.read())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._content is not None:
            if self._content:
                yield self._content
            return
        source = self._source
        assert source is not None
        try:
            while piece := await source.read():
                yield piece
        finally:
            source.release()

    async def close(self) -> None:
        """Let go of the connection; a tunnel is closed in order."""
        if self.tunnel is not None:
            await self.tunnel.close()
        elif self._source is not None:
            self._source.release()

    def raise_for_switch(self) -> None:
        """Raise :class:`SwitchDeclined`, or :class:`UpgradeRequired` for 426, if not switched."""
        if self.protocol is not None:
            return
        error = UpgradeRequired if self.status == 426 else SwitchDeclined
        raise error(
            f"the server answered {self.status} instead of switching",
            request=self.request,
            response=self.response,
            rule="RFC 9110 §7.8",
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
