"""TLS as a transport: handshake, records, and an end that is told apart from a cut.

It stands on any other transport, from the first octet or later (RFC 2817), and is used instead
of the event loop's own TLS: it is faster (``docs/decisions/0022-tls-transport.md``), the same
on every loop, and says with an alert why a handshake fails. The ``ssl`` module does what is
cryptography, contexts and certificates.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import ssl as ssl_module
from asyncio import BufferedProtocol
from collections.abc import Callable
from typing import Any

from switchover.asyncio.deadlines import Deadline, Deadlines
from switchover.asyncio.flow import end_writing, plain_socket, receive_buffer
from switchover.asyncio.tls_records import TLSRecords

__all__ = ["TLSTransport"]

logger = logging.getLogger("switchover.tls")

#: A peer has so many seconds for its part of the end; while it takes data, it has more.
_LINGER = 10.0
#: What :mod:`asyncio` gives a handshake for which nothing else is said.
_HANDSHAKE = 60.0

_LOST = "the connection was lost during the TLS handshake"


class _State(enum.Enum):
    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()  # close_notify has been sent
    CLOSED = enum.auto()


class TLSTransport(TLSRecords, BufferedProtocol):
    """A transport for the protocol above it, and a protocol for the transport below.

    ``announce=False`` leaves ``connection_made`` to whoever waits for :meth:`handshaken`.
    ``handshake_timeout`` is in seconds, ``None`` sets no limit.
    """

    __slots__ = (
        "__weakref__",
        "_announce",
        "_announced",
        "_context",
        "_deadline",
        "_eof",
        "_error",
        "_handshake_timeout",
        "_loop",
        "_server_side",
        "_state",
        "_unsent",
        "_waiter",
    )

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl_module.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        handshake_timeout: float | None = _HANDSHAKE,
        announce: bool = True,
    ) -> None:
        incoming, outgoing = ssl_module.MemoryBIO(), ssl_module.MemoryBIO()
        session = context.wrap_bio(
            incoming,
            outgoing,
            server_side=server_side,
            server_hostname=None if server_side else server_hostname,
        )
        TLSRecords.__init__(self, protocol, session, incoming, outgoing)
        self._context = context
        self._server_side = server_side
        self._handshake_timeout = handshake_timeout
        self._announce = announce
        self._announced = False
        self._state = _State.HANDSHAKE
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: Deadline | None = None
        self._error: Exception | None = None
        self._eof = False  # the transport below has ended, while reading was paused
        self._unsent = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.name.lower()} on {self._transport!r}>"

    # The handshake.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake on ``transport``."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._ciphertext = receive_buffer()
        self._fd = plain_socket(transport)
        if self._handshake_timeout is not None:
            self._set_deadline(self._handshake_timeout, self._handshake_too_slow)
        if not self._server_side:
            self._shake_hands()

    async def handshaken(self) -> None:
        """Return when the handshake is done.

        Raises :class:`ssl.SSLError` or :class:`OSError` if it has failed; the connection is
        closed then. Cancelling it aborts the connection.
        """
        if self._state is _State.HANDSHAKE:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                self.abort()
                raise
        elif self._state is _State.CLOSED:
            raise self._error or ConnectionResetError(_LOST)

    def _advance(self) -> None:
        if self._state is _State.HANDSHAKE:
            self._shake_hands()
        elif self._state is _State.CLOSING:
            self._discard()

    def _shake_hands(self) -> None:
        try:
            self._session.do_handshake()
        except ssl_module.SSLWantReadError:
            self._flush()
        except ssl_module.SSLError as error:
            # RFC 8446 §6.2: "Whenever an implementation encounters a fatal error condition, it
            # SHOULD send an appropriate fatal alert and MUST close the connection".
            self._end_with(error)
        else:
            self._flush()
            self._opened()

    def _opened(self) -> None:
        self._drop_deadline()
        self._state = _State.OPEN
        self._open = self._announced = True
        if self._announce:
            self._protocol.connection_made(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._deliver()

    def _handshake_too_slow(self) -> None:
        self._error = ConnectionAbortedError(
            f"the TLS handshake took longer than {self._handshake_timeout:g} seconds"
        )
        self.abort()

    # The end.

    def close(self) -> None:
        """End the connection in order: what was written goes out first, then close_notify."""
        if self._state is _State.HANDSHAKE:
            self.abort()
        elif self._state is _State.OPEN:
            self._begin_closing()

    def abort(self) -> None:
        """End the connection at once; what has not been sent is lost."""
        self._set_closed()
        if self._transport is not None:
            self._transport.abort()

    def _begin_closing(self) -> None:
        # RFC 8446 §6.1: "Each party MUST send a "close_notify" alert before closing its write
        # side of the connection, unless it has already sent some error alert."
        self._state = _State.CLOSING
        self._open, self._closing = False, True
        try:
            self._session.unwrap()
        except ssl_module.SSLError:
            pass  # the peer has not said it yet; or there are octets before that, discarded below
        self._flush()
        transport = self._transport
        if self._peer_closed or transport.is_closing():
            transport.close()
            return
        # Closed with octets unread the connection would be reset, and the peer would lose what
        # is still on its way: RFC 9112 §9.6. So its end is waited for, for a while.
        self._unsent = transport.get_write_buffer_size()
        self._set_deadline(_LINGER, self._linger)
        if self._reading_paused:
            transport.resume_reading()
        if transport.can_write_eof():
            end_writing(transport)
        self._discard()

    def _discard(self) -> None:
        try:
            while self._read(65536):
                pass
        except ssl_module.SSLWantReadError:
            return
        except ssl_module.SSLError:
            pass  # close_notify after our own, or no TLS
        self._transport.close()

    def _linger(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent and unsent < self._unsent:
            self._unsent = unsent
            self._set_deadline(_LINGER, self._linger)
        else:
            self.abort()

    def _peer_ended(self) -> None:
        self._protocol.eof_received()
        # RFC 8446 §6.1 lets our side stay open, RFC 5246 §7.2.1 does not. Many peers answer what
        # comes now with a reset, so both directions end together, as with asyncio's own TLS.
        if self._state is _State.OPEN:
            self._begin_closing()

    def _broken(self, error: Exception) -> None:
        self._end_with(error)

    def _end_with(self, error: Exception) -> None:
        """Send the alert that ``ssl`` has made for ``error``, and end the connection."""
        self._error = error
        logger.debug("%r: %s", self, error)
        self._flush()
        self._set_closed()
        transport = self._transport
        if self._announced and transport.get_write_buffer_size():
            transport.abort()  # it would wait for the peer to take all that was written before
        else:
            transport.close()

    def _set_closed(self) -> None:
        self._drop_deadline()
        self._state = _State.CLOSED
        self._open, self._closing = False, True

    # What the transport below has to say.

    def eof_received(self) -> bool:
        """Take the end of the octets, which without close_notify is a cut."""
        if self._state is _State.OPEN and not self._reading_paused:
            self._deliver()  # reading was paused before, and what was read then is still here
        if self._state is _State.OPEN and self._reading_paused:
            self._eof = True
            return True
        if self._state is _State.OPEN:
            # RFC 9112 §9.8: what ends without a closure alert may have been cut by anybody. The
            # protocol is not told of an end of the data, but that the connection is lost.
            self._error = ConnectionResetError("the peer ended the connection without close_notify")
        elif self._state is _State.HANDSHAKE:
            self._error = ConnectionResetError(_LOST)
        self._set_closed()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for the handshake, or the protocol, that the connection is lost."""
        self._set_closed()
        self._fd = -1
        if self._error is None:
            self._error = exc
        if self._announced:
            self._announced = False
            self._protocol.connection_lost(self._error)
        elif self._error is None:
            self._error = ConnectionResetError(_LOST)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._error or ConnectionResetError(_LOST))

    def pause_writing(self) -> None:
        """Hand on that the transport below has too much to send."""
        if self._announced:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that the transport below takes more."""
        if self._announced:
            self._protocol.resume_writing()

    # asyncio.Transport.

    def is_reading(self) -> bool:
        """Whether the protocol is given what comes."""
        return self._open and not self._reading_paused

    def pause_reading(self) -> None:
        """Give the protocol nothing more until :meth:`resume_reading`."""
        if self._open and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Give the protocol what has come, and what comes."""
        if self._open and self._reading_paused:
            self._reading_paused = False
            if not self._eof:
                self._transport.resume_reading()
            assert self._loop is not None
            # What has been read already makes no socket readable.
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        try:
            self._deliver()
        except Exception as error:  # noqa: BLE001  # told to the loop, as in a callback of its own
            assert self._loop is not None
            self._loop.call_exception_handler(
                {"message": "a protocol failed", "exception": error, "protocol": self._protocol}
            )
            self.abort()
        if self._eof and self._open and not self.eof_received():
            self._transport.close()

    def can_write_eof(self) -> bool:
        """Whether there is a :meth:`write_eof`: no, TLS ends both directions together."""
        return False

    def write_eof(self) -> None:
        """Raise :class:`NotImplementedError`."""
        raise NotImplementedError("TLS ends both directions together")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks of the transport below, in octets of records."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the marks of the transport below."""
        limits: tuple[int, int] = self._transport.get_write_buffer_limits()
        return limits

    def get_write_buffer_size(self) -> int:
        """Return how many octets of records have not been sent."""
        size: int = self._transport.get_write_buffer_size()
        return size

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what TLS knows (``ssl_object``, ``peercert`` …), or the transport below."""
        if name == "sslcontext":
            return self._context
        if name in _OF_SESSION and self._state is not _State.HANDSHAKE:
            return _OF_SESSION[name](self._session)
        return self._transport.get_extra_info(name, default) if self._transport else default

    def _set_deadline(self, seconds: float, callback: Callable[[], None]) -> None:
        self._drop_deadline()
        assert self._loop is not None
        self._deadline = Deadlines.of(self._loop).set(seconds, callback)

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


_OF_SESSION: dict[str, Callable[[ssl_module.SSLObject], Any]] = {
    "ssl_object": lambda session: session,
    "peercert": lambda session: session.getpeercert(),
    "cipher": lambda session: session.cipher(),
    "compression": lambda session: session.compression(),
}
