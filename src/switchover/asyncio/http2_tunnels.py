"""A client's switches over HTTP/2: extended CONNECT for any token, and for WebSocket.

HTTP/2 has no Upgrade (RFC 9113 §8.6); a stream takes the place of the connection (RFC 8441).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.flow import feed
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.http2_stream import StreamTransport
from switchover.asyncio.offers import ClientUpgrade, TunnelUpgrade
from switchover.asyncio.switching import hand_over
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.websocket import WebSocket
from switchover.errors import LocalProtocolError
from switchover.http.events import Switched
from switchover.http.messages import Request
from switchover.websocket.connection import Connection, Side
from switchover.websocket.extensions import ClientExtension
from switchover.websocket.opening import check_response

if TYPE_CHECKING:
    from switchover.asyncio.client_pool import ClientPool

__all__ = ["extended_connect", "open_websocket_stream"]

_REFUSAL_LIMIT = 64 * 1024


async def extended_connect(
    connection: HTTP2ClientProtocol,
    request: Request,
    upgrades: Sequence[ClientUpgrade],
    pool: ClientPool,
) -> ClientResponse:
    """Ask for the preferred of ``upgrades`` on a stream of its own (RFC 8441 §4).

    An extended CONNECT names one protocol, so the others are not offered. Raises
    :class:`LocalProtocolError` if none of them can be had on a stream, or if the server does
    not take extended CONNECT.
    """
    usable = [upgrade for upgrade in upgrades if isinstance(upgrade, TunnelUpgrade)]
    if not usable:
        # RFC 9113 §8.2.2: no Upgrade field is sent in HTTP/2.
        raise LocalProtocolError(
            "the offered protocols exist only in HTTP/1.1, and this connection is HTTP/2",
            rule="RFC 9113 §8.6",
        )
    token = usable[0].tokens[0]
    asking = Request(
        "CONNECT",
        request.target,
        request.fields,
        version="2",
        scheme=request.scheme,
        authority=request.authority,
        protocol=token,
    )
    made: list[Tunnel] = []

    def on_switch(event: Switched, transport: StreamTransport) -> None:
        facts = PeerFacts(transport, (*connection.facts.chain, event.protocol))
        tunnel = Tunnel(event.protocol, event.request, event.response, facts=facts)
        pool.adopt(tunnel)
        transport.set_protocol(tunnel)
        tunnel.connection_made(transport)
        if event.trailing_data:
            feed(tunnel, event.trailing_data)
        made.append(tunnel)

    stream = await connection.send(asking, on_switch=on_switch)
    answer = await stream.head()
    if isinstance(answer, Switched):
        return ClientResponse(asking, answer.response, tunnel=made[0], protocol=answer.protocol)
    return ClientResponse(asking, answer, stream)


async def open_websocket_stream(
    connection: HTTP2ClientProtocol,
    request: Request,
    extensions: Sequence[ClientExtension] = (),
    *,
    max_message_size: int | None = 1024 * 1024,
    **options: Any,
) -> WebSocket:
    """Send the extended CONNECT ``request`` (RFC 8441 §5); return the WebSocket on its stream.

    Raises what :func:`check_response` raises; other streams go on.
    """
    made: list[WebSocket] = []

    def on_switch(event: Switched, transport: StreamTransport) -> None:
        agreed = check_response(request, event.response, extensions=extensions)
        machine = Connection(
            Side.CLIENT,
            extensions=agreed.extensions,
            subprotocol=agreed.subprotocol,
            max_message_size=max_message_size,
        )
        ws = WebSocket(machine, request=request, response=event.response, **options)
        hand_over(transport, ws, event.trailing_data)
        made.append(ws)

    stream = await connection.send(request, on_switch=on_switch)
    answer = await stream.head()
    if isinstance(answer, Switched):
        if made:
            return made[0]
        stream.release()
        # The answer was judged when it came, and did not fit; judge it again to say so.
        check_response(request, answer.response, extensions=extensions)
        raise AssertionError("a handshake that failed has succeeded")
    answer.content = await _refusal(stream)
    check_response(request, answer, extensions=extensions)
    raise AssertionError("a response other than 2xx was taken for the handshake")


async def _refusal(stream: Any) -> bytes:
    content = b""
    while len(content) < _REFUSAL_LIMIT and (piece := await stream.read()):
        content += piece
    stream.release()
    return content[:_REFUSAL_LIMIT]
