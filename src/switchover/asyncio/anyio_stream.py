"""A tunnel as a byte stream of anyio; needs anyio, which switchover does not install.

Made by :meth:`Tunnel.as_anyio`. It runs on anyio's asyncio backend.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    ResourceGuard,
    TypedAttributeSet,
    typed_attribute,
)
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute

from switchover.errors import TunnelBroken, TunnelClosed

if TYPE_CHECKING:
    from switchover.asyncio.tunnel import Tunnel

__all__ = ["TunnelAttribute", "TunnelStream"]


class TunnelAttribute(TypedAttributeSet):
    """What a :class:`TunnelStream` knows beside anyio's attributes of sockets and TLS."""

    #: the tunnel, with its request, response and facts
    tunnel: Tunnel = typed_attribute()


class TunnelStream(ByteStream):
    """A tunnel with anyio's interface and anyio's exceptions.

    The tunnel's end of data raises :class:`anyio.EndOfStream`, a lost connection
    :class:`anyio.BrokenResourceError`. :meth:`aclose` closes the tunnel in order, and aborts
    it when it is cancelled.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._closed = False
        self._receiving = ResourceGuard("receiving from")
        self._sending = ResourceGuard("sending to")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return at least one octet and at most ``max_bytes``."""
        if max_bytes < 1:
            raise ValueError("max_bytes is 1 at least")
        await checkpoint()
        with self._receiving, _as_anyio():
            self._check_open()
            data = await self._tunnel.read(max_bytes)
        if not data:
            raise EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Send ``item``; waits while the peer does not read."""
        await checkpoint()
        with self._sending, _as_anyio():
            await self._tunnel.send(item)

    async def send_eof(self) -> None:
        """End our direction; the peer may go on sending."""
        with self._sending, _as_anyio():
            await self._tunnel.send_eof()

    async def aclose(self) -> None:
        """Close the tunnel in order; at once, with a reset, if cancelled meanwhile."""
        self._closed = True
        try:
            await checkpoint()
            await self._tunnel.close()
        except BaseException:
            self._tunnel.abort()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise TunnelClosed("the stream has been closed")

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The tunnel, and what its connection knows of its ends and of TLS."""
        tunnel = self._tunnel
        known: dict[Any, Any] = {TunnelAttribute.tunnel: tunnel}
        known |= _addresses(tunnel.facts.sockname, tunnel.facts.peername)
        if tunnel.facts.tls is not None:
            known |= _tls(tunnel.facts.tls)
        return {name: _returning(value) for name, value in known.items()}


@contextmanager
def _as_anyio() -> Iterator[None]:
    try:
        yield
    except TunnelClosed as error:
        raise ClosedResourceError from error
    except TunnelBroken as error:
        raise BrokenResourceError from error


def _addresses(local: Any, remote: Any) -> dict[Any, Any]:
    """The attributes that anyio's own socket streams have."""
    if not (isinstance(local, tuple) and isinstance(remote, tuple)):
        found = {SocketAttribute.local_address: local, SocketAttribute.remote_address: remote}
        return {name: value for name, value in found.items() if isinstance(value, str)}
    return {
        SocketAttribute.family: socket.AF_INET if len(local) == 2 else socket.AF_INET6,
        SocketAttribute.local_address: local[:2],
        SocketAttribute.local_port: local[1],
        SocketAttribute.remote_address: remote[:2],
        SocketAttribute.remote_port: remote[1],
    }


def _tls(facts: Mapping[str, Any]) -> dict[Any, Any]:
    session = facts["ssl_object"]
    return {
        TLSAttribute.alpn_protocol: facts["alpn"],
        TLSAttribute.cipher: session.cipher(),
        TLSAttribute.peer_certificate: facts["peer_certificate"],
        TLSAttribute.server_side: session.server_side,
        TLSAttribute.ssl_object: session,
        TLSAttribute.tls_version: facts["version"],
    }


def _returning(value: Any) -> Callable[[], Any]:
    return lambda: value
