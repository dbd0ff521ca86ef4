"""The driver of a server's HTTP/2 connection: an exchange for each stream.

Reached by prior knowledge, by ALPN, and by the h2c Upgrade of HTTP/1.1. A CONNECT that is
accepted turns its stream into a transport, on which the successors of HTTP/1.1 run.
"""

# Longer than other files: every event of a connection is met here, and its deadlines; what can
# be told apart (exchanges, streams as transports, octets) stands in files of its own.

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from switchover.asyncio.deadlines import Deadline
from switchover.asyncio.exchange import Handler, PeerFacts
from switchover.asyncio.http2_carrier import ServerCarrier
from switchover.asyncio.http2_driver import HTTP2Protocol
from switchover.asyncio.http2_exchange import HTTP2Exchange
from switchover.asyncio.http2_settings import new_machine
from switchover.asyncio.http2_stream import StreamTransport, reset_error
from switchover.asyncio.lingering import close_in_stages
from switchover.asyncio.reports import Report
from switchover.asyncio.switching import Switching
from switchover.errors import Disconnected, LocalProtocolError, TunnelBroken
from switchover.http.events import (
    Failed,
    MessageComplete,
    PeerClosed,
    RequestReceived,
    Switched,
)
from switchover.http.messages import Request, Response
from switchover.http2.codes import ErrorCode
from switchover.http2.events import (
    GoAway,
    SettingsReceived,
    StreamEvent,
    StreamReset,
    WindowOpened,
)
from switchover.http2.server import ServerConnection
from switchover.upgrade.decisions import Answer, Select, decide, switching_response
from switchover.upgrade.offers import offered

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["HTTP2ServerProtocol"]

logger = logging.getLogger("switchover.server")

#: How long a peer may take to answer the PING of a graceful end.
_DRAIN_SECONDS = 1.0
#: How long the rest of a request that has been answered may take.
_REST_SECONDS = 5.0


