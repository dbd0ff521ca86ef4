"""HTTP/1.1 inside the TLS that a connection was switched to (RFC 2817 §3.3)."""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
from typing import Any

from switchover.asyncio.http1_server import HTTP1ServerProtocol
from switchover.http.events import Event, RequestReceived
from switchover.http.messages import Request, Response
from switchover.http.targets import misdirected

__all__ = ["HTTP1InsideTLS", "remember_server_name"]

logger = logging.getLogger("switchover.server")

_MISDIRECTED = "Misdirected Request: the TLS of this connection is another host's.\n"


def remember_server_name(context: ssl_module.SSLContext) -> None:
    """Keep the name that a client gives in its handshake (SNI) on the session.

    The ``ssl`` module tells it to a callback only. One that ``context`` has is still called.
    """
    theirs: Any = context.sni_callback

    def remember(session: Any, name: str | None, initial: ssl_module.SSLContext) -> int | None:
        session.switchover_server_name = name
        answer: int | None = theirs(session, name, initial) if theirs is not None else None
        return answer

    context.sni_callback = remember


class HTTP1InsideTLS(HTTP1ServerProtocol):
    """Drives HTTP/1.1 inside TLS, where requests must be for the host TLS was set up for."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the connection was lost between the handshake and now."""
        if not self._over:
            super().connection_made(transport)

    def act(self, event: Event) -> None:
        """Answer 421 if the request is for another host; otherwise do as in cleartext."""
        if isinstance(event, RequestReceived) and self._is_misdirected(event.request):
            self._owed = False
            self._disarm()
            logger.info("%s: a request for another host than TLS was set up for", self._peername)
            self._answer(event.request, Response.text(421, _MISDIRECTED))
            return
        super().act(event)

    def _is_misdirected(self, request: Request) -> bool:
        # The authority of a CONNECT is where it leads to, not who is asked.
        tls = self.facts.tls
        if request.method == "CONNECT" or tls is None:
            return False
        name = getattr(tls["ssl_object"], "switchover_server_name", None)
        return misdirected(request.authority, name)
