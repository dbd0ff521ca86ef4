"""Octets and TLS records between a protocol and a transport: the part that runs for every read.

This file is compiled as ``_tls_records_c``; the C types stand in ``_tls_records_c.pxd``. All
cryptography is the ``ssl`` module's. What begins and ends a TLS connection is
:mod:`switchover.asyncio.tls_transport`, which derives from :class:`TLSRecords`.

Reading: ciphertext is read to a buffer that all connections of a thread share, and what it
holds goes straight to the buffer of the protocol above, as many records at once as fit. The
``ssl`` module says by an exception that it has nothing left; it is asked before, so that this
remains an exception.

Writing: records go directly to the socket if the transport under them is a plain one and has
nothing queued, else through the transport. What is written together shares its records.
"""

from __future__ import annotations

import os
import ssl
from asyncio import BufferedProtocol
from typing import Any

from switchover.asyncio import _receiver as receiver

__all__ = ["TLSRecords"]

#: Octets in a record at most (RFC 8446 §5.1); what is shorter together is joined into one.
_RECORD = 16384
#: More than this is encrypted piece by piece, so that it is not in memory three times.
_MUCH = 262144
#: Octets that a protocol without a buffer of its own is given at once.
_PIECE = 65536

_os_write = os.write
_WantRead = ssl.SSLWantReadError
_SSLError = ssl.SSLError


class TLSRecords(receiver.Receiver):
    """The records of a TLS connection, in both directions."""

    __slots__ = (
        "_above",
        "_ciphertext",
        "_closing",
        "_fd",
        "_get_protocol_buffer",
        "_held",
        "_incoming",
        "_open",
        "_outgoing",
        "_peer_closed",
        "_protocol",
        "_protocol_updated",
        "_put",
        "_read",
        "_read_error",
        "_reading_paused",
        "_session",
        "_take_out",
        "_transport",
        "_write",
        "_write_queued",
    )

    def __init__(self, protocol: Any, session: Any, incoming: Any, outgoing: Any) -> None:
        self._session = session
        self._incoming = incoming
        self._outgoing = outgoing
        # The object in C, under a layer of Python that adds nothing to these methods.
        engine = getattr(session, "_sslobj", session)
        self._read = engine.read
        self._write = engine.write
        self._held = engine.pending
        self._put = incoming.write
        self._take_out = outgoing.read
        self._transport: Any = None
        self._ciphertext: Any = None
        self._fd = -1  # -1: through the transport
        self._write_queued = True  # the transport may have something queued
        self._open = False  # the handshake is done, and closing has not begun
        self._closing = False
        self._reading_paused = False
        self._peer_closed = False  # close_notify has been read
        self._read_error: Exception | None = None
        self.set_protocol(protocol)

    # What a derived class decides.

    def _advance(self) -> None:
        """Take octets of the handshake, or of the end."""
        raise NotImplementedError

    def _peer_ended(self) -> None:
        raise NotImplementedError

    def _broken(self, error: Exception) -> None:
        raise NotImplementedError

    # The protocol above.

    def set_protocol(self, protocol: Any) -> None:
        """Give what is read from now on to ``protocol``."""
        self._protocol: Any = protocol
        self._above: Any = None  # the protocol, if it can be called in C
        self._get_protocol_buffer: Any = None
        self._protocol_updated: Any = None
        if isinstance(protocol, receiver.Receiver):
            self._above = protocol
        elif isinstance(protocol, BufferedProtocol):
            self._get_protocol_buffer = protocol.get_buffer
            self._protocol_updated = protocol.buffer_updated

    def get_protocol(self) -> Any:
        """Return the protocol that is given what is read."""
        return self._protocol

    # Reading.

    def _space(self) -> Any:
        return self._ciphertext

    def _filled(self, nbytes: int) -> None:
        self._put(self._ciphertext[:nbytes])
        if self._open:
            self._hand_on()
        else:
            self._advance()

    def _deliver(self) -> None:
        """Hand on what has come, if that is to be done apart from reading."""
        self._hand_on()

    def _hand_on(self) -> None:
        """Hand on what the records that have come hold, until the protocol has enough."""
        more = True
        while more and self._open and not self._reading_paused:
            if self._above is None and self._protocol_updated is None:
                more = self._deliver_octets()
            else:
                more = self._fill()
        if not self._open:
            return
        if self._read_error is not None:
            self._broken(self._read_error)
        elif self._peer_closed:
            self._peer_ended()

    def _fill(self) -> bool:
        """Fill the protocol's buffer; return whether there may be more for another."""
        above = self._above  # whatever becomes of it meanwhile, the buffer is this one's
        buffer = self._get_protocol_buffer(-1) if above is None else above._space()
        size = len(buffer)
        filled = 0
        more = True
        try:
            while more and filled < size:
                count = self._read(size - filled, buffer[filled:] if filled else buffer)
                filled += count
                if count == 0:
                    self._peer_closed = True
                    more = False
                else:
                    # Only a full buffer leaves something of a record behind.
                    more = filled == size or self._incoming.pending > 0
        except _WantRead:
            more = False
            self._send()  # TLS itself may have answered
        except _SSLError as error:
            self._read_error = error
            more = False
        if filled == 0:
            return more
        if above is None:
            self._protocol_updated(filled)
        else:
            above._filled(filled)
        return more

    def _deliver_octets(self) -> bool:
        """Give the protocol one piece; return whether there may be more."""
        try:
            data = self._read(_PIECE)
        except _WantRead:
            return False
        except _SSLError as error:
            self._read_error = error
            return False
        if not data:
            self._peer_closed = True
            return False
        self._protocol.data_received(data)
        return bool(self._incoming.pending) or self._held() != 0

    # Writing: asyncio.WriteTransport.

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return bool(self._closing)

    def write(self, data: Any) -> None:
        """Send ``data``; what the peer does not take yet is queued by the transport below."""
        self._send_octets(data)

    def writelines(self, list_of_data: Any) -> None:
        """Send the pieces one behind the other, in few records and one system call."""
        pieces = list_of_data if type(list_of_data) is list else list(list_of_data)
        size = 0
        for piece in pieces:
            size += len(piece)
        if size <= _RECORD or size > _MUCH:
            self._send_octets(b"".join(pieces))
        elif self._open:
            for piece in pieces:
                if len(piece) > 0:
                    self._encrypt(piece)
            self._send()

    def _send_octets(self, data: Any) -> None:
        if not self._open:
            return
        size = len(data)
        if size > _MUCH:
            self._send_much(data)
        elif size > 0:
            self._encrypt(data)
            self._send()

    def _send_much(self, data: Any) -> None:
        octets = memoryview(data).cast("B")
        for start in range(0, len(octets), _MUCH):
            if self._open:
                self._encrypt(octets[start : start + _MUCH])
                self._send()

    def _encrypt(self, data: Any) -> None:
        try:
            self._write(data)
        except _SSLError as error:
            self._broken(error)

    def _flush(self) -> None:
        """Send the records that are ready."""
        self._send()

    def _send(self) -> None:
        data = self._take_out()
        if not data:
            return
        transport = self._transport
        if self._fd >= 0:
            if self._write_queued:
                self._write_queued = transport.get_write_buffer_size() != 0
            # A transport that is closing may have closed its socket.
            if not self._write_queued and not transport.is_closing():
                try:
                    sent = _os_write(self._fd, data)
                except OSError:
                    sent = 0  # the socket is full, or broken: the transport will find out
                if sent == len(data):
                    return
                if sent > 0:
                    data = memoryview(data)[sent:]
            self._write_queued = True
        transport.write(data)
