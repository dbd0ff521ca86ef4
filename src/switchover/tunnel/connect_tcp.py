"""connect-tcp: TCP through an HTTP proxy at a URI Template.

Follows an approved draft, draft-ietf-httpbis-connect-tcp, that is no RFC yet. The capsule
types are the draft's provisional ones and will change when numbers are assigned; both are
arguments for that reason. Unlike a bare tunnel this one tells an end from a loss: the
stream carries DATA capsules, and FINAL_DATA where TCP has its FIN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from switchover.errors import RemoteProtocolError
from switchover.http.events import Failed
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.tunnel.capsules import CapsuleEvent, CapsuleParser, CapsulePart, encode_capsule
from switchover.tunnel.machine import TunnelEvent, TunnelMachine, TunnelState
from switchover.tunnel.policy import DestinationPolicy
from switchover.tunnel.templated import (
    check_templated_response,
    templated_request,
    templated_upgrade,
)
from switchover.tunnel.templates import ProxyTemplate
from switchover.upgrade.registry import Upgrade

__all__ = [
    "CONNECT_TCP",
    "DATA",
    "FINAL_DATA",
    "ConnectTcpMachine",
    "check_tcp_response",
    "tcp_request",
    "tcp_upgrade",
]

CONNECT_TCP = "connect-tcp"
#: Provisional capsule types: "DATA-12" and "FINAL_DATA-12" of the draft.
DATA, FINAL_DATA = 0x2028D7F2, 0x2028D7F3
_RULE = "draft-ietf-httpbis-connect-tcp §3"


def tcp_request(
    template: ProxyTemplate, host: str, port: int, *, fields: Fields | None = None
) -> Request:
    """Return the HTTP/1.1 request for TCP to ``host`` and ``port``.

    Raises :class:`LocalProtocolError` if that is no destination; nothing is sent then.
    """
    return templated_request(template, CONNECT_TCP, host, port, fields=fields)


def check_tcp_response(request: Request, response: Response) -> str:
    """Return the protocol if ``response`` opens the tunnel, else raise RemoteProtocolError."""
    return check_templated_response(request, response, CONNECT_TCP)


def tcp_upgrade(
    template: ProxyTemplate,
    *,
    policy: DestinationPolicy | None = None,
    successor: Any = None,
    authorize: Callable[[Request], Response | None] | None = None,
) -> Upgrade:
    """Return the registration of a TCP proxy; see :func:`templated_upgrade`.

    The TCP connection has to be up before the 101 is sent.
    """
    return templated_upgrade(
        template,
        CONNECT_TCP,
        policy=policy if policy is not None else DestinationPolicy(),
        successor=successor,
        authorize=authorize,
    )


class ConnectTcpMachine:
    """One end of a connect-tcp tunnel: a :class:`TunnelMachine` with capsules around it.

    The same methods and events; :class:`Failed` is added for a peer that breaks the rules of
    capsules, and the end of the stream without FINAL_DATA is a broken tunnel.
    """

    def __init__(
        self,
        *,
        trailing_data: bytes = b"",
        data_type: int = DATA,
        final_type: int = FINAL_DATA,
    ) -> None:
        self._tunnel = TunnelMachine(CONNECT_TCP)
        self._data_type = data_type
        self._final_type = final_type
        self._parser = CapsuleParser(types=(), streamed=(data_type, final_type))
        self._failures: list[Failed] = []
        if trailing_data:
            self.receive_data(trailing_data)

    @property
    def state(self) -> TunnelState:
        """Which directions are still open."""
        return self._tunnel.state

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets of the stream."""
        self._parser.receive_data(data)
        self._digest()

    def receive_eof(self) -> None:
        """Take note of the end of the stream, which is not the end of the data."""
        self._parser.receive_eof()
        self._digest()
        # draft §3.4: without FINAL_DATA the data is truncated; behind it nothing is missing.
        if self.state in (TunnelState.OPEN, TunnelState.LOCAL_ENDED):
            self.connection_lost("the stream ended")

    def connection_lost(self, cause: str = "the connection was lost") -> None:
        """Take note that the connection is gone."""
        self._tunnel.connection_lost(cause)

    def events_received(self) -> list[TunnelEvent | Failed]:
        """Return, once, what has happened since the last call."""
        failures, self._failures = self._failures, []
        return [*self._tunnel.events_received(), *failures]

    def _digest(self) -> None:
        for event in self._parser.events_received():
            self._take(event)

    def _take(self, event: CapsuleEvent) -> None:
        if isinstance(event, Failed):
            self._fail(event)
        elif isinstance(event, CapsulePart) and not self._failures:
            self._take_part(event)

    def _take_part(self, part: CapsulePart) -> None:
        if self.state in (TunnelState.REMOTE_ENDED, TunnelState.CLOSED):
            # draft §3: no DATA and no FINAL_DATA after FINAL_DATA.
            error = RemoteProtocolError("data behind FINAL_DATA", rule=_RULE)
            self._parser.fail(error)
            self._parser.events_received()
            self._fail(Failed(error))
            return
        # draft §3: payload is passed on without waiting for the whole capsule.
        self._tunnel.receive_data(part.data)
        if part.type == self._final_type and part.end:
            self._tunnel.receive_eof()

    def _fail(self, event: Failed) -> None:
        self._failures.append(event)
        self._tunnel.abort()

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send octets. Raises :class:`TunnelClosed` once our direction has ended."""
        if data:
            self._tunnel.send(encode_capsule(self._data_type, bytes(data)))

    def send_eof(self) -> None:
        """End our direction with FINAL_DATA; the stream itself stays open."""
        if self.state in (TunnelState.OPEN, TunnelState.REMOTE_ENDED):
            self._tunnel.send(encode_capsule(self._final_type, b""))
            self._tunnel.send_eof()

    def abort(self) -> None:
        """Give the tunnel up."""
        self._tunnel.abort()

    def data_to_send(self) -> list[bytes]:
        """Return, once, what is to be written."""
        return self._tunnel.data_to_send()

    def close_expected(self) -> bool:
        """Whether to close the stream once everything is flushed."""
        return self._tunnel.close_expected()
