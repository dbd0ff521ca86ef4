"""connect-udp: UDP through an HTTP proxy, RFC 9298, as updated by RFC 9931 §6.3.

Datagrams travel in DATAGRAM capsules, each behind a context ID; 0 is a UDP payload.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from switchover.errors import LocalProtocolError, RemoteProtocolError, TunnelClosed
from switchover.http.events import Failed
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.tunnel.capsules import (
    DATAGRAM,
    Capsule,
    CapsuleEvent,
    CapsuleParser,
    OversizedCapsule,
    encode_capsule,
    encode_varint,
    read_varint,
)
from switchover.tunnel.machine import EndReceived
from switchover.tunnel.policy import DestinationPolicy
from switchover.tunnel.templated import (
    check_templated_response,
    templated_request,
    templated_upgrade,
)
from switchover.tunnel.templates import ProxyTemplate
from switchover.upgrade.registry import Upgrade

__all__ = [
    "CONNECT_UDP",
    "MAX_PAYLOAD",
    "WELL_KNOWN",
    "ContextDatagramReceived",
    "DatagramReceived",
    "UdpEvent",
    "UdpMachine",
    "UdpSide",
    "check_udp_response",
    "udp_request",
    "udp_upgrade",
]

CONNECT_UDP = "connect-udp"
#: The path of the default template (RFC 9298 §3).
WELL_KNOWN = "/.well-known/masque/udp/{target_host}/{target_port}/"
#: The most octets a UDP payload can have (RFC 9298 §5).
MAX_PAYLOAD = 65527
_MAX_CONTEXT = 8  # octets of a context ID, if it is not in its shortest form


def udp_request(
    template: ProxyTemplate, host: str, port: int, *, fields: Fields | None = None
) -> Request:
    """Return the HTTP/1.1 request for UDP to ``host`` and ``port`` (RFC 9298 §3.2).

    Raises :class:`LocalProtocolError` if that is no destination; nothing is sent then.
    """
    return templated_request(template, CONNECT_UDP, host, port, fields=fields)


def check_udp_response(request: Request, response: Response) -> str:
    """Return the protocol if ``response`` opens the tunnel (RFC 9298 §3.3, §3.5).

    Raises :class:`RemoteProtocolError` otherwise, whatever the status: abort the connection.
    Made for ``ClientConnection.send_request``; ask it about final responses too.
    """
    return check_templated_response(request, response, CONNECT_UDP)


def udp_upgrade(
    template: ProxyTemplate,
    *,
    policy: DestinationPolicy | None = None,
    successor: Any = None,
    authorize: Callable[[Request], Response | None] | None = None,
) -> Upgrade:
    """Return the registration of a UDP proxy; see :func:`templated_upgrade`.

    Without a ``policy`` every port of public addresses is open: DNS and QUIC use many.
    """
    return templated_upgrade(
        template,
        CONNECT_UDP,
        policy=policy if policy is not None else DestinationPolicy(ports=None),
        successor=successor,
        authorize=authorize,
    )


class UdpSide(enum.Enum):
    """Which end of the tunnel: it decides who may make which context IDs."""

    CLIENT = 0
    PROXY = 1


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """A UDP payload, possibly empty."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class ContextDatagramReceived:
    """A datagram in a context that this end knows; what it holds is an extension's affair."""

    context: int
    payload: bytes


UdpEvent = DatagramReceived | ContextDatagramReceived | EndReceived | Failed


