"""What both ends of the opening handshake know: version, nonce, and its answer (RFC 6455 §1.3)."""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha1

from switchover.errors import LocalProtocolError
from switchover.websocket.extensions import Extension

__all__ = ["VERSION", "Negotiated", "accept_value", "new_key"]

#: The version of the protocol that is spoken (RFC 6455 §4.1 item 9). There is no other.
VERSION = "13"

# RFC 6455 §1.3: "the Globally Unique Identifier … in string form"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the opening handshake has agreed on.

    ``subprotocol`` is the subprotocol in use, ``None`` for none. ``extensions`` are at work on
    this connection alone, the one nearest to the application's data first.
    """

    subprotocol: str | None = None
    extensions: tuple[Extension, ...] = ()


def accept_value(key: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` that answers ``Sec-WebSocket-Key`` as received."""
    # RFC 6455 §4.2.2 /key/: "constructed by concatenating /key/, defined above in step 4 in
    # Section 4.2.2, with the string "258EAFA5-…", taking the SHA-1 hash of this concatenated
    # value … and base64-encoding this 20-byte hash". Text is hashed, nothing is decoded first.
    # Nothing is kept secret with it (§10.8 has nothing to say), hence usedforsecurity.
    return b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def new_key(nonce: bytes | None = None, *, random: Callable[[int], bytes] = os.urandom) -> str:
    """Return a ``Sec-WebSocket-Key``: 16 octets in base64, from ``random`` unless given.

    Raises :class:`LocalProtocolError` if ``nonce`` has another length.
    """
    # RFC 6455 §4.1 item 7: "a nonce consisting of a randomly selected 16-byte value that has
    # been base64-encoded … The nonce MUST be selected randomly for each connection."
    octets = random(16) if nonce is None else nonce
    if len(octets) != 16:
        raise LocalProtocolError(f"a nonce has 16 octets, not {len(octets)}", rule="RFC 6455 §4.1")
    return b2a_base64(octets, newline=False).decode()
