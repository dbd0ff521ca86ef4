"""An exchange on a stream of an HTTP/2 connection."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from switchover.asyncio.deadlines import Deadlines
from switchover.asyncio.exchange import PeerFacts, WaitingExchange
from switchover.asyncio.http2_carrier import ExchangeState
from switchover.errors import Disconnected
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.http2.codes import ErrorCode

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["HTTP2Exchange"]


class HTTP2Exchange(ExchangeState, WaitingExchange):
    """One request and its answer on a stream."""

    __slots__ = ()

    @property
    def server(self) -> Server:
        return self._driver.server

    @property
    def facts(self) -> PeerFacts:
        # Asked for with every request by some applications.
        return self._driver._facts or self._driver.facts

    # Content of the request.

    async def receive_content(self) -> bytes:
        if not self._content and not self.received:
            self._machine.send_continue(self.stream_id)
            self._driver.send_soon()
            await self._more_content()
        if self._content:
            data = self._content.popleft()
            # Only now may the client send as much again.
            self._machine.acknowledge(self.stream_id, len(data))
            self._driver.send_soon()
            return data
        if self.received:
            return b""
        raise Disconnected("the client left before its request was complete")

    async def _more_content(self) -> None:
        loop = asyncio.get_running_loop()
        seconds = self.server.settings.timeouts.content
        deadline = None if seconds is None else Deadlines.of(loop).set(seconds, self._too_slow)
        try:
            while not (self._content or self.received or self._left):
                await self.changed()
        finally:
            if deadline is not None:
                deadline.cancel()

    def _too_slow(self) -> None:
        self._machine.reset(self.stream_id, ErrorCode.CANCEL)
        self._driver.send_soon()
        self._driver.forget(self.stream_id)
        self.peer_left()

    def content_arrived(self, data: bytes) -> None:
        """Take a piece of the request's content from the driver."""
        if self._content is None:
            self._content = deque()
        self._content.append(data)
        self.wake()

    def content_ended(self, trailers: Fields) -> None:
        """The request is complete."""
        self.received = True
        self.trailers = trailers
        if self._waiter is not None:
            self.wake()

    def peer_left(self) -> None:
        """The stream is reset, or the connection is lost."""
        self._left = True
        self._content = None
        self.wake()
        self.window_opened()

    def window_opened(self) -> None:
        """Content that waits may go on."""
        waiter, self._window_waiter = self._window_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The response.

    async def send_interim(self, response: Response) -> None:
        self._check_open()
        self._machine.send_interim(self.stream_id, response)
        self._driver.send_soon()

    async def send_response(self, response: Response, *, end: bool = False) -> None:
        if end and self.try_answer(response):
            return
        self._check_unanswered()
        driver, content = self._driver, response.content
        if content and driver.gate.closed:
            await driver.gate.passed()
            self._check_open()
        taken = self._machine.send_response(self.stream_id, response, end=end)
        driver.send_soon(taken)
        self.response_started = True
        self.response_status = response.status
        if taken < len(content):
            await self._send_rest(memoryview(content)[taken:], end=end)
        if end:
            driver.response_completed(self)
        if driver.gate.closed:
            await driver.gate.passed()

    async def send_content(self, data: bytes) -> None:
        self._check_open()
        taken = self._machine.send_content(self.stream_id, data)
        self._driver.send_soon(taken)
        if taken < len(data):
            await self._send_rest(memoryview(data)[taken:], end=False)
        if self._driver.gate.closed:
            await self._driver.gate.passed()

    async def _send_rest(self, rest: memoryview, *, end: bool) -> None:
        """Send ``rest`` as the client grants window for it: no more than this one piece waits."""
        while rest:
            if self._machine.send_window(self.stream_id) == 0:
                self._window_waiter = asyncio.get_running_loop().create_future()
                await self._window_waiter
            if self._driver.gate.closed:
                await self._driver.gate.passed()
            self._check_open()
            taken = self._machine.send_content(self.stream_id, rest, end=end)
            self._driver.send_soon(taken)
            rest = rest[taken:]

    async def send_end(self, trailers: Fields | None = None) -> None:
        self._check_open()
        self._machine.send_end(self.stream_id, trailers)
        self._driver.send_soon()
        self._driver.response_completed(self)
        if self._driver.gate.closed:
            await self._driver.gate.passed()

    async def switch(
        self, protocol: str, fields: Fields, successor: asyncio.BaseProtocol, *, status: int = 0
    ) -> None:
        self._check_unanswered()
        response = Response(status or 200, fields, version="2")
        self._machine.switch(self.stream_id, response, protocol)
        self.response_started = self.response_complete = True
        self.response_status = response.status
        content, self._content = list(self._content or ()), None
        self._driver.switch_to(self, successor, content, ended=self.received)

    def abort(self) -> None:
        self.response_complete = True
        self._machine.reset(self.stream_id, ErrorCode.INTERNAL_ERROR)
        self._driver.forget(self.stream_id)
        self._driver.send_soon()
