"""Reading message heads and trailer sections, strictly (RFC 9112 §2 to §5).

This file runs as it stands, and is compiled as ``_head_c`` with the C types of
``_head_c.pxd``: one source, two builds, so keep to plain typed Python here. Choose through
``switchover.http.head``.

Everything is judged line by line in the order of the octets, so that where the reads were
cut makes no difference. A head that arrives whole and holds nothing unusual takes a short
way: one look over all its octets, which cuts them into lines.
"""

from __future__ import annotations

from switchover.errors import LimitExceeded, RemoteProtocolError
from switchover.http._lines_py import cut_head
from switchover.http.escaping import show
from switchover.http.grammar import STATUS, TARGET_OCTETS, TOKEN_OCTETS, VALUE_OCTETS, VERSION
from switchover.http.limits import Limits
from switchover.http.names import LOWER_NAMES

REQUEST = 0
RESPONSE = 1
TRAILERS = 2

# Fields that the machine itself reads are noted on the way.
_HOST = 1
_CONTENT_LENGTH = 2
_TRANSFER_ENCODING = 3
_CONNECTION = 4
_EXPECT = 5

_NOTED = {
    b"host": _HOST,
    b"content-length": _CONTENT_LENGTH,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
    b"expect": _EXPECT,
}

# Names in the spellings that nearly all messages use: one look-up says that they are valid
# tokens, which of them are noted, and gives the objects that all messages share.
_NAMES: dict[bytes, tuple[bytes, bytes, int]] = {
    spelling: (spelling, name, _NOTED.get(name, 0)) for spelling, name in LOWER_NAMES.items()
}

_METHODS: dict[bytes, str] = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE")
}

_VERSIONS: dict[bytes, str] = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}


