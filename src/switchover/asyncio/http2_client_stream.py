"""One request on an HTTP/2 connection, as its sender sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.flow import Waiting
from switchover.asyncio.http2_stream import StreamTransport
from switchover.http.events import Switched
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2.codes import ErrorCode

if TYPE_CHECKING:
    from switchover.asyncio.http2_client import HTTP2ClientProtocol

__all__ = ["ClientStream", "OnStreamSwitch"]

#: Gets the switch and the stream as a transport, at once; it must set its protocol.
OnStreamSwitch = Callable[[Switched, StreamTransport], None]


class ClientStream(Waiting):
    """One request and its answer; a source of content for a client's response."""

    __slots__ = (
        "_content",
        "_driver",
        "_error",
        "_finished",
        "_interim",
        "_released",
        "_trailers",
        "_waiter",
        "continued",
        "on_switch",
        "request",
        "response",
        "sending",
        "stream_id",
        "switched",
        "window",
    )

    def __init__(
        self,
        driver: HTTP2ClientProtocol,
        request: Request,
        stream_id: int,
        on_interim: Callable[[Response], None] | None = None,
    ) -> None:
        self.request = request
        self.stream_id = stream_id
        #: The head of the final response, once it has arrived.
        self.response: Response | None = None
        #: The switch, once the server has accepted a CONNECT.
        self.switched: Switched | None = None
        self.on_switch: OnStreamSwitch | None = None
        self.continued = False
        self.window = asyncio.Event()
        #: The task that sends the request's content, if that takes one.
        self.sending: asyncio.Task[None] | None = None
        self._driver = driver
        self._interim = on_interim
        self._content: deque[bytes] = deque()
        self._trailers: Fields | None = None
        self._finished = False
        self._released = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    # What the driver tells.

    def interim(self, response: Response) -> None:
        """Take an interim response."""
        if response.status == 100:
            self.continued = True
        if self._interim is not None:
            self._interim(response)
        self.wake()

    def content_arrived(self, data: bytes) -> None:
        """Take a piece of the response's content."""
        if self._released:
            self._driver.machine.acknowledge(self.stream_id, len(data))
            return
        self._content.append(data)
        self.wake()

    def content_ended(self, trailers: Fields) -> None:
        """The response is complete."""
        self._trailers = trailers
        self._finished = True
        self.window.set()
        self.wake()

    def fail(self, error: Exception) -> None:
        """The stream is gone."""
        if not self._finished and self._error is None:
            self._error = error
        self.window.set()
        self.wake()

    # What the caller of the request may ask.

    @property
    def over(self) -> bool:
        """The response is complete, or cannot be had."""
        return self._finished or self._error is not None

    @property
    def trailers(self) -> Fields | None:
        """The trailer fields, once the content has been read to its end."""
        return self._trailers

    @property
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection."""
        return self._driver.facts

    async def head(self) -> Response | Switched:
        """Wait for the head of the final response, or for the switch."""
        while True:
            if self.switched is not None:
                return self.switched
            if self.response is not None:
                return self.response
            if self._error is not None:
                raise self._error
            await self.changed()

    async def read(self) -> bytes:
        """Return the next piece of the response's content, ``b""`` at its end."""
        while not self._content:
            if self._finished or self._released:
                return b""
            if self._error is not None:
                raise self._error
            await self.changed()
        data = self._content.popleft()
        self._driver.machine.acknowledge(self.stream_id, len(data))
        self._driver.send_soon()
        return data

    def release(self) -> None:
        """The response has been read, or is of no more interest."""
        if self._released:
            return
        self._released = True
        self._content.clear()
        if self.sending is not None:
            self.sending.cancel()
        # Does nothing if both sides have ended; else the rest of the request is not wanted
        # (RFC 9113 §8.1), or that of the response.
        code = ErrorCode.NO_ERROR if self._finished else ErrorCode.CANCEL
        self._driver.machine.reset(self.stream_id, code)
        self._driver.send_soon()
        self._driver.forget(self.stream_id)
