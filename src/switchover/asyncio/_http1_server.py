"""The driver of a server's HTTP/1.1 connection.

It carries octets between the transport and :class:`~switchover.http.server.ServerConnection`,
asks :func:`~switchover.upgrade.decisions.decide` about each request, runs the application on
an exchange where the answer is an ordinary one, and hands the transport to the successor where
it is a switch. The rules live in those two; this file knows when, not what.

This file is compiled as ``_http1_server_c``; the C types stand in ``_http1_server_c.pxd``.
Choose through :mod:`switchover.asyncio.http1_server`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from switchover.asyncio import http1_carrier, switching
from switchover.asyncio.exchange import Handler
from switchover.asyncio.http1_exchange import HTTP1Exchange
from switchover.asyncio.reports import Report
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.events import (
    ContentReceived,
    Failed,
    MessageComplete,
    PeerClosed,
    RequestReceived,
    Switched,
)
from switchover.http.messages import Request, Response
from switchover.tunnel.connect import refused
from switchover.upgrade.decisions import Answer, Ordinary, Select, decide, switching_response
from switchover.upgrade.offers import NO_UPGRADE, Offer, examine, offered

if TYPE_CHECKING:
    import asyncio

__all__ = ["HTTP1Driver"]

logger = logging.getLogger("switchover.server")


class HTTP1Driver(http1_carrier.HTTP1Carrier):
    """Drives one HTTP/1.1 connection of ``server`` up to its end or its switch.

    With a ``machine`` made by :meth:`ServerConnection.answering`, the first thing is the answer
    to the request that asked for the switch to what is above us.
    """

    __slots__ = ()

    def act(self, event: Any) -> None:
        kind: Any = type(event)
        if kind is RequestReceived:
            self._on_request(event)
        elif kind is MessageComplete:
            self._on_complete(event)
        elif kind is ContentReceived:
            self._on_content(event)
        elif kind is Switched:
            self._on_switched(event)
        elif kind is Failed:
            self._on_failed(event)
        elif kind is PeerClosed:
            self._on_peer_closed()

    def _on_request(self, event: RequestReceived) -> None:
        self._disarm()
        request = event.request
        if self._owed:
            # The answer to the request that asked for the switch to what is above us.
            self._owed = False
            self._answer_inside(request)
            return
        if request.method == "CONNECT":
            self._on_connect(request)
            return
        registry = self.server.registry
        examined = examine(request)
        asks = examined is not NO_UPGRADE
        if not asks and not registry.required:
            self._start_exchange(request)
            return
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
            logger.info("%s: %s", _told(request), _why(decision.reason, decision.rule))
            required = decision.response.status == 426
            self._report("required" if required else "refused", request, decision)
            self._answer(request, decision.response)
        else:
            if offer is not None:
                # Not declined yet: the application may take it up, through its exchange.
                asked = self.server.handler_takes_offers
                self._open_offer = (request, None if asked else decision)
            elif asks:
                self._declined(request, decision.reason, decision.rule)
            self._start_exchange(request, offer)

    def _offer_settled(self, exchange: HTTP1Exchange) -> None:
        """Report an offer that the application could have taken up, and has not."""
        open_offer, self._open_offer = self._open_offer, None
        if open_offer is None:
            return
        request, decision = open_offer
        if decision is not None:
            self._declined(request, decision.reason, decision.rule)
        elif exchange.response_status:
            self._declined(request, f"the application answered {exchange.response_status}", "")
        else:
            self._declined(request, "the client left before the answer", "")

    def _declined(self, request: Request, reason: str, rule: str) -> None:
        logger.info("%s: declined: %s", _told(request), _why(reason, rule))
        self._report("declined", request, Ordinary(reason, rule))

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
        self._arm_idle()

    def _answer_inside(self, request: Request) -> None:
        """Answer the request that brought us here; what it offered has been taken up."""
        registry = self.server.registry
        decision = decide(
            request, registry, secure=self._secure, peer=self.facts, examined=NO_UPGRADE
        )
        if isinstance(decision, Answer):
            self._answer(request, decision.response)
        else:
            self._start_exchange(request)

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
        if self._content is None:
            self._content = []
        self._content.append(event.data)
        if self._content_octets > self._selection.upgrade.content_limit:
            self._decline_for_content()

    def _decline_for_content(self) -> None:
        selection, self._selection = self._selection, None
        assert selection is not None
        if selection.upgrade.required:
            limit = selection.upgrade.content_limit
            text = f"A request that switches here has {limit} octets of content at most.\n"
            self._content, self._content_octets = None, 0
            self._disarm()
            assert self._machine.request is not None
            self._answer(self._machine.request, Response.text(413, text))
            return
        # A declined upgrade loses nothing: what was read is the exchange's content.
        content, self._content, self._content_octets = self._content or (), None, 0
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
            else:
                # Answered already, by a refusal or by an application that did not wait.
                self._arm_idle()
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
        content = b"".join(self._content or ())
        self._content, self._content_octets = None, 0
        exchange = self._make_exchange(request, offered(request))
        exchange.content_ended(event.trailers)
        self._open_offer = (request, None)
        self._run(exchange, lambda exchange: hook(exchange, selection, content))

    def _on_switched(self, event: Switched) -> None:
        selection, self._selection = self._selection, None
        assert selection is not None
        # Field by field, and the facts when they are asked for: half of them nobody reads.
        told = switching.Switching.__new__(switching.Switching)
        told.server = self.server
        told.protocol = event.protocol
        told.request = event.request
        told.response = event.response
        told.content = b"".join(self._content) if self._content is not None else b""
        told.selection = selection
        told.trailing_data = event.trailing_data
        told._facts = None
        told._driver = self
        self._content = None
        if self.server.observer is not None:
            self._report("switched", event.request, None, event.protocol)
        self._leave()
        selection.upgrade.successor.attach(told, self._transport)

    def switch_to(self, successor: asyncio.BaseProtocol) -> None:
        """Finish an exchange's own switch: ``successor`` takes the transport over."""
        (event,) = (e for e in self._machine.events_received() if isinstance(e, Switched))
        transport = self._transport
        assert transport is not None
        self._open_offer = None
        self._report("switched", event.request, None, event.protocol)
        self._leave()
        self.server.enlist(successor, transport)
        switching.hand_over(transport, successor, event.trailing_data)
        # The peer may have ended its side while the application made up its mind.
        if self._eof and not getattr(successor, "eof_received", lambda: False)():
            transport.close()

    def _on_failed(self, event: Failed) -> None:
        self._disarm()
        logger.info("bad request from %s: %s", self._peername, event.error)
        if self.exchange is not None:
            self.exchange.peer_left()

    def _on_peer_closed(self) -> None:
        self._disarm()
        if self.exchange is None:
            self._close()

    # The application's side.

    def _make_exchange(self, request: Request, offer: Offer | None = None) -> HTTP1Exchange:
        driver: Any = self  # what derives from this is a protocol
        self.exchange = HTTP1Exchange(driver, request, offer)
        return self.exchange

    def _start_exchange(self, request: Request, offer: Offer | None = None) -> HTTP1Exchange:
        exchange = self._make_exchange(request, offer)
        self._run(exchange, self.server.handler_for(request))
        return exchange

    def _run(self, exchange: HTTP1Exchange, handler: Handler) -> None:
        exchange.run(handler)

    def handled(self, exchange: HTTP1Exchange, error: BaseException | None) -> None:
        """Take note that the handler of ``exchange`` is done, or has failed with ``error``."""
        if isinstance(error, Disconnected):
            logger.debug("%s: the client left", _told(exchange.request))
        elif isinstance(error, LocalProtocolError):
            logger.error("%s: the application: %s", _told(exchange.request), error)
        elif error is not None:
            logger.error("%s: the application failed", _told(exchange.request), exc_info=error)
        self._finish(exchange)

    def _finish(self, exchange: HTTP1Exchange) -> None:
        """An application that leaves its answer open is answered for."""
        if exchange.response_complete:
            return
        if exchange.left or self._over:
            self._offer_settled(exchange)
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
        if self._open_offer is not None:
            self._offer_settled(exchange)
        self.server.log_access(exchange, self)
        if self._closing:
            self._machine.stop_keep_alive()
        self._arm_idle()


def _told(request: Request) -> str:
    """Name a request in a log line, with the peer's octets escaped (SEC-44)."""
    return f"{request.method} {ascii(request.target)[1:-1]}"


def _why(reason: str, rule: str) -> str:
    return f"{reason} ({rule})" if rule else reason
