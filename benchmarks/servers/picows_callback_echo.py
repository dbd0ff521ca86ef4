"""picows with its Python callback API."""

from __future__ import annotations

import socket
from typing import cast

import listening
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

everyone: set[WSTransport] = set()


class Echo(WSListener):
    """Echoes each frame, and answers Close, as the README's server does."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin)


class Broadcast(WSListener):
    """Sends each frame to everyone."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        everyone.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        everyone.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        for other in everyone:
            other.send(frame.msg_type, payload)


def listener_for(request: WSUpgradeRequest) -> WSListener:
    return cast(WSListener, Broadcast() if request.path == b"/broadcast" else Echo())


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    listening.refuse(settings, tls=False)
    return await ws_create_server(
        listener_for,
        sock=sock,
        ssl=settings.tls(),
        enable_auto_ping=False,
        max_frame_size=listening.MAX_MESSAGE,
    )


listening.run(start)
