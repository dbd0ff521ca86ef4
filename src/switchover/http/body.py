"""Writing content in the framing that was announced, for both ends (RFC 9112 §6)."""

from __future__ import annotations

from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.framing import CHUNKED, UNTIL_CLOSE
from switchover.http.grammar import CONTENT_LENGTH
from switchover.http.writing import chunk, last_chunk

__all__ = ["BodyWriter", "given_length"]


class BodyWriter:
    """Frames the content of one message that is being sent.

    ``length`` is the announced number of octets, ``CHUNKED`` or ``UNTIL_CLOSE``. With
    ``silent`` the content is swallowed: the answer to a HEAD request, 204 and 304 have a
    length but no content.
    """

    __slots__ = ("_left", "_length", "_silent")

    def __init__(self, length: int, *, silent: bool = False) -> None:
        self._length = length
        self._left = length
        self._silent = silent

    def check(self, data: bytes) -> None:
        """Raise ``LocalProtocolError`` if ``data`` is more than was announced."""
        if not self._silent and self._length >= 0 and len(data) > self._left:
            raise LocalProtocolError(
                f"content exceeds the announced {self._length} octets", rule="RFC 9110 §8.6"
            )

    def exact(self, data: bytes) -> bool:
        """Whether ``data`` is all that is still missing."""
        return self._silent or self._length < 0 or len(data) == self._left

    def content(self, data: bytes) -> bytes:
        """Return what goes on the wire for ``data``; empty if nothing does."""
        self.check(data)
        if self._silent or not data:
            return b""
        if self._length == CHUNKED:
            return chunk(data)
        self._left -= len(data)
        return data

    def end(self, trailers: Fields | None) -> bytes:
        """Return what ends the content on the wire; trailers go out only with chunks.

        Raises ``LocalProtocolError`` if less content was sent than announced.
        """
        if self._silent or self._length == UNTIL_CLOSE:
            return b""
        if self._length == CHUNKED:
            return last_chunk(trailers)
        if self._left:
            raise LocalProtocolError(
                f"content ended {self._left} octets before the announced {self._length}",
                rule="RFC 9110 §8.6",
            )
        return b""


def given_length(fields: Fields) -> int | None:
    """Return the caller's Content-Length, ``CHUNKED`` for a Transfer-Encoding, or ``None``.

    Raises ``LocalProtocolError`` for anything that could not be sent.
    """
    lengths, codings = fields.get_all("Content-Length"), fields.get_all("Transfer-Encoding")
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise LocalProtocolError("only the chunked coding can be sent", rule="RFC 9112 §6.1")
        # RFC 9112 §6.2: "A sender MUST NOT send a Content-Length header field in any message
        # that contains a Transfer-Encoding header field."
        if lengths:
            raise LocalProtocolError(
                "both Content-Length and Transfer-Encoding", rule="RFC 9112 §6.2"
            )
        return CHUNKED
    if not lengths:
        return None
    # RFC 9110 §5.3: a sender never repeats a field that is no list.
    if len(lengths) > 1 or not CONTENT_LENGTH.fullmatch(lengths[0].encode("latin-1")):
        raise LocalProtocolError("invalid Content-Length", rule="RFC 9110 §8.6")
    return int(lengths[0])
