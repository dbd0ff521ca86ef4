"""What a server tells its HTTP/2 clients, and the machine that keeps to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from switchover.http2.server import ServerConnection
from switchover.http2.settings import Settings

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["http2_settings", "new_machine"]


def http2_settings(server: Server) -> Settings:
    """Return what ``server`` allows its HTTP/2 clients."""
    # RFC 8441 §3 allows it; browsers then use it for every WebSocket, so it is said only where
    # something registered can be reached so, or an application may take it.
    extended = server.handler_takes_offers or any(
        upgrade.extended_connect for upgrade in server.registry.upgrades
    )
    return Settings(
        max_header_list_size=server.settings.limits.field_section,
        enable_connect_protocol=extended,
    )


def new_machine(server: Server, loop: asyncio.AbstractEventLoop) -> ServerConnection:
    """Return the machine of a connection that begins with HTTP/2."""
    return ServerConnection(
        clock=loop.time,
        settings=http2_settings(server),
        date=server.date,
        server_name=server.settings.server_name,
    )
