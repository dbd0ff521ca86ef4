"""The driver of a server's HTTP/1.1 connection.

It carries octets between the transport and :class:`~switchover.http.server.ServerConnection`,
asks :func:`~switchover.upgrade.decisions.decide` about each request, runs the application on
an exchange where the answer is an ordinary one, and hands the transport to the successor where
it is a switch. The rules live in those two; this file knows when, not what.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from switchover.asyncio.deadlines import Deadline, Deadlines
from switchover.asyncio.exchange import Handler, PeerFacts
from switchover.asyncio.flow import WriteGate, receive_buffer
from switchover.asyncio.http1_exchange import HTTP1Exchange
from switchover.asyncio.reports import Report
from switchover.asyncio.switching import Switching, hand_over
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.events import (
    ContentReceived,
    Event,
    Failed,
    MessageComplete,
    PeerClosed,
    RequestReceived,
    Switched,
)
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection
from switchover.tunnel.connect import refused
from switchover.upgrade.decisions import Answer, Ordinary, Select, decide, switching_response
from switchover.upgrade.offers import Offer, examine, offered

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["HTTP1ServerProtocol"]

logger = logging.getLogger("switchover.server")


class HTTP1ServerProtocol(asyncio.BufferedProtocol):
    """Drives one HTTP/1.1 connection of ``server`` up to its end or its switch."""

    __slots__ = (
        "_chain",
        "_closing",
        "_content",
        "_content_octets",
        "_deadline",
        "_deadlines",
        "_eof",
        "_facts",
        "_idle",
        "_loop",
        "_machine",
        "_over",
        "_owed",
        "_pumping",
        "_reading_paused",
        "_selection",
        "_transport",
        "exchange",
        "gate",
        "server",
    )

    def __init__(
        self,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        *,
        machine: ServerConnection | None = None,
        chain: tuple[str, ...] = ("HTTP/1.1",),
    ) -> None:
        settings = server.settings
        self.server = server
        self._loop = loop
        self._deadlines = Deadlines.of(loop)
        self._machine = machine or ServerConnection(
            limits=settings.limits, date=server.date, server_name=settings.server_name
        )
        self._owed = machine is not None
        self._chain = chain
        self._facts: PeerFacts | None = None
        self._transport: asyncio.Transport | None = None
        self.gate = WriteGate()
        self.exchange: HTTP1Exchange | None = None
        self._selection: Select | None = None
        self._content: list[bytes] = []
        self._content_octets = 0
        self._deadline: Deadline | None = None
        self._reading_paused = False
        self._pumping = False
        self._idle = False
        self._closing = False
        self._eof = False
        self._over = False

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, and not the base class.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        refusal = self.server.admit(self, transport)
        if refusal is not None:
            self._machine.refuse(refusal)
            self.flush()
            return
        self._arm(self.server.settings.timeouts.head, self._head_too_slow)
        if self._machine.request is not None:
            self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        return receive_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._machine.receive_data(receive_buffer()[:nbytes])
        # Under a TLS upgrade octets may arrive before the transport is handed over.
        if self._transport is not None:
            self._pump()

    def eof_received(self) -> bool:
        self._eof = True
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
        self.server.dismiss(self)
        self.gate.break_down(lambda: Disconnected("the peer has left"))
        if self.exchange is not None:
            self.exchange.peer_left()

    def pause_writing(self) -> None:
        self.gate.close()

    def resume_writing(self) -> None:
        self.gate.open()

    # What the server and the exchange may ask.

    @property
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection."""
        if self._facts is None:
            self._facts = PeerFacts(self._transport, self._chain)
        return self._facts

    @property
    def machine(self) -> ServerConnection:
        """The machine that this driver drives."""
        return self._machine

    def release(self) -> None:
        """Let go of what served the exchange that has switched: an idle successor needs none."""
        if self._over:
            self._machine = _SPENT

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
                    _ACTIONS[type(event)](self, event)
                    if self._over:
                        return
        finally:
            self._pumping = False
        if self._idle and self._machine.receiving_begun():
            self._arm(self.server.settings.timeouts.head, self._head_too_slow)
        self.flush()
        self.update_reading()

    def flush(self) -> None:
        """Write what the machine has made ready."""
        transport = self._transport
        assert transport is not None
        data = self._machine.data_to_send()
        if data:
            transport.write(data[0] if len(data) == 1 else b"".join(data))
        if self._machine.close_expected():
            self._close()

    def _close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._disarm()
            self._transport.close()

    def _on_request(self, event: RequestReceived) -> None:
        self._disarm()
        request = event.request
        if self._owed:
            # The answer to the request that asked for the switch to what is above us.
            self._owed = False
            self._start_exchange(request, offered(request))
            return
        if request.method == "CONNECT":
            self._on_connect(request)
            return
        registry = self.server.registry
        asks = "upgrade" in request.fields
        if not registry.requires_switch and not asks:
            self._start_exchange(request)
            return
        examined = examine(request)
        offer = examined if isinstance(examined, Offer) else None
        if not registry.upgrades and self.server.observer is None:
            # Nothing to decide here; what is offered is the application's to take.
            self._start_exchange(request, offer)
            return
        try:
            decision = decide(
                request, registry, secure=self._secure, peer=self.facts, examined=examined
            )
        except LocalProtocolError as error:
            logger.error("%s: cannot be decided: %s", _told(request), error)
            self._answer(request, Response.text(500, "Internal Server Error\n"))
            return
        if isinstance(decision, Select):
            self._select(request, decision)
        elif isinstance(decision, Answer):
            logger.info("%s: %s (%s)", _told(request), decision.reason, decision.rule)
            required = decision.response.status == 426
            self._report("required" if required else "refused", request, decision)
            self._answer(request, decision.response)
        else:
            if asks:
                logger.info("%s: %s (%s)", _told(request), decision.reason, decision.rule)
                self._report("declined", request, decision)
            self._start_exchange(request, offer)

    def _report(
        self, outcome: str, request: Request, why: Answer | Ordinary | None, protocol: str = ""
    ) -> None:
        observer = self.server.observer
        if observer is not None:
            reason, rule = (why.reason, why.rule) if why is not None else ("", "")
            peer = self.facts.peername
            observer(Report(outcome, request, peer, protocol or None, reason, rule))

    def _answer(self, request: Request, response: Response) -> None:
        self._machine.send_response(response, end=True)
        self._arm(self.server.settings.timeouts.idle, self._idle_too_long)

    def _on_connect(self, request: Request) -> None:
        handler = self.server.connect
        if handler is not None:
            self._run(self._make_exchange(request), handler)
            return
        logger.info("%s: CONNECT is not served here", _told(request))
        self._machine.refuse(refused(405, "CONNECT is not served here."))

    def _select(self, request: Request, selection: Select) -> None:
        self._selection = selection
        if selection.reads_content:
            self._machine.send_continue()
            self._arm(self.server.settings.timeouts.content, self._content_too_slow)

    def _on_content(self, event: ContentReceived) -> None:
        self._content_octets += len(event.data)
        if self._selection is None:
            if self.exchange is not None:
                self.exchange.content_arrived(event.data)
            return
        self._content.append(event.data)
        if self._content_octets > self._selection.upgrade.content_limit:
            self._decline_for_content()

    def _decline_for_content(self) -> None:
        # A declined upgrade loses nothing: what was read is the exchange's content.
        self._selection = None
        content, self._content, self._content_octets = self._content, [], 0
        self._disarm()
        request = self._machine.request
        assert request is not None
        logger.info("%s: declined, content over the token's limit", _told(request))
        exchange = self._start_exchange(request, offered(request))
        for piece in content:
            exchange.content_arrived(piece)

    def _on_complete(self, event: MessageComplete) -> None:
        self._disarm()
        selection, self._selection = self._selection, None
        if selection is None:
            if self.exchange is not None:
                self.exchange.content_ended(event.trailers)
            return
        request = self._machine.request
        assert request is not None
        if selection.upgrade.early_data_fatal and self._machine.pending_octets:
            self._refuse_early_data(request, selection)
            return
        hook = getattr(selection.upgrade.successor, "consider", None)
        if hook is not None:
            self._ask_first(request, selection, event, hook)
            return
        self._selection = selection
        self._machine.switch(switching_response(selection), selection.protocol)

    def _refuse_early_data(self, request: Request, selection: Select) -> None:
        text = f"Octets behind the request that switches to {selection.protocol}.\n"
        self._machine.send_response(Response.text(400, text, {"Connection": "close"}), end=True)
        logger.warning("%s: %s", _told(request), text.strip())

    def _ask_first(
        self,
        request: Request,
        selection: Select,
        event: MessageComplete,
        hook: Callable[..., Any],
    ) -> None:
        content = b"".join(self._content)
        self._content, self._content_octets = [], 0
        exchange = self._make_exchange(request, offered(request))
        exchange.content_ended(event.trailers)
        self._run(exchange, lambda exchange: hook(exchange, selection, content))

    def _on_switched(self, event: Switched) -> None:
        selection, self._selection = self._selection, None
        assert selection is not None
        switching = Switching(
            server=self.server,
            protocol=event.protocol,
            request=event.request,
            response=event.response,
            content=b"".join(self._content),
            selection=selection,
            facts=self.facts,
            trailing_data=event.trailing_data,
        )
        self._content = []
        self._report("switched", event.request, None, event.protocol)
        self._leave()
        selection.upgrade.successor.attach(switching, self._transport)

    def switch_to(self, successor: asyncio.BaseProtocol) -> None:
        """Finish an exchange's own switch: ``successor`` takes the transport over."""
        (event,) = (e for e in self._machine.events_received() if isinstance(e, Switched))
        transport = self._transport
        assert transport is not None
        self._report("switched", event.request, None, event.protocol)
        self._leave()
        self.server.enlist(successor, transport)
        hand_over(transport, successor, event.trailing_data)
        # The peer may have ended its side while the application made up its mind.
        if self._eof and not getattr(successor, "eof_received", lambda: False)():
            transport.close()

    def _leave(self) -> None:
        """Let go of the transport: the 101 is written, nothing more is read for HTTP."""
        transport = self._transport
        assert transport is not None
        transport.write(b"".join(self._machine.data_to_send()))
        self._over = True
        self._disarm()
        self.server.dismiss(self)
        if self._reading_paused:
            self._reading_paused = False
            transport.resume_reading()

    def _on_failed(self, event: Failed) -> None:
        self._disarm()
        logger.info("bad request from %s: %s", self._peername, event.error)
        if self.exchange is not None:
            self.exchange.peer_left()

    def _on_peer_closed(self, event: PeerClosed) -> None:
        self._disarm()
        if self.exchange is None:
            self._close()

    # The application's side.

    def _make_exchange(self, request: Request, offer: Offer | None = None) -> HTTP1Exchange:
        self.exchange = HTTP1Exchange(self, request, offer)
        return self.exchange

    def _start_exchange(self, request: Request, offer: Offer | None = None) -> HTTP1Exchange:
        exchange = self._make_exchange(request, offer)
        self._run(exchange, self.server.handler_for(request))
        return exchange

    def _run(self, exchange: HTTP1Exchange, handler: Handler) -> None:
        self.server.spawn(self._handle(exchange, handler), self._loop)

    async def _handle(self, exchange: HTTP1Exchange, handler: Handler) -> None:
        try:
            await handler(exchange)
        except Disconnected:
            logger.debug("%s: the client left", _told(exchange.request))
        except LocalProtocolError as error:
            logger.error("%s: the application: %s", _told(exchange.request), error)
        except Exception:
            logger.exception("%s: the application failed", _told(exchange.request))
        finally:
            self._finish(exchange)

    def _finish(self, exchange: HTTP1Exchange) -> None:
        """An application that leaves its answer open is answered for."""
        if exchange.response_complete or exchange.left or self._over:
            return
        if exchange.response_started:
            logger.error("%s: the response was left incomplete", _told(exchange.request))
            exchange.abort()
            return
        text = "Internal Server Error: the application gave no answer.\n"
        self._machine.send_response(Response.text(500, text), end=True)
        exchange.response_started = True
        self.response_completed(exchange)
        self.sent()

    def response_completed(self, exchange: HTTP1Exchange) -> None:
        """Go on with the connection: the answer to ``exchange`` is complete."""
        exchange.response_complete = True
        if self.exchange is exchange:
            self.exchange = None
        self.server.log_access(exchange, self)
        if self._closing:
            self._machine.stop_keep_alive()
        self._arm(self.server.settings.timeouts.idle, self._idle_too_long)

    # Deadlines.

    def _arm(self, seconds: float | None, callback: Callable[[], None]) -> None:
        self._disarm()
        self._idle = callback == self._idle_too_long
        if seconds is not None:
            self._deadline = self._deadlines.set(seconds, callback)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

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
        self._close()

    def _idle_too_long(self) -> None:
        if self.exchange is None:
            self._machine.time_out("the connection was idle")
            self.flush()
            self._close()

    @property
    def _secure(self) -> bool:
        assert self._transport is not None
        return self._transport.get_extra_info("ssl_object") is not None

    @property
    def _peername(self) -> Any:
        return self._transport.get_extra_info("peername") if self._transport else None


#: In the place of a machine that is finished for good.
_SPENT = ServerConnection()


def _told(request: Request) -> str:
    """Name a request in a log line, with the peer's octets escaped (SEC-44)."""
    return f"{request.method} {ascii(request.target)[1:-1]}"


_ACTIONS: dict[type[Event], Callable[[HTTP1ServerProtocol, Any], None]] = {
    RequestReceived: HTTP1ServerProtocol._on_request,
    ContentReceived: HTTP1ServerProtocol._on_content,
    MessageComplete: HTTP1ServerProtocol._on_complete,
    Switched: HTTP1ServerProtocol._on_switched,
    Failed: HTTP1ServerProtocol._on_failed,
    PeerClosed: HTTP1ServerProtocol._on_peer_closed,
}
