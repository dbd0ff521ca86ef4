"""switchover: the HTTP protocol-upgrade mechanism, whole.

Offer, select, decline and require protocols on HTTP connections, and go on in the one that
was agreed: WebSocket, HTTP/2, TLS, or any token two ends know. The names below are the
public interface; the rooms they come from have more for those who build on the machines.
"""

from __future__ import annotations

from switchover.asgi.proxy_headers import ProxyHeaders
from switchover.asgi.server import Server
from switchover.asgi.websocket_options import WebSocketOptions
from switchover.asyncio.client import Client
from switchover.asyncio.client_pool import HTTP2
from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.connect import connect
from switchover.asyncio.connect_handler import ConnectHandler, one_user
from switchover.asyncio.connect_tcp import connect_tcp, tcp_tunnel
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange, PeerFacts
from switchover.asyncio.http2_upgrade import H2CUpgrade, h2c
from switchover.asyncio.offers import ClientUpgrade, TLSPolicy
from switchover.asyncio.proxies import Proxy
from switchover.asyncio.reconnect import reconnecting
from switchover.asyncio.reports import Report
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.switch import switch
from switchover.asyncio.tls_upgrade import TLSUpgrade, tls
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.udp_client import udp_tunnel
from switchover.asyncio.udp_forward import forward_udp
from switchover.asyncio.udp_proxy import connect_udp
from switchover.asyncio.udp_tunnel import UdpTunnel
from switchover.asyncio.upgrades import token
from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.asyncio.websocket_broadcast import SlowReader, broadcast
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
from switchover.tunnel.policy import DestinationPolicy
from switchover.upgrade.client import UpgradeReaction
from switchover.upgrade.registry import ContentRule, Upgrade, client_order, server_order
from switchover.upgrade.tokens import UpgradeToken
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.extensions import ClientExtension, Extension, ServerExtension
from switchover.websocket.origins import (
    DANGEROUSLY_ALLOW_ANY_ORIGIN,
    SAME_ORIGIN,
    AllowedOrigins,
    SameOrigin,
)
from switchover.websocket.reconnection import Backoff, ReconnectPolicy, is_transient

__all__ = [
    "DANGEROUSLY_ALLOW_ANY_ORIGIN",
    "HTTP2",
    "SAME_ORIGIN",
    "AllowedOrigins",
    "Backoff",
    "Client",
    "ClientExtension",
    "ClientResponse",
    "ClientUpgrade",
    "ConnectHandler",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ContentRule",
    "DeadlineExceeded",
    "DestinationPolicy",
    "Disconnected",
    "Exchange",
    "Extension",
    "Fields",
    "H2CUpgrade",
    "HandshakeRejected",
    "InvalidHandshake",
    "InvalidSwitch",
    "LimitExceeded",
    "Limits",
    "LocalProtocolError",
    "PeerFacts",
    "PermessageDeflate",
    "ProtocolError",
    "Proxy",
    "ProxyHeaders",
    "ProxyRefused",
    "ReconnectPolicy",
    "RemoteProtocolError",
    "Report",
    "Request",
    "Response",
    "Route",
    "SameOrigin",
    "Server",
    "ServerExtension",
    "ServerSettings",
    "SlowReader",
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
    "UdpTunnel",
    "Upgrade",
    "UpgradeReaction",
    "UpgradeRequired",
    "UpgradeToken",
    "WebSocket",
    "WebSocketOptions",
    "WebSocketSettings",
    "broadcast",
    "client_order",
    "connect",
    "connect_tcp",
    "connect_udp",
    "forward_udp",
    "h2c",
    "is_transient",
    "one_user",
    "reconnecting",
    "server_order",
    "switch",
    "tcp_tunnel",
    "tls",
    "token",
    "udp_tunnel",
    "websocket",
]

__version__ = "0.1.0"
