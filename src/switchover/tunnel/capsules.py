"""The Capsule Protocol: RFC 9297 §3, with the integers of RFC 9000 §16.

::

    Capsule { Capsule Type (i), Capsule Length (i), Capsule Value (..) }

The parser never holds more than it has a use for: values of unknown types pass by unread,
those of streamed types go out as they come, and a value over the limit is reported and
skipped, whatever length it claims.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from dataclasses import dataclass

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.events import Failed
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response

__all__ = [
    "CAPSULE_PROTOCOL",
    "DATAGRAM",
    "Capsule",
    "CapsuleEvent",
    "CapsuleParser",
    "CapsulePart",
    "OversizedCapsule",
    "check_capsule_request",
    "check_capsule_response",
    "encode_capsule",
    "encode_varint",
    "read_varint",
    "uses_capsules",
]

#: The capsule that carries an HTTP Datagram (RFC 9297 §3.5).
DATAGRAM = 0x00
#: The field that says capsules are in use, as endpoints send it (RFC 9297 §3.4).
CAPSULE_PROTOCOL = ("Capsule-Protocol", "?1")

_MAX_VARINT = 2**62 - 1
_MAX_HEADER = 16  # two integers of eight octets
_BEGINNING = 8  # of a value over the limit: enough for an integer that says what it was


def encode_varint(value: int) -> bytes:
    """Return ``value`` as a variable-length integer, in as few octets as possible.

    Raises :class:`LocalProtocolError` outside 0 to 2^62-1.
    """
    if not 0 <= value <= _MAX_VARINT:
        raise LocalProtocolError(f"{value} is no variable-length integer", rule="RFC 9000 §16")
    prefix = 0
    while value >= 1 << ((8 << prefix) - 2):
        prefix += 1
    size = 1 << prefix
    return (value | prefix << (8 * size - 2)).to_bytes(size, "big")


def read_varint(data: bytes | bytearray, start: int = 0) -> tuple[int, int] | None:
    """Return the integer at ``start`` and where it ends; ``None`` if it is not all there.

    An integer need not have the shortest form (RFC 9000 §16).
    """
    if start >= len(data):
        return None
    size = 1 << (data[start] >> 6)
    end = start + size
    if end > len(data):
        return None
    return int.from_bytes(data[start:end], "big") & ((1 << (8 * size - 2)) - 1), end


def encode_capsule(capsule_type: int, value: bytes) -> bytes:
    """Return a capsule. Raises :class:`LocalProtocolError` for an impossible type."""
    return encode_varint(capsule_type) + encode_varint(len(value)) + value


@dataclass(frozen=True, slots=True)
class Capsule:
    """A whole capsule of a type that was asked for."""

    type: int
    value: bytes


@dataclass(frozen=True, slots=True)
class CapsulePart:
    """A piece of the value of a streamed type; ``end`` on the last one, which may be empty."""

    type: int
    data: bytes
    end: bool


@dataclass(frozen=True, slots=True)
class OversizedCapsule:
    """A capsule of a known type over the limit: its value is being skipped.

    ``length`` is what it claims, ``beginning`` the first octets of the value.
    """

    type: int
    length: int
    beginning: bytes


CapsuleEvent = Capsule | CapsulePart | OversizedCapsule | Failed


class _Mode(enum.Enum):
    HEADER = "between capsules, or in a header"
    COLLECT = "gathering a value"
    BEGINNING = "gathering the beginning of a value over the limit"
    STREAM = "passing a value on"
    SKIP = "passing a value by"


class CapsuleParser:
    """Reads capsules from a data stream: octets in, events out.

    ``types`` are gathered whole up to ``max_value`` octets, ``streamed`` ones are handed on
    in pieces; all others are skipped without a word (RFC 9297 §3.2).
    """

    def __init__(
        self,
        *,
        types: Collection[int] = (DATAGRAM,),
        streamed: Collection[int] = (),
        max_value: int = 65536,
    ) -> None:
        self._types = frozenset(types)
        self._streamed = frozenset(streamed)
        self._max_value = max_value
        self._events: list[CapsuleEvent] = []
        self._mode = _Mode.HEADER
        self._gathered = bytearray()  # of the header, or of the value
        self._type = 0
        self._length = 0
        self._left = 0  # octets of the value that have not come
        self._failed = False

    def events_received(self) -> list[CapsuleEvent]:
        """Return, once, what has happened since the last call."""
        events, self._events = self._events, []
        return events

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets of the data stream."""
        octets = bytes(data)
        start = 0
        while start < len(octets) and not self._failed:
            if self._mode is _Mode.HEADER:
                start = self._receive_header(octets, start)
            else:
                start = self._receive_value(octets, start)

    def receive_eof(self) -> None:
        """Take note of the end of the stream."""
        # RFC 9297 §3.3: "If the receive side of a stream carrying capsules is terminated
        # cleanly … and the last capsule on the stream was truncated, this MUST be treated as
        # if the message were malformed or incomplete".
        if not self._failed and (self._mode is not _Mode.HEADER or self._gathered):
            self.fail(RemoteProtocolError("the stream ends in a capsule", rule="RFC 9297 §3.3"))

    def fail(self, error: RemoteProtocolError) -> None:
        """Read no further: what a value holds breaks a rule of its own."""
        if not self._failed:
            self._failed = True
            self._gathered.clear()
            self._events.append(Failed(error))

    def _receive_header(self, data: bytes, start: int) -> int:
        had = len(self._gathered)
        self._gathered += data[start : start + _MAX_HEADER - had]
        capsule_type = read_varint(self._gathered)
        length = capsule_type and read_varint(self._gathered, capsule_type[1])
        if not capsule_type or not length:
            return len(data)
        self._begin(capsule_type[0], length[0])
        return start + length[1] - had

    def _begin(self, capsule_type: int, length: int) -> None:
        self._gathered.clear()
        self._type, self._length, self._left = capsule_type, length, length
        if capsule_type in self._streamed:
            self._mode = _Mode.STREAM
        elif capsule_type not in self._types:
            # RFC 9297 §3.2: "Endpoints that receive a Capsule with an unknown Capsule Type
            # MUST silently drop that Capsule and skip over it to parse the next Capsule."
            self._mode = _Mode.SKIP
        elif length > self._max_value:
            self._mode = _Mode.BEGINNING
        else:
            self._mode = _Mode.COLLECT
        if length == 0:
            self._finish(b"")

    def _receive_value(self, data: bytes, start: int) -> int:
        wanted = self._left
        if self._mode is _Mode.BEGINNING:
            wanted = min(wanted, _BEGINNING - len(self._gathered))
        piece = data[start : start + wanted]
        self._left -= len(piece)
        if self._mode is _Mode.BEGINNING:
            self._gathered += piece
            if len(self._gathered) == _BEGINNING or self._left == 0:
                self._report_oversized()
        elif self._left == 0:
            self._finish(piece)
        elif self._mode is _Mode.STREAM:
            self._events.append(CapsulePart(self._type, piece, end=False))
        elif self._mode is _Mode.COLLECT:
            self._gathered += piece
        return start + len(piece)

    def _report_oversized(self) -> None:
        beginning = bytes(self._gathered)
        self._gathered.clear()
        self._mode = _Mode.SKIP if self._left else _Mode.HEADER
        self._events.append(OversizedCapsule(self._type, self._length, beginning))

    def _finish(self, last: bytes) -> None:
        mode, self._mode = self._mode, _Mode.HEADER
        if mode is _Mode.STREAM:
            self._events.append(CapsulePart(self._type, last, end=True))
        elif mode is _Mode.COLLECT:
            value = bytes(self._gathered) + last if self._gathered else last
            self._events.append(Capsule(self._type, value))
        self._gathered.clear()


