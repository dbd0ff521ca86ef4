"""TLS on a connection: what is known of it, and starting it on a connection that exists.

RFC 2817 turns a cleartext connection into a protected one. The octets that were read in
cleartext must never be taken for octets that came through TLS (CVE-2011-0411 and its kin):
:func:`start_tls` works on a paused transport and refuses to start with anything held.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Mapping
from typing import Any

__all__ = ["describe_tls", "start_tls"]


def describe_tls(transport: asyncio.BaseTransport) -> Mapping[str, Any] | None:
    """Return the facts of the TLS session under ``transport``, ``None`` in cleartext."""
    session: ssl_module.SSLObject | None = transport.get_extra_info("ssl_object")
    if session is None:
        return None
    cipher = session.cipher()
    return {
        "version": session.version(),
        "cipher": cipher[0] if cipher else None,
        "alpn": session.selected_alpn_protocol(),
        "peer_certificate": session.getpeercert(),
        "ssl_object": session,
    }


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    context: ssl_module.SSLContext,
    *,
    server_side: bool,
    server_hostname: str | None = None,
    handshake_timeout: float | None = None,
) -> asyncio.Transport:
    """Speak TLS on ``transport`` from the next octet; return the transport inside.

    ``transport`` must have been paused before the last cleartext octet was handled.
    ``protocol`` is not told (``connection_made`` is the caller's to call). Raises
    :class:`ssl.SSLError`, :class:`OSError` or :class:`TimeoutError` when the handshake
    fails; the connection is closed then (RFC 2817 §3.3).
    """
    loop = asyncio.get_running_loop()
    try:
        inside = await loop.start_tls(
            transport,
            protocol,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=handshake_timeout,
        )
    except BaseException:
        transport.abort()
        raise
    if inside is None:
        raise ConnectionResetError("the connection was lost during the TLS handshake")
    return inside
