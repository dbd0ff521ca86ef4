"""The content of a client's request: octets at once, or pieces of octets."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable

__all__ = ["Content", "pieces"]

#: What a request may carry.
Content = bytes | str | Iterable[bytes] | AsyncIterable[bytes] | None


async def pieces(content: Content) -> AsyncIterable[bytes]:
    """Iterate over ``content``, whatever it is; text is UTF-8."""
    if isinstance(content, str):
        yield content.encode()
    elif isinstance(content, bytes):
        yield content
    elif isinstance(content, AsyncIterable):
        async for piece in content:
            yield piece
    elif content is not None:
        for piece in content:
            yield piece
