"""Reading content out of its framing (RFC 9112 §6.2, §6.3, §7.1)."""

from __future__ import annotations

from enum import Enum

from switchover.errors import LimitExceeded, RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.framing import CHUNKED, UNTIL_CLOSE
from switchover.http.grammar import CHUNK_LINE
from switchover.http.head import TRAILERS, HeadParser
from switchover.http.limits import Limits

__all__ = ["ChunkedReader", "CloseReader", "ContentReader", "LengthReader", "content_reader"]


class LengthReader:
    """Reads content of a known length.

    ``receive`` appends the content it finds to ``pieces`` and returns where it stopped;
    when ``complete`` is true, the next octet belongs to something else.
    """

    __slots__ = ("remaining",)

    trailers: Fields | None = None

    def __init__(self, length: int) -> None:
        self.remaining = length

    @property
    def complete(self) -> bool:
        """Whether all content has been read."""
        return self.remaining == 0

    def receive(self, data: bytes, start: int, pieces: list[bytes]) -> int:
        """Read ``data`` from ``start`` on."""
        end = min(len(data), start + self.remaining)
        if end > start:
            pieces.append(data[start:end])
            self.remaining -= end - start
        return end

    def ends_with_connection(self) -> bool:
        """Whether the end of the connection ends this content properly."""
        return False


class CloseReader:
    """Reads response content that ends with the connection."""

    __slots__ = ()

    trailers: Fields | None = None
    complete = False
    remaining: int | None = None

    def receive(self, data: bytes, start: int, pieces: list[bytes]) -> int:
        """Read ``data`` from ``start`` on."""
        if start < len(data):
            pieces.append(data[start:])
        return len(data)

    def ends_with_connection(self) -> bool:
        """Whether the end of the connection ends this content properly."""
        return True


class _ChunkState(Enum):
    LINE = "chunk-size line"
    DATA = "chunk-data"
    DATA_END = "CR LF behind chunk-data"
    TRAILERS = "trailer section"
    COMPLETE = "complete"


class ChunkedReader:
    """Reads the chunked transfer coding; extensions are skipped, trailers kept apart."""

    __slots__ = ("_extensions", "_left", "_limits", "_parser", "_partial", "_state", "_status")

    remaining: int | None = None

    def __init__(self, limits: Limits, *, response: bool = False) -> None:
        self._limits = limits
        self._status = 502 if response else 400
        self._state = _ChunkState.LINE
        self._left = 0
        self._extensions = 0
        self._partial = b""
        self._parser = HeadParser(TRAILERS, limits, unfold=response)

    @property
    def complete(self) -> bool:
        """Whether the last chunk and the trailer section have been read."""
        return self._state is _ChunkState.COMPLETE

    @property
    def trailers(self) -> Fields:
        """The trailer fields, once complete."""
        return Fields.from_octets(self._parser.lines)

    def ends_with_connection(self) -> bool:
        """Whether the end of the connection ends this content properly."""
        # RFC 9112 §8: "A message body that uses the chunked transfer coding is incomplete
        # if the zero-sized chunk that terminates the encoding has not been received."
        return False

    def receive(self, data: bytes, start: int, pieces: list[bytes]) -> int:
        """Read ``data`` from ``start`` on; raise ``RemoteProtocolError`` for bad framing."""
        while start < len(data) and self._state is not _ChunkState.COMPLETE:
            if self._state is _ChunkState.DATA:
                start = self._receive_data(data, start, pieces)
            elif self._state is _ChunkState.TRAILERS:
                start = self._receive_trailers(data, start)
            elif self._state is _ChunkState.DATA_END:
                start = self._receive_data_end(data, start)
            else:
                start = self._receive_line(data, start)
        return start

    def _receive_data(self, data: bytes, start: int, pieces: list[bytes]) -> int:
        end = min(len(data), start + self._left)
        pieces.append(data[start:end])
        self._left -= end - start
        if not self._left:
            self._state = _ChunkState.DATA_END
        return end

    def _receive_trailers(self, data: bytes, start: int) -> int:
        start = self._parser.receive(data, start)
        if self._parser.complete:
            self._state = _ChunkState.COMPLETE
        return start

    def _receive_data_end(self, data: bytes, start: int) -> int:
        end = self._partial + data[start : start + 2 - len(self._partial)]
        if not b"\r\n".startswith(end):
            raise self._error("chunk data not followed by CR LF")
        start += len(end) - len(self._partial)
        self._partial = end
        if end == b"\r\n":
            self._partial = b""
            self._state = _ChunkState.LINE
        return start

    def _receive_line(self, data: bytes, start: int) -> int:
        # A line is judged in the order of its octets: its first LF ends it, and only if it
        # is not too long does it matter what it says.
        room = self._limits.chunk_line + 2 - len(self._partial)
        end = data.find(b"\n", start, start + room)
        if end < 0:
            if len(data) - start >= room:
                raise LimitExceeded(
                    f"chunk line longer than {self._limits.chunk_line} octets",
                    rule="RFC 9112 §7.1.1",
                    status=self._status,
                )
            self._partial += data[start:]
            return len(data)
        line = self._partial + data[start : end + 1]
        self._partial = b""
        # RFC 9112 §2.2 allows a lone LF for the start line and field lines only; §7.1 has no
        # such allowance for chunks.
        if not line.endswith(b"\r\n"):
            raise self._error("chunk line ended by LF without CR")
        self._take_size(line[:-2])
        return end + 1

    def _take_size(self, line: bytes) -> None:
        match = CHUNK_LINE.fullmatch(line)
        if not match:
            raise self._error(f"invalid chunk size {show(line, 32)}")
        # RFC 9112 §7.1.1: "A recipient MUST ignore unrecognized chunk extensions. A server
        # ought to limit the total length of chunk extensions received in a request".
        self._extensions += len(match.group(2) or b"")
        if self._extensions > self._limits.chunk_extensions:
            raise LimitExceeded(
                f"chunk extensions longer than {self._limits.chunk_extensions} octets in all",
                rule="RFC 9112 §7.1.1",
                status=self._status,
            )
        self._left = int(match.group(1), 16)
        self._state = _ChunkState.DATA if self._left else _ChunkState.TRAILERS

    def _error(self, message: str) -> RemoteProtocolError:
        return RemoteProtocolError(message, rule="RFC 9112 §7.1", status=self._status)


ContentReader = LengthReader | CloseReader | ChunkedReader


def content_reader(length: int, limits: Limits, *, response: bool = False) -> ContentReader:
    """Return the reader for content of ``length`` octets, ``CHUNKED`` or ``UNTIL_CLOSE``."""
    if length == CHUNKED:
        return ChunkedReader(limits, response=response)
    if length == UNTIL_CLOSE:
        return CloseReader()
    return LengthReader(length)
