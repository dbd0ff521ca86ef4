"""The blocking client: WebSockets, tunnels and requests for programs without an event loop.

::

    import switchover.sync

    with switchover.sync.connect("ws://localhost/echo") as ws:
        ws.send("hello")
        print(ws.recv(timeout=5))

Nothing of a protocol is here. The calls wait for the asynchronous client, which runs on one
thread in the background for as long as anything is open; the decision is written down in
``docs/decisions/0050-the-blocking-client-waits-for-the-other.md``. This room may import what
``asyncio`` may, ``asyncio`` itself, and threads.
"""

from __future__ import annotations

from switchover.sync.client import Client, ClientResponse, switch
from switchover.sync.reconnect import reconnecting
from switchover.sync.tunnel import Tunnel
from switchover.sync.websocket import WebSocket, connect

__all__ = [
    "Client",
    "ClientResponse",
    "Tunnel",
    "WebSocket",
    "connect",
    "reconnecting",
    "switch",
]