class HeadParser:
    """Reads one head (or trailer section) after the other.

    Give octets to ``receive`` until ``complete`` is true, read the attributes, ``reset``.
    ``lines`` is a new list each time, and so is ``names``, those of the lines in lower case.
    The noted fields hold the value of the field, its lines joined with ", ", or ``None``.
    """

    def __init__(self, kind: int, limits: Limits, *, unfold: bool = False) -> None:
        self._kind = kind
        self._unfold = unfold
        self._status = 502 if kind == RESPONSE else 400
        self._max_method = limits.method
        self._max_target = limits.target
        self._max_start = limits.request_line if kind == REQUEST else limits.status_line
        self._max_line = limits.field_line
        trailers = kind == TRAILERS
        self._max_section = limits.trailer_section if trailers else limits.field_section
        self._max_count = limits.trailer_count if trailers else limits.field_count
        self._max_empty = limits.empty_lines
        self._partial = bytearray()
        self.reset()

    def reset(self) -> None:
        """Forget the last head."""
        self._started = self._kind == TRAILERS
        self._folded = False
        self._size = 0
        self._empty = 0
        self.complete = False
        self.method = ""
        self.target = ""
        self.version = "1.1"
        self.status = 0
        self.reason = ""
        self.lines: list[tuple[bytes, bytes]] = []
        self.names: list[bytes] = []
        self._forget_notes()

    def _forget_notes(self) -> None:
        self.hosts = 0
        self.host: bytes | None = None
        self.content_length: bytes | None = None
        self.transfer_encoding: bytes | None = None
        self.connection: bytes | None = None
        self.expect: bytes | None = None

    def begun(self) -> bool:
        """Whether a part of a message has been read (empty lines ahead of it do not count)."""
        return self._started or len(self._partial) > 0

    def receive(self, data: bytes, start: int) -> int:
        """Read ``data`` from ``start`` on; return where the reading stopped.

        Raises ``RemoteProtocolError`` for what breaks a rule, ``LimitExceeded`` for what is
        too long or too many.
        """
        if not self._started and len(self._partial) == 0:
            pieces: list[bytes] = []
            end = cut_head(data, start, self._max_line, pieces)
            # Behind the start line: each field line with its CR LF, and the empty line.
            if end > 0 and end - start - len(pieces[0]) - 4 <= self._max_section:
                self._take_pieces(pieces)
                return end
        return self._receive_lines(data, start)

    def _take_pieces(self, pieces: list[bytes]) -> None:
        self._take_start(pieces[0])
        for place in range(1, len(pieces), 2):
            self._add_field(pieces[place], pieces[place + 1])
        self._finish()

    def _receive_lines(self, data: bytes, start: int) -> int:
        while not self.complete:
            end = data.find(b"\n", start)
            if end < 0:
                self._partial += data[start : len(data)]
                self._check_length(len(self._partial) + 1)
                return len(data)
            line = data[start : end + 1]
            if len(self._partial) > 0:
                self._partial += line
                line = bytes(self._partial)
                self._partial.clear()
            start = end + 1
            self._take_line(line)
        return start

    def _take_line(self, line: bytes) -> None:
        self._check_length(len(line))
        # RFC 9112 §2.2: "a recipient MAY recognize a single LF as a line terminator". We do
        # not: two readings of one message are what request smuggling is made of.
        if not line.endswith(b"\r\n"):
            raise self._error("line ended by LF without CR", "RFC 9112 §2.2")
        line = line[0 : len(line) - 2]
        # RFC 9112 §2.2: "A recipient of such a bare CR MUST consider that element to be
        # invalid or replace each bare CR with SP".
        if b"\r" in line:
            raise self._error("CR that is not followed by LF", "RFC 9112 §2.2")
        if not self._started:
            self._take_start(line)
        elif len(line) > 0:
            self._take_field(line)
        else:
            self._finish()

    def _check_length(self, length: int) -> None:
        """Judge the length of a line, its CR LF included, before anything else about it."""
        if not self._started:
            if length > self._max_start + 2:
                raise self._too_long_start()
            return
        left = self._max_section - self._size
        if length - 2 > self._max_line and self._max_line <= left:
            raise LimitExceeded(
                f"field line longer than {self._max_line} octets", rule="RFC 9110 §5.4", status=431
            )
        if length - 2 > left:
            raise LimitExceeded(
                f"field section longer than {self._max_section} octets",
                rule="RFC 9110 §5.4",
                status=431,
            )

    def _too_long_start(self) -> LimitExceeded:
        if self._kind == REQUEST:
            # RFC 9112 §3: "A server that receives a request-target longer than any URI it
            # wishes to parse MUST respond with a 414 (URI Too Long) status code".
            return LimitExceeded(
                f"request line longer than {self._max_start} octets",
                rule="RFC 9112 §3",
                status=414,
            )
        return LimitExceeded(f"status line longer than {self._max_start} octets", status=502)

    def _take_start(self, line: bytes) -> None:
        if len(line) > self._max_start:
            raise self._too_long_start()
        if len(line) == 0:
            # RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line
            # SHOULD ignore at least one empty line (CRLF) received prior to the
            # request-line." For a client: §9.2 allows it behind a response.
            self._empty += 1
            if self._empty > self._max_empty:
                raise LimitExceeded("too many empty lines", rule="RFC 9112 §2.2")
            return
        self._started = True
        if self._kind == REQUEST:
            self._take_request_line(line)
        else:
            self._take_status_line(line)

    def _take_request_line(self, line: bytes) -> None:
        # RFC 9112 §3:  request-line = method SP request-target SP HTTP-version
        # "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad
        # Request) error": nothing is repaired.
        parts = line.split(b" ")
        if len(parts) != 3:
            raise self._error(
                f"request line {show(line)} is not method, target and version with one space"
                " between",
                "RFC 9112 §3",
            )
        self.version = self._read_version(parts[2])
        self.method = self._read_method(parts[0])
        target = parts[1]
        if len(target) > self._max_target:
            raise LimitExceeded(
                f"request target longer than {self._max_target} octets",
                rule="RFC 9112 §3",
                status=414,
            )
        if len(target) == 0 or target.translate(None, TARGET_OCTETS):
            raise self._error(
                f"request target {show(target)} has octets that must be percent-encoded",
                "RFC 9112 §3.2",
            )
        self.target = target.decode("latin-1")

    def _read_method(self, method: bytes) -> str:
        known = _METHODS.get(method)
        if known is not None:
            return known
        if len(method) == 0 or method.translate(None, TOKEN_OCTETS):
            raise self._error(f"method {show(method)} is not a token", "RFC 9110 §9.1")
        if len(method) > self._max_method:
            # RFC 9112 §3: "A server that receives a method longer than any that it
            # implements SHOULD respond with a 501 (Not Implemented) status code."
            raise LimitExceeded(
                f"method longer than {self._max_method} octets", rule="RFC 9112 §3", status=501
            )
        return method.decode("latin-1")

    def _read_version(self, version: bytes) -> str:
        known = _VERSIONS.get(version)
        if known is not None:
            return known
        match = VERSION.fullmatch(version)
        if match is None:
            raise self._error(f"malformed HTTP version {show(version)}", "RFC 9112 §2.3")
        if match.group(1) != b"1":
            # RFC 9110 §15.6.6: "the server does not support, or refuses to support, the
            # major version of HTTP that was used in the request message".
            raise RemoteProtocolError(
                f"unsupported HTTP version {show(version)}",
                rule="RFC 9110 §15.6.6",
                status=505 if self._kind == REQUEST else 502,
            )
        # RFC 9110 §2.5: a higher minor version than ours is handled as the highest we know.
        return "1.1"

    def _take_status_line(self, line: bytes) -> None:
        # RFC 9112 §4:  status-line = HTTP-version SP status-code SP [ reason-phrase ]
        # Servers that send no reason often leave out the second space too.
        version, _, rest = line.partition(b" ")
        code, _, reason = rest.partition(b" ")
        self.version = self._read_version(version)
        if not STATUS.fullmatch(code):
            raise self._error(f"invalid status code {show(code)}", "RFC 9110 §15")
        if reason.translate(None, VALUE_OCTETS):
            raise self._error("control character in the reason phrase", "RFC 9112 §4")
        self.status = int(code)
        self.reason = reason.decode("latin-1")

    def _take_field(self, line: bytes) -> None:
        length = len(line)
        if length > self._max_line or length > self._max_section - self._size:
            self._check_length(length + 2)
        self._size += length + 2
        if line[0] == 32 or line[0] == 9:
            self._fold(line)
            return
        # RFC 9112 §5:  field-line = field-name ":" OWS field-value OWS
        colon = line.find(b":")
        if colon < 0:
            raise self._error(f"field line {show(line, 24)} has no colon", "RFC 9112 §5")
        name = line[0:colon]
        value = line[colon + 1 : length].strip(b" \t")
        if name not in _NAMES:
            self._check_name(name)
        if value.translate(None, VALUE_OCTETS):
            raise self._bad_value(name)
        self._add_field(name, value)

    def _add_field(self, name: bytes, value: bytes) -> None:
        usual = _NAMES.get(name)
        if usual is not None:
            name, lower, known = usual
        else:
            self._check_name(name)
            lower = name.lower()
            known = _NOTED.get(lower, 0)
        if len(self.lines) >= self._max_count:
            raise LimitExceeded(
                f"more than {self._max_count} field lines", rule="RFC 9110 §5.4", status=431
            )
        self.lines.append((name, value))
        self.names.append(lower)
        if known:
            self._note(known, value)

    def _check_name(self, name: bytes) -> None:
        if name[len(name) - 1 : len(name)] in (b" ", b"\t"):
            # RFC 9112 §5.1: "A server MUST reject, with a response status code of 400 (Bad
            # Request), any received request message that contains whitespace between a
            # header field name and colon."
            raise self._error(
                f"whitespace between field name {show(name, 40)} and colon", "RFC 9112 §5.1"
            )
        if len(name) == 0 or name.translate(None, TOKEN_OCTETS):
            raise self._error(f"field name {show(name, 40)} is not a token", "RFC 9110 §5.1")

    def _bad_value(self, name: bytes) -> RemoteProtocolError:
        # RFC 9110 §5.5: "a recipient of CR, LF, or NUL within a field value MUST either
        # reject the message or replace each of those characters with SP". The other control
        # characters are no field-vchar either. The value itself may be secret: not shown.
        return self._error(f"field {show(name, 40)} has a control character", "RFC 9110 §5.5")

    def _fold(self, line: bytes) -> None:
        if len(self.lines) == 0 and self._kind != TRAILERS:
            # RFC 9112 §2.2: "A recipient that receives whitespace between the start-line and
            # the first header field MUST either reject the message as invalid or …".
            raise self._error("whitespace before the first field line", "RFC 9112 §2.2")
        if not self._unfold or len(self.lines) == 0:
            # RFC 9112 §5.2: "A server that receives an obs-fold in a request message that is
            # not within a "message/http" container MUST either reject the message by sending
            # a 400 (Bad Request), …".
            raise self._error("folded field line", "RFC 9112 §5.2")
        # RFC 9112 §5.2: "A user agent that receives an obs-fold in a response message …
        # MUST replace each received obs-fold with one or more SP octets prior to
        # interpreting the field value."
        last = self.lines.pop()
        more = line.strip(b" \t")
        if more.translate(None, VALUE_OCTETS):
            raise self._bad_value(last[0])
        value = (last[1] + b" " + more).strip(b" \t")
        if len(value) > self._max_line:
            raise LimitExceeded(f"field line longer than {self._max_line} octets", status=431)
        self.lines.append((last[0], value))
        self._folded = True

    def _finish(self) -> None:
        self.complete = True
        if self._folded:
            self._forget_notes()
            for name, value in self.lines:
                known = _NOTED.get(name.lower(), 0)
                if known:
                    self._note(known, value)

    def _note(self, known: int, value: bytes) -> None:
        # RFC 9110 §5.3: lines of one name are combined, in order, before they are read.
        if known == _HOST:
            self.hosts += 1
            self.host = value
        elif known == _CONNECTION:
            self.connection = _joined(self.connection, value)
        elif known == _CONTENT_LENGTH:
            self.content_length = _joined(self.content_length, value)
        elif known == _TRANSFER_ENCODING:
            self.transfer_encoding = _joined(self.transfer_encoding, value)
        else:
            self.expect = _joined(self.expect, value)

    def _error(self, message: str, rule: str) -> RemoteProtocolError:
        return RemoteProtocolError(message, rule=rule, status=self._status)


def _joined(first: bytes | None, second: bytes) -> bytes:
    return second if first is None else first + b", " + second
