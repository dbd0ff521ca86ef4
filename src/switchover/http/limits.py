"""How much of each thing a peer may send (RFC 9110 §17.5)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds, in octets unless said otherwise; each has a finite default and its reason."""

    method: int = 32
    """The longest registered method has 17 letters; a longer one than this gets 501."""

    target: int = 8192
    """RFC 9112 §3 recommends request lines of at least 8000 octets; 414 beyond."""

    request_line: int = 8256
    """A longest method, two spaces, a longest target and the version, with some room."""

    status_line: int = 1024
    """A status line is read by nobody but the parser, and its reason is decoration."""

    field_line: int = 16384
    """One cookie is up to 4096; signed tokens and Kerberos tickets reach 12 KiB. 431 beyond."""

    field_section: int = 65536
    """All field lines of a message; nginx takes 32 KiB, Node 16 KiB, Jetty 8 KiB. 431 beyond."""

    field_count: int = 100
    """Lines. Apache's default; a browser behind three proxies sends about 40. 431 beyond."""

    empty_lines: int = 8
    """Ahead of a message. RFC 9112 §2.2 asks for one; old clients sent one behind a POST."""

    chunk_line: int = 4096
    """A chunk size with its extensions, which nobody in the field uses."""

    chunk_extensions: int = 16384
    """All chunk extensions of one message, so that tiny chunks cannot carry a flood of them."""

    trailer_section: int = 16384
    """All trailer lines of a message; a few checksums and a gRPC status."""

    trailer_count: int = 50
    """Lines."""

    interim_responses: int = 32
    """Before one final response; a 103 or two is usual, a 102 every 20 s lasts ten minutes."""

    held: int = 65536
    """Octets kept behind a request that is not answered yet; beyond, the reader should pause."""

    discarded_content: int = 65536
    """Content read and dropped to keep a connection whose request was answered early."""
