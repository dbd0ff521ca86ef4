"""Showing octets of the peer to people without letting them act (RFC 9110 §17.2)."""

from __future__ import annotations

__all__ = ["show"]


def show(octets: bytes | str, limit: int = 64) -> str:
    r"""Quote ``octets`` for an error text: one printable ASCII line, at most ``limit`` long.

    Control characters, quotes and everything outside ASCII come out as ``\xNN``, so that a
    log line or a terminal cannot be forged by what a peer sent.
    """
    text = octets if isinstance(octets, str) else octets[: limit + 1].decode("latin-1")
    shown = "".join(_escape(character) for character in text[:limit])
    return f'"{shown}"…' if len(text) > limit else f'"{shown}"'


def _escape(character: str) -> str:
    if " " <= character <= "~" and character not in '"\\':
        return character
    return character.encode("unicode_escape").decode() if character != '"' else '\\"'
