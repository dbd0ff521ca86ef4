"""What carries a server's HTTP/1.1 connection: octets, flow control and deadlines.

The other half, what is done about each event, is
:class:`~switchover.asyncio.http1_server.HTTP1ServerProtocol`, which derives from
:class:`HTTP1Carrier`. This file is compiled as ``_http1_carrier_c``; the C types stand in
``_http1_carrier_c.pxd``. Choose through :mod:`switchover.asyncio.http1_carrier`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from switchover.asyncio import deadlines
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.flow import WriteGate, receive_buffer
from switchover.asyncio.http1_exchange import HTTP1Exchange
from switchover.asyncio.http2_server import HTTP2ServerProtocol
from switchover.asyncio.lingering import close_in_stages
from switchover.asyncio.switching import hand_over
from switchover.errors import Disconnected
from switchover.http.events import Event
from switchover.http.messages import Request
from switchover.http.server import ServerConnection
from switchover.http2.preface import PrefaceMatch, match_prefix
from switchover.upgrade.decisions import Ordinary, Select

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["HTTP1Carrier"]

logger = logging.getLogger("switchover.server")

#: In the place of a machine that is finished for good.
_SPENT = ServerConnection()


class HTTP1Carrier:
    """Carries one HTTP/1.1 connection of ``server``: its transport, its pace, its deadlines.

    What the events mean is :meth:`act`'s to say.
    """

    __slots__ = (
        "_buffer",
        "_chain",
        "_closing",
        "_content",
        "_content_octets",
        "_deadline",
        "_deadlines",
        "_eof",
        "_facts",
        "_gate",
        "_idle",
        "_loop",
        "_machine",
        "_open_offer",
        "_over",
        "_owed",
        "_prefix",
        "_pumping",
        "_reading_paused",
        "_secure",
        "_selection",
        "_transport",
        "exchange",
        "server",
    )

    def __init__(
        self,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        *,
        machine: ServerConnection | None = None,
        chain: tuple[str, ...] = ("HTTP/1.1",),
        scheme: str = "http",
    ) -> None:
        settings = server.settings
        self.server = server
        self._loop = loop
        self._deadlines = deadlines.deadlines_of(loop)
        self._machine = machine or ServerConnection(
            limits=settings.limits,
            scheme=scheme,
            date=server.date,
            server_name=settings.server_name,
        )
        self._chain = chain
        self._facts: PeerFacts | None = None
        self._transport: asyncio.Transport | None = None
        self._secure = False
        self._buffer: memoryview | None = None
        self._gate: WriteGate | None = None
        self.exchange: HTTP1Exchange | None = None
        # Of the request in hand: how it switches, the content for that, the offer it makes, and
        # whether its answer is owed since before the switch to what is above us.
        self._selection: Select | None = None
        self._content: list[bytes] | None = None
        self._content_octets = 0
        self._open_offer: tuple[Request, Ordinary | None] | None = None
        self._owed = machine is not None
        self._deadline: deadlines.Deadline | None = None
        self._reading_paused = False
        self._pumping = False
        self._idle = False
        prior_knowledge = settings.http2_prior_knowledge and machine is None
        self._prefix: bytes | None = b"" if prior_knowledge else None
        self._closing = False
        self._eof = False
        self._over = False

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, and not the base class.
        taken: Any = transport
        self._transport = taken
        session = taken.get_extra_info("ssl_object")
        if session is not None:
            self._secure = True
            self._prefix = None
            # RFC 9113 §3.2: over TLS, HTTP/2 is what ALPN has selected, and nothing else.
            if session.selected_alpn_protocol() == "h2":
                self._go_on_in_http2(b"")
                return
        refusal = self.server.admit(self._as_protocol(), taken)
        if refusal is not None:
            self._machine.refuse(refusal)
            self.flush()
            return
        self._arm(self.server.settings.timeouts.head, self._head_too_slow)
        if self._machine.request is not None:
            self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        self._buffer = buffer = receive_buffer()
        return buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self._buffer is not None
        data = bytes(self._buffer[:nbytes])
        if self._prefix is not None:
            data = self._look_for_preface(data)
            if not data:
                return
        self._machine.receive_data(data)
        # Under a TLS upgrade octets may arrive before the transport is handed over.
        if self._transport is not None:
            self._pump()

    def _look_for_preface(self, data: bytes) -> bytes:
        """Return the octets that are HTTP/1.1's, none while that is not known, or never.

        RFC 9113 §3.3: a client with prior knowledge begins with the preface of HTTP/2.
        """
        data = (self._prefix or b"") + data
        match = match_prefix(data)
        if match is PrefaceMatch.NEED_MORE:
            self._prefix = data
            return b""
        self._prefix = None
        if match is PrefaceMatch.YES:
            self._go_on_in_http2(data)
            return b""
        return data

    def _go_on_in_http2(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        self._over = True
        self._disarm()
        self.server.dismiss(self._as_protocol())
        chain = (*self._chain[:-1], "HTTP/2")
        hand_over(transport, HTTP2ServerProtocol(self.server, self._loop, chain=chain), data)

    def eof_received(self) -> bool:
        self._eof = True
        if self._over:
            return False
        if self._prefix:
            self._machine.receive_data(self._prefix)
            self._prefix = None
        self._machine.receive_eof()
        if self._transport is None:
            return False
        self._pump()
        # A client may end its side and still read: the answer under way is finished first.
        # TLS transports cannot be half-closed.
        busy = self.exchange is not None and not self.exchange.response_complete
        return busy and self.facts.tls is None

    def connection_lost(self, error: Exception | None) -> None:
        self._over = True
        self._disarm()
        self.server.dismiss(self._as_protocol())
        if self._gate is not None:
            self._gate.break_down(_left)
        if self.exchange is not None:
            self.exchange.peer_left()

    def pause_writing(self) -> None:
        if self._gate is None:
            self._gate = WriteGate()
        self._gate.close()

    def resume_writing(self) -> None:
        if self._gate is not None:
            self._gate.open()

    def _as_protocol(self) -> asyncio.BaseProtocol:
        # What derives from this is one; the compiled class cannot be.
        return self  # type: ignore[return-value]  # as a driver it is one

    # What the server and the exchange may ask.

    @property
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection."""
        if self._facts is None:
            self._facts = PeerFacts(self._transport, self._chain)
        return self._facts

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the connection."""
        return self._loop

    @property
    def machine(self) -> ServerConnection:
        """The machine that this driver drives."""
        return self._machine

    def release(self) -> None:
        """Let go of what served the exchange that has switched: an idle successor needs none."""
        if self._over:
            self._machine = _SPENT
            self._facts = None  # made again if anybody asks
            self.exchange = None

    def shutdown(self) -> None:
        """Finish the exchange under way, then close; close at once if there is none."""
        self._closing = True
        if self.exchange is None and self._selection is None:
            self._close()
        else:
            self._machine.stop_keep_alive()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def blocked(self) -> bool:
        """Whether the transport's buffer is over its high mark."""
        return self._gate is not None and self._gate.closed

    async def unblocked(self) -> None:
        """Return when it is not; raise ``Disconnected`` if the peer leaves first."""
        if self._gate is not None:
            await self._gate.passed()

    def sent(self) -> None:
        """Carry out what a call to the machine has made ready."""
        if not self._pumping:
            self._pump()

    def content_wanted(self) -> None:
        """The application waits for content: from now on it has to come at a pace."""
        self.flush()
        if self._deadline is None:
            self._content_octets = 0
            self._arm(self.server.settings.timeouts.content, self._content_too_slow)

    def update_reading(self) -> None:
        """Read while somebody takes what is read."""
        if self._transport is None or self._over:
            return
        full = self.exchange is not None and self.exchange.content_is_full
        wanted = full or self._machine.receiving_paused()
        if wanted and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        elif not wanted and self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    # From octets to events, from events to actions.

    def _pump(self) -> None:
        self._pumping = True
        try:
            while not self._over and (events := self._machine.events_received()):
                for event in events:
                    self.act(event)
                    if self._over:
                        return
        finally:
            self._pumping = False
        if self._idle and self._machine.receiving_begun():
            self._arm(self.server.settings.timeouts.head, self._head_too_slow)
        self.flush()
        self.update_reading()

    def act(self, event: Event) -> None:
        """Do what ``event`` asks for."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what the machine has made ready."""
        transport = self._transport
        assert transport is not None
        data = self._machine.data_to_send()
        if data:
            transport.write(data[0] if len(data) == 1 else b"".join(data))
        if self._machine.close_expected():
            self._close()

    def _leave(self) -> None:
        """Let go of the transport: the 101 is written, nothing more is read for HTTP."""
        transport = self._transport
        assert transport is not None
        data = self._machine.data_to_send()
        transport.write(data[0] if len(data) == 1 else b"".join(data))
        self._over = True
        self._disarm()
        self.server.dismiss(self._as_protocol())
        if self._reading_paused:
            self._reading_paused = False
            transport.resume_reading()

    def _close(self) -> None:
        transport = self._transport
        if transport is None or self._over or transport.is_closing():
            return
        self._disarm()
        if self._secure or not self._machine.rest_expected():
            return transport.close()  # TLS ends in stages of its own
        close_in_stages(self.server, self._as_protocol(), transport)
        self._over = True
        if self._gate is not None:
            self._gate.open()
        if self.exchange is not None:
            self.exchange.peer_left()

    # Deadlines.

    def _arm(self, seconds: float | None, callback: Callable[[], None]) -> None:
        self._disarm()
        self._idle = False
        if seconds is not None:
            self._deadline = self._deadlines.set(seconds, callback)

    def _arm_idle(self) -> None:
        self._arm(self.server.settings.timeouts.idle, self._idle_too_long)
        self._idle = True

    def _disarm(self) -> None:
        deadline = self._deadline
        if deadline is not None:
            self._deadline = None
            deadline.cancel()

    def _head_too_slow(self) -> None:
        self._refuse_slow("the request did not arrive in time")

    def _content_too_slow(self) -> None:
        timeouts = self.server.settings.timeouts
        exchange, seconds = self.exchange, timeouts.content or 0.0
        waited_for = exchange is not None and not exchange.has_content
        enough = self._content_octets >= timeouts.content_rate * seconds
        if exchange is not None and (enough or not waited_for):
            self._content_octets = 0
            self._arm(seconds, self._content_too_slow)
            return
        if exchange is not None:
            exchange.peer_left()
        self._refuse_slow("the content of the request did not arrive in time")

    def _refuse_slow(self, what: str) -> None:
        logger.info("%s: %s", self._peername, what)
        self._machine.time_out(what)
        self.flush()

    def _idle_too_long(self) -> None:
        if self.exchange is None:
            self._machine.time_out("the connection was idle")
            self.flush()

    @property
    def _peername(self) -> Any:
        return self._transport.get_extra_info("peername") if self._transport else None


def _left() -> Disconnected:
    return Disconnected("the peer has left")
