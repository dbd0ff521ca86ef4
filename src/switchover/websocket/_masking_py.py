"""Payload octets and their key (RFC 6455 §5.3), in Python; ``_masking.pyx`` does the same in C."""

from __future__ import annotations

from typing import Any

__all__ = ["mask", "take"]


def take(data: bytearray, start: int, stop: int, masked: bool, text: bool) -> Any:
    """Return the octets from ``start`` to ``stop`` as ``bytes``, or decoded if they are text.

    If they are ``masked``, the key is the four octets before ``start``. ``data`` may be
    unmasked in place, so a frame can be taken once only.

    Raises :class:`UnicodeDecodeError` for text that is not UTF-8.
    """
    if not (4 if masked else 0) <= start <= stop <= len(data):
        raise IndexError("no such octets")
    payload = bytes(memoryview(data)[start:stop])
    if masked:
        payload = _xor(payload, bytes(data[start - 4 : start]))
    # str() decodes strictly: surrogates, overlong forms and U+110000 upwards are refused.
    return str(payload, "utf-8") if text else payload


def mask(head: bytes, payload: bytes, key: bytes) -> bytes:
    """Return the frame that begins with ``head``: then ``key``, then the masked ``payload``."""
    if len(key) != 4:
        raise ValueError("a key has four octets")
    return head + key + _xor(payload, key)


def _xor(payload: bytes, key: bytes) -> bytes:
    # One operation on two long integers is the fastest loop that Python has.
    size = len(payload)
    repeated = (key * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return mixed.to_bytes(size, "little")
