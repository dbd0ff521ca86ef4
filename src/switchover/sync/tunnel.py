"""The blocking octet tunnel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Self

from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.tunnel import Tunnel as AsyncTunnel
from switchover.errors import TunnelClosed
from switchover.http.messages import Request, Response
from switchover.sync.background import Lease

__all__ = ["Tunnel"]


class Tunnel:
    """An octet tunnel for programs without an event loop.

    Iterate over it for the octets as they come, or use :meth:`read`, :meth:`read_exactly` and
    :meth:`read_until`. One thread may read while others send. The directions end
    independently: :meth:`send_eof` ends ours, and reading ``b""`` means that the peer has
    ended its own. Use it as a context manager, or call :meth:`close`.

    Every method with a ``timeout``, in seconds, raises :class:`DeadlineExceeded` after it;
    a read loses nothing then.
    """

    def __init__(self, tunnel: AsyncTunnel, held: Lease) -> None:
        self._tunnel = tunnel
        self._lease = held
        self._closed = False

    def __repr__(self) -> str:
        return f"<switchover.sync.Tunnel {self.protocol}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and not self._lease.inherited:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._lease.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if exc_type is None:
            self.close()
        else:
            self.abort()

    # Facts.

    @property
    def protocol(self) -> str:
        """The token that was switched to."""
        return self._tunnel.protocol

    @property
    def request(self) -> Request:
        """The request that asked for the switch."""
        return self._tunnel.request

    @property
    def response(self) -> Response:
        """The response that made it."""
        return self._tunnel.response

    @property
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection."""
        return self._tunnel.facts

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows under ``name``."""
        return self._tunnel.get_extra_info(name, default)

    # Reading.

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = self.read()
        if not data:
            raise StopIteration
        return data

    def read(self, size: int = -1, timeout: float | None = None) -> bytes:
        """Return octets as soon as there are any, at most ``size``; ``b""`` at the peer's end.

        Raises :class:`TunnelBroken` if the connection was lost before the peer's end of data,
        after everything that had arrived has been read; :class:`TunnelClosed` after
        :meth:`close`.
        """
        return self._open().run(self._tunnel.read(size), "reading", timeout)

    def read_exactly(self, size: int, timeout: float | None = None) -> bytes:
        """Return exactly ``size`` octets.

        Raises :class:`asyncio.IncompleteReadError`, which is an :class:`EOFError`, with what
        there was if the peer ends its data before.
        """
        return self._open().run(self._tunnel.read_exactly(size), "reading", timeout)

    def read_until(
        self,
        separator: bytes = b"\n",
        *,
        limit: int = 64 * 1024,
        timeout: float | None = None,
    ) -> bytes:
        """Return the octets up to and with ``separator``.

        Raises :class:`asyncio.IncompleteReadError` at the peer's end of data, and
        :class:`LimitExceeded` once ``limit`` octets came without the separator; what has
        arrived stays readable then.
        """
        reading = self._tunnel.read_until(separator, limit=limit)
        return self._open().run(reading, "reading", timeout)

    # Writing.

    def send(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """Send ``data``; waits while the peer does not read what was sent before.

        After :class:`DeadlineExceeded` the data is still on its way. Raises
        :class:`TunnelClosed` after :meth:`send_eof` or :meth:`close`, and
        :class:`TunnelBroken` when the connection is lost.
        """
        # The transport may keep what it could not write; the caller's buffer is its own again.
        octets = data if isinstance(data, bytes) else bytes(data)
        self._open().run(self._tunnel.send(octets), "sending", timeout)

    def send_eof(self) -> None:
        """End our direction; the peer may go on sending.

        Over TLS, which cannot be half-closed here, the end is sent when the tunnel closes.
        """
        self._open().run(self._tunnel.send_eof())

    def _open(self) -> Lease:
        if self._closed:
            raise TunnelClosed("the tunnel has been closed")
        return self._lease

    # The end.

    def close(self, timeout: float = 10.0) -> None:
        """End our direction, wait at most ``timeout`` seconds for the peer's, and close.

        What the peer sends meanwhile is discarded. Nothing that was sent before is lost.
        Closing twice is harmless.
        """
        if not self._closed:
            self._lease.run(self._tunnel.close(timeout))
            self.forget()

    def abort(self) -> None:
        """Drop the connection at once; unsent octets are lost, and the peer sees a reset."""
        if not self._closed:
            self._lease.run(_abort(self._tunnel))
            self.forget()

    def forget(self) -> None:
        """Take note that the connection has been ended by another's doing."""
        if not self._closed:
            self._closed = True
            self._lease.release()


async def _abort(tunnel: AsyncTunnel) -> None:
    tunnel.abort()
    await tunnel.wait_closed()