class UdpMachine:
    """One end of a connect-udp tunnel over a byte stream.

    ``trailing_data`` are the octets that arrived with the switch. ``dropped`` counts the
    datagrams in contexts this end does not know. After ``Failed`` the stream is to be
    aborted, over HTTP/1.1 with its connection; nothing more is read.
    """

    def __init__(self, side: UdpSide, *, trailing_data: bytes = b"") -> None:
        self.side = side
        self.dropped = 0
        self._parser = CapsuleParser(max_value=MAX_PAYLOAD + _MAX_CONTEXT)
        self._events: list[UdpEvent] = []
        self._output: list[bytes] = []
        # RFC 9298 §4: 0 is the UDP payload; clients make even IDs, proxies odd ones.
        self._next_context = 2 if side is UdpSide.CLIENT else 1
        self._contexts: set[int] = set()
        self._ended = False
        self._eof_to_send = False
        self._failed = False
        if trailing_data:
            self.receive_data(trailing_data)

    # Receiving.

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets of the stream."""
        self._parser.receive_data(data)
        self._digest()

    def receive_eof(self) -> None:
        """Take note that the peer has ended the stream."""
        self._parser.receive_eof()
        self._digest()
        if not self._failed:
            self._events.append(EndReceived())

    def events_received(self) -> list[UdpEvent]:
        """Return, once, what has happened since the last call."""
        events, self._events = self._events, []
        return events

    def _digest(self) -> None:
        for event in self._parser.events_received():
            if self._failed:
                return
            try:
                self._take(event)
            except RemoteProtocolError as error:
                self._parser.fail(error)
                self._parser.events_received()
                self._fail(Failed(error))

    def _take(self, event: CapsuleEvent) -> None:
        if isinstance(event, Failed):
            self._fail(event)
        elif isinstance(event, OversizedCapsule):
            self._take_oversized(event)
        else:
            assert isinstance(event, Capsule)  # no type is streamed
            self._take_datagram(event.value)

    def _fail(self, event: Failed) -> None:
        self._failed = True
        self._events.append(event)

    def _take_oversized(self, capsule: OversizedCapsule) -> None:
        context = read_varint(capsule.beginning)
        assert context is not None  # eight octets hold any integer
        if context[0] == 0:
            raise _too_long(capsule.length - context[1])
        self.dropped += 1

    def _take_datagram(self, value: bytes) -> None:
        # RFC 9298 §4: "all HTTP Datagrams … start with a Context ID field".
        read = read_varint(value)
        if read is None:
            raise RemoteProtocolError("a datagram without a context ID", rule="RFC 9298 §4")
        context, start = read
        if context == 0:
            # RFC 9298 §5: "If an endpoint receives an HTTP Datagram with the Context ID set
            # to zero … whose payload is larger than 65527, it MUST abort the stream."
            if len(value) - start > MAX_PAYLOAD:
                raise _too_long(len(value) - start)
            self._events.append(DatagramReceived(value[start:]))
        elif context in self._contexts:
            self._events.append(ContextDatagramReceived(context, value[start:]))
        else:
            # RFC 9298 §5: with an unknown context ID "the receiver SHALL either drop that
            # datagram silently or buffer it temporarily": dropped, so nothing can fill up.
            self.dropped += 1

    # Sending.

    def send_datagram(self, payload: bytes) -> None:
        """Send a UDP payload, possibly empty.

        Raises :class:`LocalProtocolError` for more than :data:`MAX_PAYLOAD` octets, and
        :class:`TunnelClosed` after :meth:`send_eof`.
        """
        # RFC 9298 §5: "Endpoints MUST NOT send" such a payload.
        if len(payload) > MAX_PAYLOAD:
            raise LocalProtocolError(f"a UDP payload of {len(payload)} octets", rule="RFC 9298 §5")
        self._send(0, payload)

    def send_context_datagram(self, context: int, payload: bytes) -> None:
        """Send a datagram in a context that both ends know."""
        if context not in self._contexts:
            raise LocalProtocolError(f"context {context} is not open", rule="RFC 9298 §4")
        self._send(context, payload)

    def _send(self, context: int, payload: bytes) -> None:
        if self._ended or self._failed:
            raise TunnelClosed("nothing can be sent: this end of the tunnel is closed")
        self._output.append(encode_capsule(DATAGRAM, encode_varint(context) + payload))

    def open_context(self) -> int:
        """Return a context ID of ours that was never used; how the peer learns is not said."""
        # RFC 9298 §4: IDs "MUST NOT be re-allocated".
        context = self._next_context
        self._next_context += 2
        self._contexts.add(context)
        return context

    def accept_context(self, context: int) -> None:
        """Take up a context that the peer has made and announced.

        Raises :class:`RemoteProtocolError` if that ID is not the peer's to make.
        """
        # RFC 9298 §4: "Even-numbered Context IDs are client-allocated, and odd-numbered
        # Context IDs are proxy-allocated."
        if context <= 0 or context % 2 == self.side.value or context in self._contexts:
            raise RemoteProtocolError(
                f"context ID {context} is not the peer's to make", rule="RFC 9298 §4"
            )
        self._contexts.add(context)

    def close_context(self, context: int) -> None:
        """Forget a context: datagrams in it are dropped from now on."""
        self._contexts.discard(context)

    def send_eof(self) -> None:
        """End our direction of the stream."""
        if not self._ended:
            self._ended = self._eof_to_send = True

    def data_to_send(self) -> list[bytes]:
        """Return, once, what is to be written."""
        output, self._output = self._output, []
        return output

    def eof_to_send(self) -> bool:
        """Return, once, whether to end our direction behind :meth:`data_to_send`."""
        eof, self._eof_to_send = self._eof_to_send, False
        return eof


def _too_long(size: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"a UDP payload of {size} octets", rule="RFC 9298 §5")