class HTTP2ServerProtocol(HTTP2Protocol, ServerCarrier):
    """Drives one HTTP/2 connection of ``server``."""

    _machine: ServerConnection

    def __init__(
        self,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        *,
        machine: ServerConnection | None = None,
        chain: tuple[str, ...] = ("HTTP/2",),
    ) -> None:
        super().__init__(
            machine or new_machine(server, loop),
            loop,
            chain=chain,
            write_timeout=server.settings.timeouts.content,
        )
        self.serve(server, HTTP2Exchange)
        self._selections: dict[int, Select] = {}
        # Until the client's first SETTINGS are here.
        self._opening: Deadline | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports do not derive from asyncio's.
        refusal = self.server.admit(self, cast(asyncio.Transport, transport))
        if refusal is not None:
            self._machine.close(ErrorCode.ENHANCE_YOUR_CALM, "the server takes no connections")
        seconds = self.server.settings.timeouts.switch
        if seconds is not None:
            # RFC 7540 §3.5: the preface has a deadline, after a 101 as well.
            self._opening = self._deadlines.set(seconds, self._too_slow)
        super().connection_made(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        if self.facts.protected or not self._machine.rest_expected():
            transport.close()  # TLS ends in stages of its own
            return
        close_in_stages(self.server, self, transport)
        self._leave(None)
        self.gate.open()

    def _lost(self, error: Exception | None) -> None:
        self._disarm()
        self.server.dismiss(self)
        self._leave_all(error)
        self._workers.close()

    def _leave_all(self, error: Exception | None) -> None:
        for exchange in list(self._exchanges.values()):
            exchange.peer_left()
        self._exchanges.clear()
        broken = TunnelBroken("the connection under the stream was lost")
        broken.__cause__ = error
        for tunnel in list(self._tunnels.values()):
            tunnel.lose(broken)

    # What the server, the exchanges and the streams may ask.

    @property
    def machine(self) -> ServerConnection:
        """The machine that this driver drives."""
        return self._machine

    def shutdown(self) -> None:
        """Finish what is under way, take nothing new, then close."""
        if self._over:
            return
        self._machine.shutdown()
        self._deadlines.set(_DRAIN_SECONDS, self._drain_no_longer)
        self.send_soon()

    def _drain_no_longer(self) -> None:
        self._machine.shutdown()
        self.send_soon()

    def _completed_early(self, exchange: HTTP2Exchange) -> None:
        if exchange.offer is not None:
            status = exchange.response_status
            self._report("declined", exchange.request, f"the application answered {status}")
        if not exchange.received and self._machine.request_on(exchange.stream_id) is not None:
            # The rest of the request is dropped as it comes, for a while.
            self._deadlines.set(_REST_SECONDS, lambda: self._give_up(exchange.stream_id))

    def _give_up(self, stream_id: int) -> None:
        # RFC 9113 §8.1: the client need not send what nobody will read.
        self._machine.reset(stream_id, ErrorCode.NO_ERROR)
        self.watch_idle()
        self.send_soon()

    def switch_to(
        self,
        exchange: HTTP2Exchange,
        successor: asyncio.BaseProtocol,
        content: list[bytes],
        *,
        ended: bool,
    ) -> None:
        """Finish an exchange's own switch: ``successor`` takes the stream over."""
        transport = self._open_tunnel(exchange.stream_id, content, ended=ended)
        self._report("switched", exchange.request, protocol=exchange.request.protocol or "CONNECT")
        self.server.enlist(successor, transport)
        transport.set_protocol(successor)
        successor.connection_made(transport)
        self.send_soon()

    def _open_tunnel(self, stream_id: int, content: list[bytes], *, ended: bool) -> StreamTransport:
        self._exchanges.pop(stream_id, None)
        transport = StreamTransport(self, stream_id, self._loop)
        self._tunnels[stream_id] = transport
        for piece in content:
            transport.receive(piece)
        if ended:
            transport.receive_eof()
        return transport

    # Events.

    def _on_event(self, event: Any) -> None:
        if type(event) is StreamEvent:
            _ON_STREAM[type(event.event)](self, event.stream_id, event.event)
        else:
            _ON_CONNECTION[type(event)](self, event)

    def _on_request(self, stream_id: int, event: RequestReceived) -> None:
        request = event.request
        if request.method == "CONNECT" and request.protocol is None:
            self._on_connect(stream_id, request)
        elif request.protocol is None and not self.server.registry.requires_switch:
            self._serve(stream_id, request)
        else:
            self._decide(stream_id, request)

    def _decide(self, stream_id: int, request: Request) -> None:
        try:
            decision = decide(
                request,
                self.server.registry,
                secure=self.facts.protected,
                peer=self.facts,
                others_may_know=self.server.handler_takes_offers,
            )
        except LocalProtocolError as error:
            logger.error("%s: cannot be decided: %s", _told(request), error)
            self._answer(stream_id, Response.text(500, "Internal Server Error\n"))
            return
        if isinstance(decision, Select):
            self._select(stream_id, request, decision)
        elif isinstance(decision, Answer):
            logger.info("%s: %s", _told(request), _why(decision.reason, decision.rule))
            self._report("refused", request, decision.reason, decision.rule)
            self._answer(stream_id, decision.response)
        else:
            if request.protocol is None and not self._is_near_a_switch(request):
                self.remember_ordinary(request.target)
            self._serve(stream_id, request)

    def _is_near_a_switch(self, request: Request) -> bool:
        """Whether a resource that insists on a switch may be at the path of ``request``."""
        path = request.path
        required = self.server.registry.required
        return any(upgrade.parameters(path) is not None for upgrade in required)

    def _select(self, stream_id: int, request: Request, selection: Select) -> None:
        hook = getattr(selection.upgrade.successor, "consider", None)
        if hook is not None:
            exchange = self._make_exchange(stream_id, request)
            self.run(exchange, lambda exchange: hook(exchange, selection, b""))
            return
        self._selections[stream_id] = selection
        self._machine.switch(stream_id, switching_response(selection), selection.protocol)

    def _on_switched(self, stream_id: int, event: Switched) -> None:
        selection = self._selections.pop(stream_id, None)
        if selection is None:
            return  # an exchange's own switch: see switch_to
        switching = Switching(
            server=self.server,
            protocol=event.protocol,
            request=event.request,
            response=event.response,
            content=b"",
            selection=selection,
            # Of its own: successors write their chain into it.
            facts=PeerFacts(self._transport, self._chain),
            trailing_data=b"",
        )
        self._report("switched", event.request, protocol=event.protocol)
        transport = self._open_tunnel(stream_id, [], ended=False)
        selection.upgrade.successor.attach(switching, transport)

    def _on_connect(self, stream_id: int, request: Request) -> None:
        handler = self.server.connect
        if handler is not None:
            self.run(self._make_exchange(stream_id, request), handler)
            return
        logger.info("%s: CONNECT is not served here", _told(request))
        text = "Not Implemented: this server makes no tunnels.\n"
        self._answer(stream_id, Response.text(501, text))

    def _answer(self, stream_id: int, response: Response) -> None:
        """Send a short response in full, or end the stream if its window does not take it."""
        self._machine.send_response(stream_id, response, end=True)
        self._machine.reset(stream_id, ErrorCode.NO_ERROR)
        self.watch_idle()

    def _on_complete(self, stream_id: int, event: MessageComplete) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.content_ended(event.trailers)
            return
        tunnel = self._tunnels.get(stream_id)
        if tunnel is not None:
            tunnel.receive_eof()

    def _on_reset(self, event: StreamReset) -> None:
        if event.error is not None:
            logger.info("bad stream from %s: %s", self.facts.peername, event.error)
        tunnel = self._tunnels.get(event.stream_id)
        if tunnel is not None:
            tunnel.lose(reset_error(event.code))
        exchange = self._exchanges.pop(event.stream_id, None)
        if exchange is not None:
            exchange.peer_left()
        self.watch_idle()

    def _on_window(self, event: WindowOpened) -> None:
        tunnel = self._tunnels.get(event.stream_id)
        if tunnel is not None:
            tunnel.window_opened()
            return
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None:
            exchange.window_opened()

    def _on_settings(self, event: SettingsReceived) -> None:
        if not self._begun:
            self._begun = True
            if self._opening is not None:
                self._opening.cancel()
            self.watch_idle()

    def _on_goaway(self, event: GoAway) -> None:
        if event.code != ErrorCode.NO_ERROR:
            logger.info("%s leaves: %r", self.facts.peername, event.debug[:200])

    def _on_failed(self, event: Failed) -> None:
        self._disarm()
        logger.info("bad connection from %s: %s", self.facts.peername, event.error)
        self._leave_all(event.error)

    # The application's side.

    def _serve(self, stream_id: int, request: Request) -> None:
        self._starting.append(self._make_exchange(stream_id, request))

    def _make_exchange(self, stream_id: int, request: Request) -> HTTP2Exchange:
        offer = None if request.protocol is None else offered(request)
        exchange = HTTP2Exchange(self, stream_id, request, offer)
        self._exchanges[stream_id] = exchange
        return exchange

    async def _handle(self, exchange: HTTP2Exchange, handler: Handler) -> None:
        try:
            await handler(exchange)
        except Disconnected:
            logger.debug("%s: the client left", _told(exchange.request))
        except LocalProtocolError as error:
            logger.error("%s: the application: %s", _told(exchange.request), error)
        except Exception:
            logger.exception("%s: the application failed", _told(exchange.request))
        finally:
            if not exchange.response_complete:
                self._finish(exchange)

    def _finish(self, exchange: HTTP2Exchange) -> None:
        """An application that leaves its answer open is answered for."""
        if exchange.left or self._over:
            return
        if exchange.response_started:
            logger.error("%s: the response was left incomplete", _told(exchange.request))
            exchange.abort()
            return
        text = "Internal Server Error: the application gave no answer.\n"
        self._machine.send_response(exchange.stream_id, Response.text(500, text), end=True)
        exchange.response_started = True
        self.response_completed(exchange)
        self.send_soon()

    def _report(
        self, outcome: str, request: Request, reason: str = "", rule: str = "", protocol: str = ""
    ) -> None:
        observer = self.server.observer
        if observer is not None:
            peer = self.facts.peername
            observer(Report(outcome, request, peer, protocol or None, reason, rule))

    # Deadlines.

    def _disarm(self) -> None:
        for deadline in (self._opening, self._idle):
            if deadline is not None:
                deadline.cancel()

    def _too_slow(self) -> None:
        logger.info("%s: the HTTP/2 preface did not arrive in time", self.facts.peername)
        self._machine.close(ErrorCode.SETTINGS_TIMEOUT, "the preface did not arrive in time")
        self.send_soon()


def _told(request: Request) -> str:
    """Name a request in a log line, with the peer's octets escaped (SEC-44)."""
    return f"{request.method} {ascii(request.target)[1:-1]}"


def _why(reason: str, rule: str) -> str:
    return f"{reason} ({rule})" if rule else reason


_ON_STREAM: dict[type[Any], Callable[[HTTP2ServerProtocol, int, Any], None]] = {
    RequestReceived: HTTP2ServerProtocol._on_request,
    MessageComplete: HTTP2ServerProtocol._on_complete,
    Switched: HTTP2ServerProtocol._on_switched,
}
_ON_CONNECTION: dict[type[Any], Callable[[HTTP2ServerProtocol, Any], None]] = {
    StreamReset: HTTP2ServerProtocol._on_reset,
    WindowOpened: HTTP2ServerProtocol._on_window,
    SettingsReceived: HTTP2ServerProtocol._on_settings,
    GoAway: HTTP2ServerProtocol._on_goaway,
    Failed: HTTP2ServerProtocol._on_failed,
    PeerClosed: lambda driver, event: None,  # the machine is closed, the transport follows
}
