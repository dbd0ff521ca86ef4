"""switchover under httpx: transports that offer protocols, and hand the connection back.

::

    import httpx
    from switchover.httpx import SwitchoverTransport

    with httpx.Client(transport=SwitchoverTransport()) as client:
        response = client.get(url, extensions={"upgrade": ["shout/1"]})
        if response.status_code == 101:
            tunnel = response.extensions["tunnel"]
            tunnel.send(b"hello")

Needs the ``httpx`` extra. ``tunnel`` is a :class:`switchover.sync.Tunnel`, or a
:class:`switchover.Tunnel` under :class:`httpx.AsyncClient`; the same connection stands in
``network_stream``, as httpx's own transports have it. A request that brings its own Upgrade
field makes the same offer. This room may import what ``sync`` may, and httpx.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from switchover.asyncio.client import Client as AsyncClient
from switchover.asyncio.client_response import ClientResponse as AsyncClientResponse
from switchover.asyncio.dialing import PhaseLimit, limit_time, own_limits
from switchover.asyncio.tunnel import Tunnel as AsyncTunnel
from switchover.errors import (
    DeadlineExceeded,
    Disconnected,
    LocalProtocolError,
    ProtocolError,
    ProxyRefused,
    SwitchError,
    TunnelError,
)
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.sync.client import Client, ClientResponse
from switchover.sync.tunnel import Tunnel

__all__ = [
    "AsyncSwitchoverTransport",
    "AsyncTunnelStream",
    "SwitchoverTransport",
    "TunnelStream",
]

#: Seconds that a peer has to end a tunnel when its response is closed.
_CLOSING = 1.0


class SwitchoverTransport(httpx.BaseTransport):
    """A transport for :class:`httpx.Client`; ``options`` are those of :class:`switchover.Client`.

    Timeouts, TLS and proxies: httpx's timeouts hold, ``route`` has the rest. A response with
    a tunnel that is closed without having been read, as at the end of ``with
    client.stream(…)``, closes the tunnel; otherwise it is yours, or ends with the client.
    """

    def __init__(self, **options: Any) -> None:
        self._client = Client(**options)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``; return the response, or the switch."""
        asked = _Asked(request)
        with _as_httpx_errors(), own_limits(asked.limits):
            response = self._client.stream(
                request.method,
                str(request.url),
                fields=asked.fields,
                content=asked.sync_content(),
                offer=asked.offer,
            )
        if response.tunnel is None:
            return _answer(response.response, _Content(response, asked.read))
        tunnel = response.tunnel
        extensions = {"tunnel": tunnel, "network_stream": TunnelStream(tunnel)}
        return _answer(response.response, _Switched(tunnel), extensions)

    def close(self) -> None:
        """Close every connection, and the tunnels."""
        self._client.close()


