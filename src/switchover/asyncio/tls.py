"""TLS on a connection: what is known of it, its contexts, and starting it on what exists.

RFC 2817 turns a cleartext connection into a protected one. The octets that were read in
cleartext must never be taken for octets that came through TLS (CVE-2011-0411 and its kin):
:func:`start_tls` works on a paused transport and refuses to start with anything held.
"""

from __future__ import annotations

import asyncio
import os
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from switchover.asyncio.tls_transport import TLSTransport

__all__ = [
    "ClientTLS",
    "client_context",
    "connect_inside",
    "describe_tls",
    "harden",
    "server_context",
    "start_tls",
]

#: For TLS 1.2; those of TLS 1.3 are all good. RFC 9113 §9.2.2 and appendix A leave what has an
#: ephemeral key exchange and authenticated encryption, and prohibit the rest.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aDSS"
_HTTP_1_1 = ("http/1.1",)


def client_context(
    cafile: str | os.PathLike[str] | None = None, *, alpn: Sequence[str] = _HTTP_1_1
) -> ssl_module.SSLContext:
    """Return a client's context: certificates are verified, names checked.

    ``cafile`` has the certificates to trust instead of the system's; ``alpn`` are the
    protocols to offer. For what else it does see :func:`harden`.
    """
    context = ssl_module.create_default_context(
        cafile=None if cafile is None else os.fspath(cafile)
    )
    return _ours(context, alpn)


def server_context(*, alpn: Sequence[str] = _HTTP_1_1) -> ssl_module.SSLContext:
    """Return a server's context, without a certificate yet; see :func:`harden`."""
    return _ours(ssl_module.SSLContext(ssl_module.PROTOCOL_TLS_SERVER), alpn)


def _ours(context: ssl_module.SSLContext, alpn: Sequence[str]) -> ssl_module.SSLContext:
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(list(alpn))
    harden(context)
    return context


def harden(context: ssl_module.SSLContext) -> None:
    """Take from ``context`` what HTTP must not be spoken over, whatever else it is set to.

    TLS before 1.2 (RFC 8996; RFC 9113 §9.2), compression and renegotiation (§9.2.1), and
    client authentication after the handshake (§9.2.3).
    """
    if context.minimum_version < ssl_module.TLSVersion.TLSv1_2:
        context.minimum_version = ssl_module.TLSVersion.TLSv1_2
    context.options |= ssl_module.OP_NO_COMPRESSION | ssl_module.OP_NO_RENEGOTIATION
    if context.protocol == ssl_module.PROTOCOL_TLS_CLIENT:
        # RFC 9113 §9.2.3: servers "MUST NOT send post-handshake TLS 1.3 CertificateRequest
        # messages", and a client that has not announced that it takes them is not asked.
        context.post_handshake_auth = False


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
    handshake_timeout: float | None = 60.0,
) -> asyncio.Transport:
    """Speak TLS on ``transport`` from the next octet; return the transport inside.

    ``transport`` must have been paused before the last cleartext octet was handled.
    ``protocol`` is not told (``connection_made`` is the caller's to call). Raises
    :class:`ssl.SSLError` or :class:`OSError` when the handshake fails; the connection is
    closed then, with an alert (RFC 2817 §3.3).
    """
    inside: Any = TLSTransport(
        protocol,
        context,
        server_side=server_side,
        server_hostname=server_hostname,
        handshake_timeout=handshake_timeout,
        announce=False,
    )
    transport.set_protocol(inside)
    inside.connection_made(transport)
    transport.resume_reading()
    await inside.handshaken()
    made: asyncio.Transport = inside
    return made


@dataclass(frozen=True, slots=True)
class ClientTLS:
    """How a client speaks TLS: its context, and the name the certificate must have."""

    context: ssl_module.SSLContext
    server_hostname: str


_Factory = Callable[[], asyncio.BaseProtocol]


async def connect_inside(
    tls: ClientTLS | None,
    factory: _Factory,
    connect: Callable[[_Factory], Awaitable[tuple[Any, Any]]],
) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    """Return what ``connect(factory)`` makes; with ``tls``, what it makes inside TLS.

    Raises what ``connect`` raises, and :class:`ssl.SSLError` or :class:`OSError` when the
    handshake fails; the connection is closed then.
    """
    if tls is None:
        made: tuple[asyncio.Transport, asyncio.BaseProtocol] = await connect(factory)
        return made
    protocol = factory()
    inside: Any = TLSTransport(
        protocol, tls.context, server_side=False, server_hostname=tls.server_hostname
    )
    await connect(lambda: inside)
    await inside.handshaken()
    return inside, protocol
