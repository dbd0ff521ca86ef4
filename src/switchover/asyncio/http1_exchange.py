"""An exchange on an HTTP/1.1 connection."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from switchover.asyncio.exchange import Handler, PeerFacts, WaitingExchange
from switchover.errors import Disconnected
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.offers import Offer
from switchover.upgrade.responses import (
    advertise,
    build_switching_response,
    switching_response_to,
)
from switchover.upgrade.tokens import UpgradeToken

if TYPE_CHECKING:
    from switchover.asyncio.http1_server import HTTP1ServerProtocol
    from switchover.asyncio.server import Server

__all__ = ["HTTP1Exchange"]

_NO_FIELDS = Fields()


class HTTP1Exchange(WaitingExchange):
    """One request and its answer on an HTTP/1.1 connection."""

    __slots__ = (
        "_content",
        "_content_complete",
        "_content_octets",
        "_driver",
        "_left",
        "_task",
        "_waiter",
        "offer",
        "request",
        "response_complete",
        "response_started",
        "response_status",
        "trailers",
    )

    def __init__(self, driver: HTTP1ServerProtocol, request: Request, offer: Offer | None) -> None:
        self.request = request
        self.offer = offer
        self.trailers: Fields | None = None
        self.response_started = False
        self.response_complete = False
        self.response_status = 0
        self._driver = driver
        self._content: deque[bytes] | None = None  # a deque is half a kilobyte
        self._content_octets = 0
        self._content_complete = False
        self._left = False
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None  # the handler's

    @property
    def server(self) -> Server:
        return self._driver.server

    @property
    def facts(self) -> PeerFacts:
        return self._driver.facts

    # Content of the request.

    async def receive_content(self) -> bytes:
        if not self._content and not self._content_complete:
            self._driver.machine.send_continue()
            self._driver.content_wanted()
            while not (self._content or self._content_complete or self._left):
                await self.changed()
        if self._content:
            data = self._content.popleft()
            self._content_octets -= len(data)
            self._driver.update_reading()
            return data
        if self._content_complete:
            return b""
        raise Disconnected("the client left before its request was complete")

    @property
    def has_content(self) -> bool:
        """Content has arrived that the application has not taken yet."""
        return bool(self._content)

    @property
    def content_is_full(self) -> bool:
        """More content is held than the application should be made to hold."""
        return self._content_octets >= self._driver.server.settings.content_high_mark

    def content_arrived(self, data: bytes) -> None:
        """Take a piece of the request's content from the driver."""
        if self.response_complete:
            return  # the application has answered without it; it is read to keep the connection
        if self._content is None:
            self._content = deque()
        self._content.append(data)
        self._content_octets += len(data)
        self.wake()

    def content_ended(self, trailers: Fields) -> None:
        """The request is complete."""
        self._content_complete = True
        self.trailers = trailers
        self.wake()

    def peer_left(self) -> None:
        """The connection is lost, or of no more use."""
        self._left = True
        self.wake()

    # The response.

    async def send_interim(self, response: Response) -> None:
        self._check_open()
        self._driver.machine.send_interim(response)
        self._driver.sent()

    async def send_response(self, response: Response, *, end: bool = False) -> None:
        self._check_unanswered()
        self._driver.machine.send_response(self._advertising(response), end=end)
        self.response_started = True
        self.response_status = response.status
        await self._sent(end=end)

    def _advertising(self, response: Response) -> Response:
        """Name what the server advertises; the response remains as the application made it."""
        registry = self._driver.server.registry
        if not registry.advertised:
            return response
        named = Response(
            response.status,
            response.fields.copy(),
            response.reason,
            response.version,
            response.content,
        )
        advertise(named, registry, self.request, secure=self.facts.protected)
        return named

    async def send_content(self, data: bytes) -> None:
        self._check_open()
        self._driver.machine.send_content(data)
        await self._sent()

    async def send_end(self, trailers: Fields | None = None) -> None:
        self._check_open()
        self._driver.machine.send_end(trailers)
        await self._sent(end=True)

    async def switch(
        self, protocol: str, fields: Fields, successor: asyncio.BaseProtocol, *, status: int = 0
    ) -> None:
        self._check_unanswered()
        # RFC 9110 §7.8: the client "MUST NOT" be switched before its request is complete.
        while self._content or not self._content_complete:
            await self.receive_content()
        self._switch(protocol, fields, successor, status)

    def try_switch(self, protocol: str, fields: Fields, successor: asyncio.BaseProtocol) -> bool:
        self._check_unanswered()
        if self._content or not self._content_complete:
            return False
        self._switch(protocol, fields, successor, 0)
        return True

    def _switch(
        self, protocol: str, fields: Fields, successor: asyncio.BaseProtocol, status: int
    ) -> None:
        if self.request.method == "CONNECT":
            response = Response(status or 200, fields)
        else:
            response = self._switching_response(UpgradeToken.parse(protocol), fields)
        self._driver.machine.switch(response, protocol)
        self.response_started = self.response_complete = True
        self.response_status = response.status
        self._driver.switch_to(successor)

    def _switching_response(self, token: UpgradeToken, fields: Fields) -> Response:
        offer = self.offer
        if offer is None or offer.find(token) is None:
            return switching_response_to(self.request, token, fields=fields, offer=offer)
        return build_switching_response(token, fields, layers_above=(), extended=offer.extended)

    def run(self, handler: Handler) -> None:
        """Run ``handler`` in a task of its own."""
        driver = self._driver
        try:
            self._task = driver.server.spawn(handler(self), driver.loop, self._handled)
        except Exception as error:  # noqa: BLE001  # a handler that fails when it is called
            driver.handled(self, error)

    def _handled(self, task: asyncio.Task[None]) -> None:
        driver = self._driver
        driver.server.let_go(task)
        driver.handled(self, None if task.cancelled() else task.exception())

    def release(self) -> None:
        if self.response_complete:
            # Whoever runs the handler holds this exchange as long as the handler runs.
            self.request = Request(self.request.method, self.request.target, _NO_FIELDS)
            self.offer = None
            self._content = None
            self._driver.release()
            task, self._task = self._task, None
            if task is not None and not task.done():
                # Nothing is left to be done for it; so it need not keep us, nor the driver.
                task.remove_done_callback(self._handled)
                task.add_done_callback(self._driver.server.released_done)

    def abort(self) -> None:
        self.response_complete = True
        self._driver.abort()

    async def _sent(self, *, end: bool = False) -> None:
        if end:
            self._driver.response_completed(self)
            self.wake()
        self._driver.sent()
        if self._driver.blocked():
            await self._driver.unblocked()
