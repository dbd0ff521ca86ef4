"""switchover: the HTTP protocol-upgrade mechanism, whole.

Offer, select, decline and require protocols on HTTP connections, and go on in the one that
was agreed: WebSocket, HTTP/2, TLS, or any token two ends know. The names below are the
public interface; the rooms they come from have more for those who build on the machines.
"""

from __future__ import annotations

from switchover.asgi.server import Server
from switchover.asyncio.client import Client
from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.connect import connect
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange, PeerFacts
from switchover.asyncio.offers import ClientUpgrade, TLSPolicy
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.switch import switch
from switchover.asyncio.tls_upgrade import TLSUpgrade, tls
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DeadlineExceeded,
    Disconnected,
    HandshakeRejected,
    InvalidHandshake,
    InvalidSwitch,
    LimitExceeded,
    LocalProtocolError,
    ProtocolError,
    ProxyRefused,
    RemoteProtocolError,
    SwitchDeclined,
    SwitchError,
    SwitchoverError,
    TLSSwitchFailed,
    TunnelBroken,
    TunnelClosed,
    TunnelError,
    UpgradeRequired,
)
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.messages import Request, Response
from switchover.upgrade.client import UpgradeReaction
from switchover.upgrade.registry import ContentRule, Upgrade, client_order, server_order
from switchover.upgrade.tokens import UpgradeToken
from switchover.websocket.deflate import PermessageDeflate

__all__ = [
    "Client",
    "ClientResponse",
    "ClientUpgrade",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ContentRule",
    "DeadlineExceeded",
    "Disconnected",
    "Exchange",
    "Fields",
    "HandshakeRejected",
    "InvalidHandshake",
    "InvalidSwitch",
    "LimitExceeded",
    "Limits",
    "LocalProtocolError",
    "PeerFacts",
    "PermessageDeflate",
    "ProtocolError",
    "ProxyRefused",
    "RemoteProtocolError",
    "Request",
    "Response",
    "Route",
    "Server",
    "ServerSettings",
    "SwitchDeclined",
    "SwitchError",
    "SwitchoverError",
    "TLSPolicy",
    "TLSSwitchFailed",
    "TLSUpgrade",
    "Timeouts",
    "Tunnel",
    "TunnelBroken",
    "TunnelClosed",
    "TunnelError",
    "Upgrade",
    "UpgradeReaction",
    "UpgradeRequired",
    "UpgradeToken",
    "WebSocket",
    "WebSocketSettings",
    "client_order",
    "connect",
    "server_order",
    "switch",
    "tls",
    "token",
    "websocket",
]

__version__ = "0.1.0"
