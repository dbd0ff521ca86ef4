"""The driver of a client's HTTP/2 connection: many requests at once.

Reached by the h2c Upgrade, by prior knowledge, and by ALPN. Each request is a
:class:`ClientStream`; an extended or plain CONNECT that the server accepts becomes a transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from switchover.asyncio.content import Content, pieces
from switchover.asyncio.http2_client_stream import ClientStream, OnStreamSwitch
from switchover.asyncio.http2_driver import HTTP2Protocol
from switchover.asyncio.http2_stream import StreamTransport, reset_error
from switchover.errors import Disconnected, LocalProtocolError, RemoteProtocolError, TunnelBroken
from switchover.http.events import (
    Failed,
    InterimResponseReceived,
    MessageComplete,
    PeerClosed,
    ResponseReceived,
    Switched,
)
from switchover.http.messages import Request, Response
from switchover.http2.client import ClientConnection
from switchover.http2.codes import ErrorCode, describe
from switchover.http2.events import (
    GoAway,
    SettingsReceived,
    StreamEvent,
    StreamReset,
    WindowOpened,
)

__all__ = ["HTTP2ClientProtocol"]

#: A server that does not read is given up after this many seconds.
_WRITE_TIMEOUT = 60.0


class HTTP2ClientProtocol(HTTP2Protocol):
    """Drives one HTTP/2 connection to a server.

    ``on_end`` is called once when no more requests can be sent on the connection.
    """

    _machine: ClientConnection

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        machine: ClientConnection | None = None,
        chain: tuple[str, ...] = ("HTTP/2",),
    ) -> None:
        super().__init__(
            machine or ClientConnection(clock=loop.time),
            loop,
            chain=chain,
            write_timeout=_WRITE_TIMEOUT,
        )
        self._streams: dict[int, ClientStream] = {}
        self._room: asyncio.Event = asyncio.Event()
        self._closed: asyncio.Future[None] = loop.create_future()
        #: Why the connection is of no more use.
        self.error: Exception | None = None
        self.on_end: Callable[[HTTP2ClientProtocol], None] | None = None
        #: How many requests this connection has carried.
        self.requests = 0

    @property
    def machine(self) -> ClientConnection:
        """The machine that this driver drives."""
        return self._machine

    @property
    def reusable(self) -> bool:
        """The connection may carry more requests, now or when others are through."""
        return self.error is None and not self._over and self._machine.usable()

    @property
    def idle(self) -> bool:
        """No request is under way."""
        return not (self._streams or self._tunnels)

    # Requests.

    async def send(
        self,
        request: Request,
        content: Content = None,
        *,
        on_switch: OnStreamSwitch | None = None,
        on_interim: Callable[[Response], None] | None = None,
        continue_timeout: float = 1.0,
    ) -> ClientStream:
        """Send ``request``; return its stream once the final response has begun, or the switch.

        Waits for a free stream, and before an extended CONNECT for the server's settings.
        ``on_switch`` gets the stream as a transport if the server accepts a CONNECT. Raises
        :class:`Disconnected`, :class:`RemoteProtocolError`, or :class:`LocalProtocolError` if
        the server does not take extended CONNECT.
        """
        await self._wait_for_room(request)
        connect = request.method == "CONNECT"
        stream_id = self._machine.send_request(request, end=content is None and not connect)
        stream = ClientStream(self, request, stream_id, on_interim)
        stream.on_switch = on_switch
        self._streams[stream_id] = stream
        self.requests += 1
        self.send_soon()
        try:
            if content is not None and not connect:
                sending = self._send_along(stream, content, continue_timeout)
                stream.sending = self._loop.create_task(sending)
            await stream.head()
        except BaseException:
            stream.release()
            raise
        return stream

    def upgraded(self, on_interim: Callable[[Response], None] | None = None) -> ClientStream:
        """Return stream 1, the request that was upgraded; to be called before octets come."""
        request = self._machine.request_on(1)
        if request is None:
            raise LocalProtocolError("no request was upgraded", rule="RFC 7540 §3.2")
        stream = self._streams[1] = ClientStream(self, request, 1, on_interim)
        self.requests += 1
        return stream

    async def _wait_for_room(self, request: Request) -> None:
        while True:
            if self.error is not None:
                raise self.error
            if not self.reusable:
                raise Disconnected("the server takes no more requests on this connection")
            waiting = request.protocol is not None and not self._machine.peer_settings.received
            if self._machine.may_request() and not waiting:
                return
            self._room.clear()
            await self._room.wait()

    async def _send_along(
        self, stream: ClientStream, content: Content, continue_timeout: float
    ) -> None:
        """Send the content beside the response, which may begin before its end."""
        try:
            await self._send_content(stream, content, continue_timeout)
        except Exception as error:  # noqa: BLE001  # told to whoever reads the response
            self._machine.reset(stream.stream_id, ErrorCode.CANCEL)
            self.send_soon()
            stream.fail(error)

    async def _send_content(
        self, stream: ClientStream, content: Content, continue_timeout: float
    ) -> None:
        if stream.request.expects_continue:
            await self._wait_for_continue(stream, continue_timeout)
        async for piece in pieces(content):
            rest = memoryview(piece)
            while rest and not stream.over:
                rest = await self._send_piece(stream, rest)
            if stream.over:
                return
        if not stream.over:
            self._machine.send_end(stream.stream_id)
            self.send_soon()

    async def _wait_for_continue(self, stream: ClientStream, seconds: float) -> None:
        # RFC 9110 §10.1.1: a client "SHOULD NOT wait for an indefinite period".
        try:
            async with asyncio.timeout(seconds):
                while not (stream.continued or stream.over or stream.response is not None):
                    await stream.changed()
        except TimeoutError:
            pass

    async def _send_piece(self, stream: ClientStream, rest: memoryview) -> memoryview:
        if self.gate.closed:
            await self.gate.passed()
        stream.window.clear()
        taken = self._machine.send_content(stream.stream_id, rest)
        self.send_soon()
        if taken < len(rest):
            await stream.window.wait()
        return rest[taken:]

    # The end.

    def close(self) -> None:
        """End the connection: requests under way are abandoned."""
        if self.error is None:
            self.error = Disconnected("the connection has been closed")
        self._machine.close()
        self._leave_all(self.error)
        self.send_soon()

    def shutdown(self, timeout: float = 1.0) -> None:
        """Finish what is under way, for ``timeout`` seconds at most; send no more requests."""
        if not self._over:
            self._machine.shutdown()
            self._deadlines.set(timeout, self.close)
            self.send_soon()

    async def wait_closed(self) -> None:
        """Return when the connection has ended."""
        await asyncio.shield(self._closed)

    def forget(self, stream_id: int) -> None:
        """The stream needs nothing more."""
        self._streams.pop(stream_id, None)
        self._tunnels.pop(stream_id, None)
        self._room.set()

    def _lost(self, error: Exception | None) -> None:
        if self.error is None:
            self.error = Disconnected("the server closed the connection")
            self.error.__cause__ = error
        self._leave_all(self.error)
        if not self._closed.done():
            self._closed.set_result(None)

    def _leave_all(self, error: Exception) -> None:
        for stream in list(self._streams.values()):
            stream.fail(error)
        self._streams.clear()
        broken = TunnelBroken("the connection under the stream was lost")
        broken.__cause__ = error
        for tunnel in list(self._tunnels.values()):
            tunnel.lose(broken)
        self._ended()

    def _ended(self) -> None:
        self._room.set()
        callback, self.on_end = self.on_end, None
        if callback is not None:
            callback(self)

    # Events.

    def _on_event(self, event: Any) -> None:
        if type(event) is StreamEvent:
            tunnel = self._tunnels.get(event.stream_id)
            if tunnel is not None:
                _to_tunnel(tunnel, event.event)
                return
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                _ON_STREAM[type(event.event)](self, stream, event.event)
        else:
            _ON_CONNECTION[type(event)](self, event)

    def _on_interim(self, stream: ClientStream, event: InterimResponseReceived) -> None:
        stream.interim(event.response)

    def _on_response(self, stream: ClientStream, event: ResponseReceived) -> None:
        stream.response = event.response
        stream.wake()

    def _on_message_content(self, stream_id: int, data: bytes) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.content_arrived(data)
        else:
            self._machine.acknowledge(stream_id, len(data))

    def _on_complete(self, stream: ClientStream, event: MessageComplete) -> None:
        stream.content_ended(event.trailers)
        self._room.set()

    def _on_switched(self, stream: ClientStream, event: Switched) -> None:
        stream.switched = event
        if stream.on_switch is None:
            self._machine.reset(stream.stream_id, ErrorCode.CANCEL)
            stream.fail(LocalProtocolError("a tunnel nobody takes", rule="RFC 9113 §8.5"))
            return
        self._streams.pop(stream.stream_id, None)
        transport = StreamTransport(self, stream.stream_id, self._loop)
        self._tunnels[stream.stream_id] = transport
        stream.on_switch(event, transport)
        stream.wake()

    def _on_reset(self, event: StreamReset) -> None:
        tunnel = self._tunnels.get(event.stream_id)
        if tunnel is not None:
            tunnel.lose(reset_error(event.code))
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.fail(_reset(event))
        self._room.set()

    def _on_window(self, event: WindowOpened) -> None:
        tunnel = self._tunnels.get(event.stream_id)
        if tunnel is not None:
            tunnel.window_opened()
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.window.set()

    def _on_settings(self, event: SettingsReceived) -> None:
        self._room.set()

    def _on_goaway(self, event: GoAway) -> None:
        if event.code != ErrorCode.NO_ERROR and self.error is None:
            text = ascii(event.debug[:200].decode("latin-1"))
            self.error = RemoteProtocolError(
                f"the server ended the connection: {describe(event.code)} {text}",
                rule="RFC 9113 §6.8",
            )
        # RFC 9113 §6.8: no new streams; those under way go on.
        self._ended()

    def _on_failed(self, event: Failed) -> None:
        # What the server has said of the end, if it has, is the better reason.
        if self.error is None:
            self.error = event.error
        self._leave_all(self.error)

    def _on_peer_closed(self, event: PeerClosed) -> None:
        if self.error is None:
            self.error = Disconnected("the server closed the connection")
        self._ended()


def _to_tunnel(tunnel: StreamTransport, event: Any) -> None:
    if type(event) is MessageComplete:
        tunnel.receive_eof()


def _reset(event: StreamReset) -> Exception:
    if event.error is not None:
        return event.error
    if event.may_retry:
        # RFC 9113 §8.7: nothing was done with the request.
        return Disconnected("the server has not processed the request")
    return Disconnected(f"the server has reset the stream ({describe(event.code)})")


_ON_STREAM: dict[type[Any], Callable[[HTTP2ClientProtocol, ClientStream, Any], None]] = {
    InterimResponseReceived: HTTP2ClientProtocol._on_interim,
    ResponseReceived: HTTP2ClientProtocol._on_response,
    MessageComplete: HTTP2ClientProtocol._on_complete,
    Switched: HTTP2ClientProtocol._on_switched,
}
_ON_CONNECTION: dict[type[Any], Callable[[HTTP2ClientProtocol, Any], None]] = {
    StreamReset: HTTP2ClientProtocol._on_reset,
    WindowOpened: HTTP2ClientProtocol._on_window,
    SettingsReceived: HTTP2ClientProtocol._on_settings,
    GoAway: HTTP2ClientProtocol._on_goaway,
    Failed: HTTP2ClientProtocol._on_failed,
    PeerClosed: HTTP2ClientProtocol._on_peer_closed,
}
