"""The byte stream of connect-tcp as a transport, over the stream that carries its capsules.

Follows an approved draft, draft-ietf-httpbis-connect-tcp. Whatever runs on a TCP connection
runs on this: a :class:`Tunnel` at the client, one end of a :class:`Relay` at the proxy. DATA
capsules are its octets and FINAL_DATA its FIN; the end of the stream without one is a reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from switchover.asyncio.udp_proxy import fail_stream
from switchover.errors import TunnelBroken
from switchover.http.events import Failed
from switchover.tunnel.connect_tcp import ConnectTcpMachine
from switchover.tunnel.machine import Broken, DataReceived, EndReceived, TunnelState

__all__ = ["ConnectTcpTransport"]

_OPEN = (TunnelState.OPEN, TunnelState.REMOTE_ENDED)


class ConnectTcpTransport(asyncio.Transport, asyncio.Protocol):
    """A transport for ``protocol``, and itself the protocol of the stream below."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._machine = ConnectTcpMachine()
        self._below: asyncio.Transport | None = None
        # Received and not delivered: what was read before reading was paused.
        self._events: list[Any] = []
        self._paused = False
        self._closing = False
        self._error: Exception | None = None

    @property
    def _stream(self) -> asyncio.Transport:
        assert self._below is not None
        return self._below

    # The stream's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast("asyncio.Transport", transport)
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        self._machine.receive_data(data)
        self._take()

    def eof_received(self) -> bool:
        self._machine.receive_eof()
        self._take()
        # Behind FINAL_DATA the end of the stream says nothing; our direction stays open.
        return not self._closing and self._stream.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._events.clear()
        if self._error is None and error is None and self._machine.state is TunnelState.OPEN:
            error = TunnelBroken("the stream ended before the peer's end of data")
        self._protocol.connection_lost(self._error or error)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def shutdown(self) -> None:
        """End in order, if the protocol above knows how; see :meth:`Server.close`."""
        shutdown: Callable[[], None] = getattr(self._protocol, "shutdown", self.close)
        shutdown()

    def _take(self) -> None:
        for event in self._machine.events_received():
            if isinstance(event, Broken | Failed):
                self._error = event.error
            self._events.append(event)
        self._deliver()

    def _deliver(self) -> None:
        while self._events and not (self._paused or self._closing):
            event = self._events.pop(0)
            if isinstance(event, DataReceived):
                self._protocol.data_received(event.data)
            elif isinstance(event, EndReceived):
                if not self._protocol.eof_received():
                    self.close()
            elif isinstance(event, Broken):
                self.abort()
            elif isinstance(event, Failed):
                self._closing = True
                fail_stream(self._stream)

    # asyncio.BaseTransport and ReadTransport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the stream below knows."""
        return self._stream.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to ``protocol`` from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether the transport is closed, or being closed."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether what arrives is delivered."""
        return not (self._paused or self._closing)

    def pause_reading(self) -> None:
        """Deliver nothing, and read nothing from the stream below."""
        if not (self._paused or self._closing):
            self._paused = True
            self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again."""
        if self._paused and not self._closing:
            self._paused = False
            self._stream.resume_reading()
            asyncio.get_running_loop().call_soon(self._deliver)

    # asyncio.WriteTransport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` in a DATA capsule."""
        if data and not self._closing and self._machine.state in _OPEN:
            self._machine.send(data)
            self._flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Send FINAL_DATA behind what has been written."""
        self._machine.send_eof()
        self._flush()

    def can_write_eof(self) -> bool:
        """FINAL_DATA ends one direction, under TLS too."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return how many octets wait in the stream below."""
        return self._stream.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark of the stream below."""
        return self._stream.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks of the stream below."""
        self._stream.set_write_buffer_limits(high, low)

    def _flush(self) -> None:
        data = self._machine.data_to_send()
        if data:
            self._stream.write(b"".join(data))

    # The end.

    def close(self) -> None:
        """Send what has been written and FINAL_DATA, and close the stream."""
        if not self._closing:
            self._closing = True
            self.write_eof()
            self._stream.close()

    def abort(self) -> None:
        """End the stream without FINAL_DATA: a reset to the peer."""
        self._closing = True
        self._machine.abort()
        self._stream.abort()
