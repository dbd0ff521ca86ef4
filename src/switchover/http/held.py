"""Octets that wait behind the message in hand: one buffer, moved and never copied twice."""

from __future__ import annotations

__all__ = ["HeldOctets"]


class HeldOctets:
    """A queue of received octets, with a place in the first piece."""

    __slots__ = ("_pieces", "_size", "_start")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._start = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def hold(self, data: bytes, start: int = 0) -> None:
        """Keep ``data`` from ``start`` on, behind what is held already."""
        if start >= len(data):
            return
        if not self._pieces:
            self._start = start
        elif start:
            data = data[start:]
            start = 0
        self._pieces.append(data)
        self._size += len(data) - start

    def release(self) -> tuple[list[bytes], int]:
        """Give up what is held: the pieces, and where in the first of them it begins."""
        pieces, start = self._pieces, self._start
        self._pieces, self._start, self._size = [], 0, 0
        return pieces, start

    def take(self) -> bytes:
        """Give up what is held, in one piece."""
        pieces, start = self.release()
        return b"".join(pieces)[start:]
