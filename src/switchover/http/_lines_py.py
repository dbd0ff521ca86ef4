"""Cutting a head into its lines (RFC 9112 §2.1), in Python; ``_lines.pyx`` does the same in C."""

from __future__ import annotations

from switchover.http.grammar import VALUE_OCTETS

__all__ = ["cut_head"]

_PLAIN_OCTETS = VALUE_OCTETS + b"\r\n"


def cut_head(data: bytes, start: int, longest: int, pieces: list[bytes]) -> int:
    """Cut the head that begins at ``start`` if it is all there and nothing in it is unusual.

    Return where it ends, and add to ``pieces`` its start line, then the name and the value of
    each field line in turn. Return -1 for any other head: one that is not whole or begins with
    an empty line, has a control character or a field line that is folded, has no name, or is
    longer than ``longest``. It is not judged by that, and ``pieces`` are worth nothing then.
    """
    if not 0 <= start <= len(data):
        raise IndexError("no such octets")
    end = data.find(b"\r\n\r\n", start)
    if end <= start:
        return -1
    head = data[start:end]
    pairs = head.count(b"\r\n")
    if head.translate(None, _PLAIN_OCTETS) or head.startswith(b"\r"):
        return -1
    if pairs != head.count(b"\n") or pairs != head.count(b"\r"):
        return -1
    lines = head.split(b"\r\n")
    pieces.append(lines[0])
    for line in lines[1:]:
        # RFC 9112 §5:  field-line = field-name ":" OWS field-value OWS
        name, colon, value = line.partition(b":")
        if not colon or not name or name[0] in b" \t" or len(line) > longest:
            return -1
        pieces += (name, value.strip(b" \t"))
    return end + 4