class AsyncSwitchoverTransport(httpx.AsyncBaseTransport):
    """The same for :class:`httpx.AsyncClient`, on asyncio."""

    def __init__(self, **options: Any) -> None:
        self._client = AsyncClient(**options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``; return the response, or the switch."""
        asked = _Asked(request)
        with _as_httpx_errors(), own_limits(asked.limits):
            answer = await self._client.stream(
                request.method,
                str(request.url),
                fields=asked.fields,
                content=asked.async_content(),
                offer=asked.offer,
            )
        if answer.tunnel is None:
            return _answer(answer.response, _AsyncContent(answer, asked.read))
        tunnel = answer.tunnel
        extensions = {"tunnel": tunnel, "network_stream": AsyncTunnelStream(tunnel)}
        return _answer(answer.response, _AsyncSwitched(tunnel), extensions)

    async def aclose(self) -> None:
        """Close every connection, and the tunnels."""
        await self._client.close()


class _Asked:
    """A request of httpx in our terms."""

    def __init__(self, request: httpx.Request) -> None:
        if request.url.scheme not in ("http", "https", "ws", "wss"):
            raise httpx.UnsupportedProtocol(f"no way to speak {request.url.scheme!r}")
        fields = Fields.from_octets(list(request.headers.raw))
        offer: Any = request.extensions.get("upgrade")
        # The way httpx's own transports are asked for a switch.
        self.offer = fields.members("upgrade") if offer is None else offer
        self.fields = Fields([line for line in fields.raw if line[0].lower() != b"upgrade"])
        timeout = request.extensions.get("timeout", {})
        self.read: float | None = timeout.get("read")
        self._answering = PhaseLimit(self.read)
        self.limits = {"waiting for the response": self._answering} if "read" in timeout else {}
        if "connect" in timeout:
            self.limits["connecting"] = PhaseLimit(timeout["connect"])
        self._stream = request.stream
        self._has_content = "content-length" in fields or "transfer-encoding" in fields

    def sync_content(self) -> bytes | Iterable[bytes] | None:
        """The content: octets, or pieces each of which gives the server its time again."""
        if not self._has_content:
            return None
        assert isinstance(self._stream, httpx.SyncByteStream)
        if isinstance(self._stream, httpx.ByteStream):
            return b"".join(self._stream)
        return self._pieces(self._stream)

    def _pieces(self, stream: httpx.SyncByteStream) -> Iterator[bytes]:
        for piece in stream:
            self._answering.restart()
            yield piece

    def async_content(self) -> bytes | AsyncIterator[bytes] | None:
        """The same for the asynchronous client."""
        if not self._has_content:
            return None
        if isinstance(self._stream, httpx.ByteStream):
            return b"".join(self._stream)
        assert isinstance(self._stream, httpx.AsyncByteStream)
        return self._async_pieces(self._stream)

    async def _async_pieces(self, stream: httpx.AsyncByteStream) -> AsyncIterator[bytes]:
        async for piece in stream:
            self._answering.restart()
            yield piece


def _answer(
    response: Response, stream: Any, extensions: dict[str, Any] | None = None
) -> httpx.Response:
    version = b"HTTP/2" if response.version == "2" else b"HTTP/" + response.version.encode()
    reason = response.reason.encode("latin-1", "replace")
    return httpx.Response(
        response.status,
        headers=response.fields.raw,
        stream=stream,
        extensions={"http_version": version, "reason_phrase": reason, **(extensions or {})},
    )


# Content of responses.


class _Content(httpx.SyncByteStream):
    def __init__(self, response: ClientResponse, timeout: float | None) -> None:
        self._response = response
        self._timeout = timeout

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_errors():
            yield from self._response.pieces(self._timeout)

    def close(self) -> None:
        self._response.close()


class _AsyncContent(httpx.AsyncByteStream):
    def __init__(self, answer: AsyncClientResponse, timeout: float | None) -> None:
        self._answer = answer
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._answer)
        with _as_httpx_errors():
            while True:
                async with limit_time("reading the response", self._timeout):
                    piece = await anext(pieces, b"")
                if not piece:
                    return
                yield piece

    async def aclose(self) -> None:
        await self._answer.close()


class _Switched(httpx.SyncByteStream):
    """No content: the connection is the tunnel's."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._read = False

    def __iter__(self) -> Iterator[bytes]:
        self._read = True
        return iter(())

    def close(self) -> None:
        if not self._read:
            self._tunnel.close(_CLOSING)


class _AsyncSwitched(httpx.AsyncByteStream):
    def __init__(self, tunnel: AsyncTunnel) -> None:
        self._tunnel = tunnel
        self._read = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._read = True
        return
        yield b""

    async def aclose(self) -> None:
        if not self._read:
            await self._tunnel.close(_CLOSING)


# The tunnel as what httpx's own transports hand back.


class TunnelStream(httpcore.NetworkStream):
    """A blocking tunnel with the methods of a ``network_stream``."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return at most ``max_bytes`` octets, ``b""`` at the end."""
        with _as_httpcore_errors(httpcore.ReadTimeout, httpcore.ReadError):
            return self._tunnel.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send ``buffer``."""
        if buffer:
            with _as_httpcore_errors(httpcore.WriteTimeout, httpcore.WriteError):
                self._tunnel.send(buffer, timeout)

    def close(self) -> None:
        """Close the tunnel."""
        self._tunnel.close(_CLOSING)

    def get_extra_info(self, info: str) -> Any:
        """Return ``ssl_object``, ``client_addr``, ``server_addr`` or ``socket``."""
        return self._tunnel.get_extra_info(_INFO.get(info, info))


class AsyncTunnelStream(httpcore.AsyncNetworkStream):
    """A tunnel with the methods of an asynchronous ``network_stream``."""

    def __init__(self, tunnel: AsyncTunnel) -> None:
        self._tunnel = tunnel

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return at most ``max_bytes`` octets, ``b""`` at the end."""
        with _as_httpcore_errors(httpcore.ReadTimeout, httpcore.ReadError):
            async with limit_time("reading", timeout):
                return await self._tunnel.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send ``buffer``."""
        if buffer:
            with _as_httpcore_errors(httpcore.WriteTimeout, httpcore.WriteError):
                async with limit_time("sending", timeout):
                    await self._tunnel.send(buffer)

    async def aclose(self) -> None:
        """Close the tunnel."""
        await self._tunnel.close(_CLOSING)

    def get_extra_info(self, info: str) -> Any:
        """Return ``ssl_object``, ``client_addr``, ``server_addr`` or ``socket``."""
        return self._tunnel.get_extra_info(_INFO.get(info, info))


_INFO = {"client_addr": "sockname", "server_addr": "peername"}

# Errors.


@contextmanager
def _as_httpx_errors() -> Iterator[None]:
    try:
        yield
    except DeadlineExceeded as error:
        kind = httpx.ConnectTimeout if error.phase == "connecting" else httpx.ReadTimeout
        raise kind(str(error)) from error
    except ProxyRefused as error:
        raise httpx.ProxyError(str(error)) from error
    except LocalProtocolError as error:
        raise httpx.LocalProtocolError(str(error)) from error
    except (ProtocolError, SwitchError, Disconnected) as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except OSError as error:
        raise httpx.ConnectError(str(error)) from error


@contextmanager
def _as_httpcore_errors(timeout: type[Exception], failed: type[Exception]) -> Iterator[None]:
    try:
        yield
    except DeadlineExceeded as error:
        raise timeout(str(error)) from error
    except (TunnelError, Disconnected) as error:
        raise failed(str(error)) from error
