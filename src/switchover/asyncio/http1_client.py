"""The driver of a client's HTTP/1.1 connection.

One request at a time. Its answer is read piece by piece, or the connection is handed to a
successor at the moment of the switch: synchronously, before the event loop could read
another octet, so there is no moment at which octets of the new protocol have no owner.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from switchover.asyncio.content import Content, pieces
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.flow import Waiting, WriteGate, receive_buffer
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.client import ClientConnection
from switchover.http.events import (
    ContentReceived,
    Event,
    Failed,
    InterimResponseReceived,
    MessageComplete,
    PeerClosed,
    ResponseReceived,
    Switched,
)
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.messages import Request, Response

__all__ = ["Content", "HTTP1ClientProtocol", "SwitchCheck"]

#: Checks a 101 against its request, and names the selected protocol; or raises.
SwitchCheck = Callable[[Request, Response], str]

_CONTENT_HIGH_MARK = 256 * 1024


class HTTP1ClientProtocol(Waiting, asyncio.BufferedProtocol):
    """Drives one HTTP/1.1 connection to a server.

    ``on_idle_end`` is called when the connection is lost while it carries no request,
    ``on_lost`` when it is lost at all, or switched.
    """

    __slots__ = (
        "_chain",
        "_content",
        "_content_octets",
        "_continue",
        "_facts",
        "_interim",
        "_machine",
        "_on_switch",
        "_over",
        "_paused",
        "_response",
        "_switched",
        "_trailers",
        "_transport",
        "_upload",
        "_waiter",
        "error",
        "gate",
        "on_idle_end",
        "on_lost",
        "requests",
    )

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        machine: ClientConnection | None = None,
        chain: tuple[str, ...] = ("HTTP/1.1",),
    ) -> None:
        self._machine = machine or ClientConnection(limits=limits or Limits())
        self._chain = chain
        self._facts: PeerFacts | None = None
        self._transport: asyncio.Transport | None = None
        self.gate = WriteGate()
        self._waiter: asyncio.Future[None] | None = None
        self.error: Exception | None = None
        self._over = False
        self._paused = False
        #: How many requests this connection has carried.
        self.requests = 0
        self.on_idle_end: Callable[[HTTP1ClientProtocol], None] | None = None
        self.on_lost: Callable[[HTTP1ClientProtocol], None] | None = None
        self._interim: Callable[[Response], None] | None = None
        self._on_switch: Callable[[Switched, asyncio.Transport], None] | None = None
        self._response: Response | None = None
        self._switched: Switched | None = None
        self._content: deque[bytes] = deque()
        self._content_octets = 0
        self._trailers: Fields | None = None
        self._continue = False
        self._upload: asyncio.Future[None] | None = None

    def _reset(self) -> None:
        self._response = self._switched = self._trailers = None
        self._content.clear()
        self._content_octets = 0
        self._continue = False

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        return receive_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._machine.receive_data(receive_buffer()[:nbytes])
        # Under a TLS upgrade octets may arrive before the transport is handed over.
        if self._transport is not None:
            self._pump()

    def eof_received(self) -> bool:
        self._machine.receive_eof()
        if self._transport is not None:
            self._pump()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        if self.error is None:
            self.error = Disconnected("the server closed the connection")
            self.error.__cause__ = error
        self.gate.break_down(lambda: self.error or Disconnected("the connection is lost"))
        self.wake()
        if self._upload is not None:
            self._upload.cancel()
        if self.on_idle_end is not None:
            self.on_idle_end(self)
        self._notify_lost()

    def _notify_lost(self) -> None:
        if self.on_lost is not None:
            self.on_lost(self)

    def pause_writing(self) -> None:
        self.gate.close()

    def resume_writing(self) -> None:
        self.gate.open()

    # One request.

    async def send(
        self,
        request: Request,
        content: Content = None,
        *,
        check: SwitchCheck | None = None,
        on_switch: Callable[[Switched, asyncio.Transport], None] | None = None,
        on_interim: Callable[[Response], None] | None = None,
        continue_timeout: float = 1.0,
    ) -> Response | Switched:
        """Send ``request``; return the head of its final response, or the switch.

        ``on_switch`` gets the transport at the moment of the switch and must install the
        successor. The content is sent while the answer is awaited; a final response ends it.
        Raises :class:`RemoteProtocolError` or :class:`Disconnected`.
        """
        if self.error is not None:
            raise self.error
        self._reset()
        self.requests += 1
        self._interim, self._on_switch = on_interim, on_switch
        self._machine.send_request(request, end=content is None, switch=check)
        if isinstance(content, str):
            content = content.encode()
        if content is None or isinstance(content, bytes):
            if content is not None and not request.expects_continue:
                self._machine.send_content(content)
                self._machine.send_end()
                content = None
            self._flush()
        if content is None:
            return await self.response()
        return await self._send_and_await(request, content, continue_timeout)

    async def _send_and_await(
        self, request: Request, content: Content, continue_timeout: float
    ) -> Response | Switched:
        self._flush()
        sending = asyncio.ensure_future(self._send_content(request, content, continue_timeout))
        answer = asyncio.ensure_future(self.response())
        try:
            await asyncio.wait({sending, answer}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not answer.done():
                sending.result()
            await answer
        except BaseException:
            sending.cancel()
            answer.cancel()
            await asyncio.gather(sending, answer, return_exceptions=True)
            raise
        if not sending.done():
            # RFC 9112 §9.5: an error ends the sending; after another answer the server may still
            # want the rest, and some answer while they read.
            self._upload = sending
            sending.add_done_callback(self._uploaded)
            if self._is_refused():
                sending.cancel()
        return await self.response()

    def _is_refused(self) -> bool:
        return self._response is not None and self._response.status >= 400

    def _uploaded(self, sending: asyncio.Future[None]) -> None:
        self._upload = None
        error = None if sending.cancelled() else sending.exception()
        if error is not None and self.error is None:
            # The request cannot be completed, so neither can the exchange.
            self.error = Disconnected(f"the content could not be sent: {error}")
            self.error.__cause__ = error
            self.abort()

    async def _send_content(
        self, request: Request, content: Content, continue_timeout: float
    ) -> None:
        if request.expects_continue:
            # RFC 9110 §10.1.1: a client "SHOULD NOT wait for an indefinite period".
            try:
                async with asyncio.timeout(continue_timeout):
                    while not self._continue and self._response is None and self.error is None:
                        await self.changed()
            except TimeoutError:
                pass
            if self._is_refused():
                return
        async for piece in pieces(content):
            if self._is_refused() or self.error is not None:
                return
            self._machine.send_content(piece)
            self._flush()
            if self.gate.closed:
                await self.gate.passed()
        self._machine.send_end()
        self._pump()

    async def response(self) -> Response | Switched:
        """Wait for the head of the final response, or for the switch."""
        while self._response is None and self._switched is None:
            if self.error is not None:
                raise self.error
            await self.changed()
        return self._switched or self._response  # type: ignore[return-value]  # one of them is set

    async def read(self) -> bytes:
        """Return the next piece of the response's content, ``b""`` at its end."""
        while not self._content:
            if self._trailers is not None:
                return b""
            if self.error is not None:
                raise self.error
            await self.changed()
        data = self._content.popleft()
        self._content_octets -= len(data)
        if self._paused and self._content_octets < _CONTENT_HIGH_MARK // 2:
            self._paused = False
            assert self._transport is not None
            if not self._over:
                self._transport.resume_reading()
        return data

    @property
    def trailers(self) -> Fields | None:
        """The trailer fields of the response; ``None`` before its end."""
        return self._trailers

    @property
    def reusable(self) -> bool:
        """The answer is complete, and the connection may carry another request."""
        return self.error is None and not self._over and self._machine.reusable()

    @property
    def lost(self) -> bool:
        """The connection has ended, or has been switched."""
        return self._over

    @property
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection."""
        if self._facts is None:
            self._facts = PeerFacts(self._transport, self._chain)
        return self._facts

    @property
    def transport(self) -> asyncio.Transport:
        """The transport under the connection."""
        if self._transport is None:
            raise LocalProtocolError("the connection has not been made")
        return self._transport

    def close(self) -> None:
        """Close the connection; an exchange under way is abandoned."""
        if self._transport is not None and not self._over:
            if self.error is None:
                self.error = Disconnected("the connection has been closed")
            self._close()

    def _close(self) -> None:
        # Closed twice, asyncio's TLS transport forgets its session and cannot be asked of it.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None and not self._over:
            self._transport.abort()

    # From octets to events.

    def _pump(self) -> None:
        for event in self._machine.events_received():
            _ACTIONS[type(event)](self, event)
            if self._over:
                return
        self._flush()
        self.wake()

    def _flush(self) -> None:
        if self._transport is None or self._over:
            return
        data = self._machine.data_to_send()
        if data:
            self._transport.write(data[0] if len(data) == 1 else b"".join(data))
        if self._machine.close_expected():
            self._close()

    def _on_interim(self, event: InterimResponseReceived) -> None:
        if event.response.status == 100:
            self._continue = True
        if self._interim is not None:
            self._interim(event.response)

    def _on_response(self, event: ResponseReceived) -> None:
        self._response = event.response

    def _on_content(self, event: ContentReceived) -> None:
        self._content.append(event.data)
        self._content_octets += len(event.data)
        if self._content_octets >= _CONTENT_HIGH_MARK and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _on_complete(self, event: MessageComplete) -> None:
        self._trailers = event.trailers

    def _on_switched(self, event: Switched) -> None:
        self._switched = event
        self.facts.chain = (*self._chain, event.protocol)
        self._flush()  # the end of our content, if the 101 came before it
        self._over = True
        self._notify_lost()
        if self._on_switch is not None:
            self._on_switch(event, self.transport)
        self.wake()

    def _on_failed(self, event: Failed) -> None:
        self.error = event.error
        self.transport.abort()

    def _on_peer_closed(self, event: PeerClosed) -> None:
        if self.error is None:
            self.error = Disconnected("the server closed the connection")


_ACTIONS: dict[type[Event], Callable[[HTTP1ClientProtocol, Any], None]] = {
    InterimResponseReceived: HTTP1ClientProtocol._on_interim,
    ResponseReceived: HTTP1ClientProtocol._on_response,
    ContentReceived: HTTP1ClientProtocol._on_content,
    MessageComplete: HTTP1ClientProtocol._on_complete,
    Switched: HTTP1ClientProtocol._on_switched,
    Failed: HTTP1ClientProtocol._on_failed,
    PeerClosed: HTTP1ClientProtocol._on_peer_closed,
}