# The messages that begin it.

# RFC 8941 §3.1.2, §3.3:  sf-item = bare-item parameters, the item a boolean here
_KEY = r"[a-z*][a-z0-9_\-.*]*"
_BARE_ITEM = (
    r"(?:-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}"  # decimal, integer
    r'|"(?:[ !#-\[\]-~]|\\["\\])*"'  # string
    r"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"  # token
    r"|:[A-Za-z0-9+/=]*:"  # byte sequence
    r"|\?[01])"  # boolean
)
_boolean = re.compile(rf" *\?([01])(?:; *{_KEY}(?:={_BARE_ITEM})?)* *")

_NO_CONTENT_FIELDS = ("content-length", "content-type", "transfer-encoding")


def uses_capsules(fields: Fields) -> bool:
    """Whether Capsule-Protocol says that capsules are in use.

    RFC 9297 §3.4: the field is a Boolean item; anything else, and repetition, counts as its
    absence, and its parameters are ignored.
    """
    lines = fields.get_all("capsule-protocol")
    found = _boolean.fullmatch(lines[0]) if len(lines) == 1 else None
    return found is not None and found[1] == "1"


def check_capsule_request(request: Request) -> None:
    """Raise :class:`RemoteProtocolError` (400) if ``request`` cannot begin capsules."""
    _check_no_content(request.fields, "request")


def check_capsule_response(response: Response) -> None:
    """Raise :class:`RemoteProtocolError` unless ``response`` can begin capsules."""
    # RFC 9297 §3.2: the data stream begins with "a 2xx (Successful) response … or 101"; "a
    # message that uses the Capsule Protocol MUST NOT … use a status code of 204, 205, or 206".
    status = response.status
    if status != 101 and not 200 <= status < 300:
        raise RemoteProtocolError(f"status {status} begins no capsules", rule="RFC 9297 §3.2")
    if status in (204, 205, 206):
        raise RemoteProtocolError(f"status {status} with capsules", rule="RFC 9297 §3.2")
    _check_no_content(response.fields, "response")


def _check_no_content(fields: Fields, what: str) -> None:
    # RFC 9297 §3.2: "Content-Length, Content-Type, and Transfer-Encoding header fields MUST
    # NOT be" used "on a message that uses the Capsule Protocol": it would be malformed.
    for name in _NO_CONTENT_FIELDS:
        if name in fields:
            raise RemoteProtocolError(
                f"the {what} begins capsules, so it has no {name}", rule="RFC 9297 §3.2"
            )
