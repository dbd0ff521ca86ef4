"""The octets of a WebSocket connection as frames, and the frames as messages (RFC 6455 §5, §6).

This file is compiled as ``_framing_c``; the C types stand in ``_framing_c.pxd``. It decides
what a frame is and how frames make a message, and nothing else: what a control frame means,
and how a connection ends, is :mod:`switchover.websocket.connection`.

Receiving is one flat pass over a buffer. A frame that is whole in the buffer is taken straight
out of it; the payload of one that is not is collected in a storage of its own, which grows
with what has come and never by what was announced. A frame is judged by its header: what must
not come is refused before its payload is read.

Longer than other files: it is compiled as one, so that calls inside it are C calls.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable
from typing import Any

from switchover.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from switchover.websocket._masking_py import mask, take
from switchover.websocket.events import Fragment

__all__ = ["Framing"]

# First octets: FIN, three reserved bits, four bits of opcode (RFC 6455 §5.2).
TEXT = 0x1
BINARY = 0x2
WHOLE_TEXT = 0x81
WHOLE_BINARY = 0x82
PONG = 0x8A

#: Payloads from here on are not copied behind their header, but sent from where they are.
_LARGE = 4096
#: When this much of a payload is missing, it is read straight into the storage.
_DIRECT = 16384
#: A storage begins with this many octets, and grows fourfold.
_STORAGE = 4096
#: Storages up to this size are used again by the next large frame, of whichever connection.
_KEPT_STORAGE = 4 * 1024 * 1024
#: Fragments of a message are joined when so many have gathered.
_JOINED = 1024
#: Mask keys are drawn from the operating system in blocks of this many octets.
_KEYS = 512

_NO_LIMIT = (1 << 63) - 1

_short_text = [bytes((WHOLE_TEXT, size)) for size in range(126)]
_short_binary = [bytes((WHOLE_BINARY, size)) for size in range(126)]
_spare_storages: list[bytearray] = []


class Framing:
    """Frames in both directions; :class:`~switchover.websocket.connection.Connection` derives."""

    __slots__ = (
        "_ending",
        "_entropy",
        "_events",
        "_extensions",
        "_filled",
        "_first",
        "_fragments",
        "_key_at",
        "_keys",
        "_mask_bit",
        "_max_fragments",
        "_max_size",
        "_opcode",
        "_out",
        "_out_size",
        "_parts",
        "_pong",
        "_receiving",
        "_rest",
        "_rsv",
        "_sendable",
        "_sending",
        "_size",
        "_storage",
        "_tail",
        "_wanted",
        "deliver_fragments",
    )

    def __init__(
        self,
        extensions: tuple[Any, ...],
        max_size: int | None,
        max_fragments: int,
        entropy: Callable[[int], bytes] | None,
    ) -> None:
        self._begin(extensions, max_size, max_fragments, entropy)

    def _begin(
        self,
        extensions: tuple[Any, ...],
        max_size: int | None,
        max_fragments: int,
        entropy: Callable[[int], bytes] | None,
    ) -> None:
        # Receiving. A server has no entropy and gets masked frames; a client the reverse.
        self._mask_bit = 0x80 if entropy is None else 0
        self._extensions = extensions
        self._rsv = 0
        for extension in extensions:
            self._rsv |= extension.rsv
        self._max_size = _NO_LIMIT if max_size is None else max_size
        self._max_fragments = max_fragments
        self._receiving = True  # False: whatever comes is not looked at
        self._ending = False  # for the driver: the connection is no longer plainly open
        self._rest = b""  # the beginning of a header
        # The frame whose payload is being collected. The storage begins with the key.
        self._storage: bytearray | None = None
        self._first = 0
        self._filled = 0
        self._wanted = 0
        # The message that is being received.
        self._opcode = 0  # 0: none
        self._size = 0
        self._fragments = 0
        self._tail = b""  # the beginning of a character
        self._parts: list[Any] | None = None
        self.deliver_fragments = False
        self._events: list[Any] = []
        # Sending.
        self._entropy = entropy
        self._keys = b""
        self._key_at = 0
        self._sendable = True
        self._sending = 0  # the opcode of the message that is being sent in fragments
        self._pong: bytes | None = None
        self._out: list[bytes] = []
        self._out_size = 0

    # What the rules of the connection decide.

    def _control(self, opcode: int, payload: bytes) -> None:
        raise NotImplementedError

    def _refuse(self, error: RemoteProtocolError) -> None:
        raise NotImplementedError

    def settle(self) -> None:
        """Put what is due at the end of the connection into the output."""
        raise NotImplementedError

    def _why_not_sendable(self) -> LocalProtocolError:
        raise NotImplementedError

    # Receiving.

    def feed(self, data: bytearray, start: int, stop: int) -> None:
        """Take the octets of ``data`` from ``start`` to ``stop``; text is unmasked in place."""
        if self._storage is not None:
            start = self._collect(data, start, stop)
        if self._rest and start < stop:
            data = bytearray(self._rest) + data[start:stop]
            start, stop = 0, len(data)
            self._rest = b""
        while stop - start >= 2 and self._receiving:
            first = data[start]
            second = data[start + 1]
            if (first != WHOLE_TEXT and first != WHOLE_BINARY) or (
                self._opcode != 0 or (second & 0x80) != self._mask_bit
            ):
                if not self._admit(first, second):
                    return
            length: int = second & 0x7F
            payload = start + 2
            if length > 125:
                size = 2 if length == 126 else 8
                if stop - payload < size:
                    break
                length = self._long_length(data, payload, size)
                if length < 0:
                    return
                payload += size
            if length > self._max_size - self._size and not self._admit_length(first, length):
                return
            if self._mask_bit:
                payload += 4
                if payload > stop:
                    break
            if length > stop - payload:
                self._begin_storage(first, data, payload, stop, length)
                return
            start = payload + length
            self._frame(first, data, payload, start)
        if start < stop and self._receiving:
            self._rest = bytes(data[start:stop])

    def _admit(self, first: int, second: int) -> bool:
        """Judge a frame by its first two octets."""
        opcode = first & 0x0F
        problem = ""
        rule = "RFC 6455 §5.2"
        code = 1002
        if first & 0x70 & ~self._rsv or (first & 0x70 and opcode > 7):
            # RFC 6455 §5.2: "If a nonzero value is received and none of the negotiated
            # extensions defines the meaning of such a nonzero value, the receiving endpoint
            # MUST _Fail the WebSocket Connection_."
            problem = f"reserved bits {(first >> 4) & 7:03b} are set"
        elif 2 < opcode < 8 or opcode > 10:
            # RFC 6455 §5.2: "If an unknown opcode is received, the receiving endpoint MUST
            # _Fail the WebSocket Connection_."
            problem = f"opcode {opcode:#x} is reserved"
        elif (second & 0x80) != self._mask_bit:
            # RFC 6455 §5.1: "The server MUST close the connection upon receiving a frame that
            # is not masked." … "A client MUST close a connection if it detects a masked frame."
            problem = "a masked frame" if second & 0x80 else "a frame that is not masked"
            rule = "RFC 6455 §5.1"
        elif opcode > 7:
            # RFC 6455 §5.5: "All control frames MUST have a payload length of 125 bytes or
            # less and MUST NOT be fragmented."
            rule = "RFC 6455 §5.5"
            if first & 0x80 == 0:
                problem = "a fragment of a control frame"
            elif second & 0x7F > 125:
                problem = "a control frame of more than 125 octets"
        # RFC 6455 §5.4: a message is one frame, or "a single frame with the FIN bit clear and
        # an opcode other than 0, followed by zero or more frames with the FIN bit clear and the
        # opcode set to 0, and terminated by a single frame with the FIN bit set and an opcode
        # of 0"; "The fragments of one message MUST NOT be interleaved between the fragments of
        # another message".
        elif opcode != 0 and self._opcode != 0:
            problem, rule = "a new message inside another", "RFC 6455 §5.4"
        elif opcode == 0 and self._opcode == 0:
            problem, rule = "a continuation of nothing", "RFC 6455 §5.4"
        elif opcode == 0 and self._fragments >= self._max_fragments:
            # RFC 6455 §10.4: limits on "the total message size after reassembly"; a million
            # empty frames have no size.
            problem = f"a message of more than {self._max_fragments} fragments"
            rule, code = "RFC 6455 §10.4", 1008
        if not problem:
            return True
        self._refuse(_error(problem, rule, code))
        return False

    def _long_length(self, data: bytearray, start: int, size: int) -> int:
        """Return the length in 2 or 8 octets from ``start``, or -1 if it was refused."""
        # RFC 6455 §5.2: "the most significant bit MUST be 0". Said before it is a number in C.
        if size == 8 and data[start] & 0x80:
            self._refuse(_error("a length of 2^63 or more", "RFC 6455 §5.2", 1002))
            return -1
        length = 0
        for position in range(start, start + size):
            length = (length << 8) | data[position]
        # RFC 6455 §5.2: "in all cases, the minimal number of bytes MUST be used to encode the
        # length". Two encodings of one frame are a way to make two readers disagree.
        if length < (126 if size == 2 else 65536):
            self._refuse(_error(f"{size} octets for a length of {length}", "RFC 6455 §5.2", 1002))
            return -1
        return length

    def _admit_length(self, first: int, length: int) -> bool:
        """Judge a frame by its length, before any of its payload is taken."""
        if first & 0x08:
            return True
        room = self._max_size - self._size
        if self._extensions:
            # What is encoded may be a little longer than what it stands for.
            room += (room >> 8) + 256 if room < _NO_LIMIT // 2 else 0
        if length <= room:
            return True
        self._refuse_size()
        return False

    def _refuse_size(self) -> None:
        # RFC 6455 §10.4: "Implementations that have implementation- and/or platform-specific
        # limitations … MUST protect themselves against exceeding those limits."
        problem = f"a message of more than {self._max_size} octets"
        self._refuse(_error(problem, "RFC 6455 §10.4", 1009))

    def _begin_storage(
        self, first: int, data: bytearray, start: int, stop: int, length: int
    ) -> None:
        storage = _spare_storages.pop() if length > _DIRECT and _spare_storages else None
        if storage is None or len(storage) < 4 + stop - start:
            storage = bytearray(4 + min(length, max(_STORAGE, 4 * (stop - start))))
        if self._mask_bit:
            storage[:4] = data[start - 4 : start]
        storage[4 : 4 + stop - start] = memoryview(data)[start:stop]
        self._storage = storage
        self._first = first
        self._filled = 4 + stop - start
        self._wanted = 4 + length

    def _grow_storage(self) -> bytearray:
        """Return the storage, with room for another octet at least."""
        storage = self._storage
        assert storage is not None
        if self._filled == len(storage):
            # Not enlarged in place: a reader may still look at the old one.
            larger = bytearray(min(self._wanted, 4 * self._filled))
            larger[: self._filled] = storage
            self._storage = storage = larger
        return storage

    def _collect(self, data: bytearray, start: int, stop: int) -> int:
        """Move octets from ``data`` to the storage; return where the rest begins."""
        while start < stop and self._storage is not None:
            storage = self._grow_storage()
            size = min(stop - start, min(len(storage), self._wanted) - self._filled)
            storage[self._filled : self._filled + size] = memoryview(data)[start : start + size]
            start += size
            self.filled(size)
        return start

    def direct_buffer(self) -> memoryview | None:
        """Return where to read the next octets to, if they belong to a large frame."""
        if self._wanted - self._filled < _DIRECT:
            return None
        storage = self._grow_storage()
        return memoryview(storage)[self._filled : min(len(storage), self._wanted)]

    def filled(self, size: int) -> None:
        """Take note that ``size`` octets have been read into the :meth:`direct_buffer`."""
        self._filled += size
        storage = self._storage
        if self._filled < self._wanted or storage is None:
            return
        self._storage = None
        wanted = self._wanted
        self._wanted = self._filled = 0
        if self._receiving:
            self._frame(self._first, storage, 4, wanted)
        if _DIRECT < len(storage) <= _KEPT_STORAGE and len(_spare_storages) < 2:
            _spare_storages.append(storage)

    def _frame(self, first: int, data: bytearray, start: int, stop: int) -> None:
        masked = self._mask_bit != 0
        if first & 0x08:
            self._control(first & 0x0F, take(data, start, stop, masked, False))
        elif first & 0x80 and self._opcode == 0 and not self._extensions:
            # RFC 6455 §5.6, §8.1: text "MUST" be UTF-8; binary is whatever it is.
            try:
                self._events.append(take(data, start, stop, masked, first == WHOLE_TEXT))
            except UnicodeDecodeError:
                self._refuse(_not_utf8())
        else:
            self._data_frame(first, take(data, start, stop, masked, False))

    def _data_frame(self, first: int, payload: bytes) -> None:
        """Take a frame that is not simply a message."""
        final = first & 0x80 != 0
        opening = first & 0x0F != 0
        if opening:
            self._opcode = first & 0x0F
            self._fragments = 0
        self._fragments += 1
        try:
            if self._extensions:
                payload = self._decode(first, payload, opening, final)
            self._size += len(payload)
            if self._size > self._max_size:
                self._refuse_size()
                return
            self._add(self._text(payload, final) if self._opcode == TEXT else payload, final)
        except UnicodeDecodeError:
            self._refuse(_not_utf8())
        except RemoteProtocolError as error:
            self._refuse(error)

    def _decode(self, first: int, payload: bytes, opening: bool, final: bool) -> bytes:
        """Undo what the extensions have done, the last one first (RFC 6455 §9.1)."""
        room = None if self._max_size == _NO_LIMIT else self._max_size - self._size
        rsv = first & 0x70
        for extension in reversed(self._extensions):
            payload = extension.decode(
                payload, rsv=rsv & extension.rsv, first=opening, final=final, max_size=room
            )
        return payload

    def _text(self, payload: bytes, final: bool) -> str:
        """Return the characters that are complete; raise as soon as one cannot become valid."""
        # RFC 6455 §5.6: "a particular text frame might include a partial UTF-8 sequence;
        # however, the whole message MUST contain valid UTF-8."
        octets = self._tail + payload if self._tail else payload
        text, used = utf_8_decode(octets, "strict", final)
        self._tail = octets[used:]
        return text

    def _add(self, data: Any, final: bool) -> None:
        parts = self._parts
        if self._fragments == 1 and final:
            self._events.append(data)
        elif self.deliver_fragments:
            first = self._fragments == 1 or parts is not None
            if parts is not None:
                data = (b"" if self._opcode == BINARY else "").join([*parts, data])
            self._parts = None
            self._events.append(Fragment(data, first, final))
        elif final:
            # None: earlier fragments have been delivered one by one.
            if parts is None:
                self._events.append(Fragment(data, False, True))
            else:
                parts.append(data)
                self._events.append((b"" if self._opcode == BINARY else "").join(parts))
        elif parts is None and self._fragments > 1:
            self._events.append(Fragment(data, False, False))
        elif parts is None:
            self._parts = [data]
        else:
            parts.append(data)
            if len(parts) >= _JOINED:
                self._parts = [(b"" if self._opcode == BINARY else "").join(parts)]
        if final:
            self._opcode = self._size = self._fragments = 0
            self._parts = None

    # Sending.

    def send_message(self, message: Any) -> None:
        """Send ``str`` as a text message, any bytes-like as a binary one.

        Raises :class:`LocalProtocolError` once a Close frame has been sent, in the middle of a
        fragmented message, and for a ``str`` that is not text; :class:`TypeError` for others.
        """
        if not self._sendable or self._sending != 0:
            raise self._why_not_sendable()
        first = WHOLE_BINARY
        # RFC 6455 §10.3: what is being sent must not change, so what can change is copied.
        if type(message) is bytes:
            payload: bytes = message
        elif isinstance(message, str):
            first = WHOLE_TEXT
            payload = _encode_text(message)
        else:
            payload = octets_of(message)
        if self._extensions:
            self._send_data(first, payload)
        else:
            self._write(first, payload)

    def send_fragment(self, data: Any, *, final: bool = False) -> None:
        """Send a piece of a message in a frame of its own; ``final`` ends the message.

        All pieces of a message are ``str``, or all are bytes-like. Raises as
        :meth:`send_message` does.
        """
        if not self._sendable:
            raise self._why_not_sendable()
        opcode = TEXT if isinstance(data, str) else BINARY
        payload = _encode_text(data) if isinstance(data, str) else octets_of(data)
        if self._sending not in (0, opcode):
            raise LocalProtocolError("text and octets in one message", rule="RFC 6455 §5.4")
        first = (0x80 if final else 0) | (0 if self._sending else opcode)
        self._sending = opcode  # _send_data tells the extensions whether a message is text
        self._send_data(first, payload)
        if final:
            self._sending = 0

    def end_fragments(self) -> None:
        """End the message that is being sent in fragments, with an empty one."""
        self.send_fragment("" if self._sending == TEXT else b"", final=True)

    def _send_data(self, first: int, payload: bytes) -> None:
        text = (first & 0x0F or self._sending) == TEXT
        for extension in self._extensions:
            rsv, payload = extension.encode(
                payload, text=text, first=first & 0x0F != 0, final=first & 0x80 != 0
            )
            first |= rsv
        self._write(first, payload)

    def _write(self, first: int, payload: bytes) -> None:
        """Put a frame into the output."""
        size = len(payload)
        self._out_size += size + 14
        if self._entropy is not None:
            # RFC 6455 §5.1: "a client MUST mask all frames that it sends to the server".
            self._out.append(mask(_head(first, size, 0x80), payload, self._next_key()))
        elif size < 126 and first == WHOLE_TEXT:
            self._out.append(_short_text[size] + payload)
        elif size < 126 and first == WHOLE_BINARY:
            self._out.append(_short_binary[size] + payload)
        elif size < _LARGE:
            self._out.append(_head(first, size, 0) + payload)
        else:
            self._out.append(_head(first, size, 0))
            self._out.append(payload)

    def _send_pong(self) -> None:
        """Put the answer to the latest ping into the output, if there is one."""
        payload, self._pong = self._pong, None
        if payload is not None:
            self._write(PONG, payload)

    def _next_key(self) -> bytes:
        # RFC 6455 §5.3: the key is "a 32-bit value chosen at random by the client", "a fresh
        # masking key" for each frame, "derived from a strong source of entropy".
        at = self._key_at
        if at == len(self._keys):
            assert self._entropy is not None
            self._keys = self._entropy(_KEYS)
            at = 0
        self._key_at = at + 4
        return self._keys[at : at + 4]

    # Idling.

    def release_idle(self) -> None:
        """Let extensions that have had nothing to do since the last call give memory back.

        Meant to be called at long intervals, half a minute for instance. Does nothing in the
        middle of a fragmented message, sent or received: its extensions still work on it.
        """
        if self._sending == 0 and self._opcode == 0:
            for extension in self._extensions:
                if extension.idle():
                    extension.release()


def octets_of(data: Any) -> bytes:
    """Return ``data`` as ``bytes``; raise :class:`TypeError` if it is not bytes-like."""
    if type(data) is bytes:
        return data
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"a message is str or bytes-like, not {type(data).__name__}") from None


def _encode_text(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(
            "a str with a lone surrogate is not text", rule="RFC 6455 §5.6"
        ) from None


def _head(first: int, size: int, mask_bit: int) -> bytes:
    # RFC 6455 §5.2: "the minimal number of bytes MUST be used to encode the length"
    if size < 126:
        return bytes((first, mask_bit | size))
    if size < 65536:
        return bytes((first, mask_bit | 126, size >> 8, size & 0xFF))
    return bytes((first, mask_bit | 127)) + size.to_bytes(8, "big")


def _error(problem: str, rule: str, code: int) -> RemoteProtocolError:
    kind = RemoteProtocolError if code == 1002 else LimitExceeded
    return kind(problem, rule=rule, close_code=code)


def _not_utf8() -> RemoteProtocolError:
    return RemoteProtocolError("text that is not UTF-8", rule="RFC 6455 §8.1", close_code=1007)
