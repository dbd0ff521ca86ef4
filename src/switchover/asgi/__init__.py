"""Serving ASGI applications: scopes, cycles, lifespan, and the ``http.upgrade`` extension.

ASGI 3.0 with the HTTP & WebSocket message format 2.5, lifespan 2.0 and the TLS extension
0.2; RFC 9110 §7.8 for the switches an application makes itself. Stands on
``switchover.asyncio``; may not import ``switchover.proxy``, ``switchover.diagnose`` or
``switchover.cli``. ``switchover.asgi.starlette`` alone needs Starlette, and is imported by
those who have it.
"""

from switchover.asgi.application import ApplicationHandler, handler
from switchover.asgi.lifespan import Lifespan, LifespanFailed, LifespanMode
from switchover.asgi.proxy_headers import ForwardedSyntax, ProxyHeaders
from switchover.asgi.server import Server
from switchover.asgi.types import Application
from switchover.asgi.websocket_options import WebSocketOptions

__all__ = [
    "Application",
    "ApplicationHandler",
    "ForwardedSyntax",
    "Lifespan",
    "LifespanFailed",
    "LifespanMode",
    "ProxyHeaders",
    "Server",
    "WebSocketOptions",
    "handler",
]
