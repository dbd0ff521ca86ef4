"""``connect_udp()``: a server that opens UDP tunnels, by a policy (RFC 9298)."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, cast

from switchover.asyncio.connect_handler import Authenticate
from switchover.asyncio.deadlines import Deadline, Deadlines
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.templated_server import Admission, TemplatedSuccessor
from switchover.asyncio.upgrades import Accept
from switchover.http.events import Failed
from switchover.http.messages import Response
from switchover.http2.codes import ErrorCode
from switchover.tunnel.connect import Authority, refused
from switchover.tunnel.policy import DestinationPolicy, Refusal
from switchover.tunnel.templates import ProxyTemplate
from switchover.tunnel.udp import WELL_KNOWN, DatagramReceived, UdpMachine, UdpSide, udp_upgrade
from switchover.upgrade.registry import Upgrade

__all__ = ["UdpRelay", "UdpSuccessor", "connect_udp", "fail_stream", "open_udp_socket"]


def connect_udp(
    policy: DestinationPolicy | None = None,
    *,
    path: str = WELL_KNOWN,
    authenticate: Authenticate | None = None,
    accept: Accept | None = None,
    realm: str = "switchover",
    max_tunnels: int = 1000,
    max_tunnels_per_peer: int | None = 100,
    timeout: float = 10.0,
    idle: float | None = 120.0,
) -> Upgrade:
    """Serve UDP to clients of connect-udp, over HTTP/1.1 and HTTP/2 alike.

    ``policy`` says which destinations are opened: every port of public addresses, unless it
    says otherwise. ``path`` is the URI template of the proxy. ``authenticate`` is asked about
    the Basic credentials of each request; without it, and without an ``accept`` that refuses
    strangers (as in :func:`token`), everybody is let in, which RFC 9298 §7 advises against.
    ``max_tunnels`` are open at once (one more is answered 503), ``max_tunnels_per_peer`` for
    one client address (429). ``timeout`` is for the look-up of names; a tunnel on which
    nothing has moved for ``idle`` seconds ends (RFC 9298 §3.1 asks for two minutes at least).

    Give what this returns to :class:`Server` among its ``upgrades``. Raises
    :class:`LocalProtocolError` for a template that RFC 9298 §2 does not allow.
    """
    admission = Admission(
        policy=policy if policy is not None else DestinationPolicy(ports=None),
        authenticate=authenticate,
        accept=accept,
        realm=realm,
        max_tunnels=max_tunnels,
        max_tunnels_per_peer=max_tunnels_per_peer,
        timeout=timeout,
    )
    # The successor asks its policy itself, behind the question of who asks.
    return udp_upgrade(
        ProxyTemplate(path), policy=_ANY, successor=UdpSuccessor(admission, idle=idle)
    )


_ANY = DestinationPolicy(ports=None, dangerously_allow_internal=True)


class UdpSuccessor(TemplatedSuccessor):
    """Opens a UDP socket for each tunnel, and lives with it."""

    def __init__(self, admission: Admission, *, idle: float | None = 120.0) -> None:
        super().__init__(admission)
        self._idle = idle

    async def reach(self, target: Authority, exchange: Exchange) -> UdpRelay | Response:
        """Look the target up, and connect a UDP socket to one of its addresses."""
        addresses = await self.resolve(target)
        if isinstance(addresses, Response):
            return addresses
        relay = UdpRelay(idle=self._idle)
        problem: OSError | None = None
        for address in addresses:
            try:
                sock = open_udp_socket(address, target.port)
            except OSError as error:
                problem = error
                continue
            if _is_own(sock, address, self.admission.policy):
                sock.close()
                text = f"The destination is not open here: {address} is this host."
                return Refusal(403, text, "destination_ip_prohibited").response(close=False)
            await relay.open(sock)
            return relay
        why = problem.strerror if problem is not None else "no address"
        return refused(502, f"{target}: {why}.", error="destination_ip_unroutable")


def open_udp_socket(address: str, port: int) -> socket.socket:
    """Return a UDP socket connected to ``address``, on which nothing is fragmented.

    The kernel then delivers what comes from that address and port only. Raises
    :class:`OSError` if there is no way to it.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _forbid_fragments(sock)
        # RFC 9298 §3.1: "If the UDP proxy uses a non-connected socket, it MUST validate the
        # IP source address and UDP source port on received packets"; here the kernel does.
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


# RFC 9298 §3.1: "UDP proxies MUST NOT introduce fragmentation at the IP layer … In IPv4, the
# Don't Fragment (DF) bit MUST be set, if possible". The options of each system for IPv4 and
# for IPv6, as (level, name, value); Python has no names for them.
_NO_FRAGMENTS: dict[str, dict[int, list[tuple[int, int, int]]]] = {
    "linux": {
        socket.AF_INET: [(socket.IPPROTO_IP, 10, 2)],  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO; IPV6_DONTFRAG
        socket.AF_INET6: [(socket.IPPROTO_IPV6, 23, 2), (socket.IPPROTO_IPV6, 62, 1)],
    },
    "darwin": {
        socket.AF_INET: [(socket.IPPROTO_IP, 28, 1)],  # IP_DONTFRAG
        socket.AF_INET6: [(socket.IPPROTO_IPV6, 62, 1)],  # IPV6_DONTFRAG
    },
    "win32": {
        socket.AF_INET: [(socket.IPPROTO_IP, 14, 1)],  # IP_DONTFRAGMENT
        socket.AF_INET6: [(socket.IPPROTO_IPV6, 14, 1)],  # IPV6_DONTFRAG
    },
}


def _forbid_fragments(sock: socket.socket) -> None:
    for level, name, value in _NO_FRAGMENTS.get(sys.platform, {}).get(sock.family, ()):
        sock.setsockopt(level, name, value)


def _is_own(sock: socket.socket, address: str, policy: DestinationPolicy) -> bool:
    """Whether the destination is this host itself, by an address the policy does not list."""
    # RFC 9298 §7 asks proxies to keep clients from the proxy's own addresses. A host speaks
    # to its own addresses from that same address.
    if policy.dangerously_allow_internal or sock.getsockname()[0] != address:
        return False
    listed = (ip_network(network) for network in policy.networks)
    return not any(ip_address(address) in network for network in listed)


class UdpRelay(asyncio.Protocol):
    """A UDP socket and the stream it belongs to: they end together.

    Nothing is queued here: what the kernel does not take from us is lost, as it would be on
    the way, and so is what arrives while the client does not read. ``dropped`` counts both,
    and ``datagrams`` what went out to the target and what came from it.
    """

    def __init__(self, *, idle: float | None = None) -> None:
        self.on_end: Callable[[UdpRelay], None] | None = None
        self.dropped = 0
        self.datagrams = [0, 0]
        self._machine = UdpMachine(UdpSide.PROXY)
        self._idle = idle
        self._seen = 0
        self._deadline: Deadline | None = None
        self._transport: asyncio.Transport | None = None
        self._congested = False
        self._sock: socket.socket | None = None
        self._end: asyncio.DatagramTransport | None = None

    @property
    def successor(self) -> UdpRelay:
        """What owns the stream: the relay itself."""
        return self

    async def open(self, sock: socket.socket) -> None:
        """Take ``sock``, which is connected to the target."""
        loop = asyncio.get_running_loop()
        try:
            end, _ = await loop.create_datagram_endpoint(lambda: _UdpEnd(self), sock=sock)
        except BaseException:
            sock.close()
            raise
        self._sock, self._end = sock, end

    def start(self) -> None:
        """Begin to watch over what moves."""
        self._watch()

    def abort(self) -> None:
        """Drop the stream, and the socket with it."""
        self._close_socket()
        if self._transport is not None:
            self._transport.abort()

    def shutdown(self) -> None:
        """End the tunnel in order."""
        self._close_socket()
        if self._transport is not None:
            self._transport.close()

    # The socket's side.

    def datagram_received(self, data: bytes) -> None:
        """Pass on what came from the target."""
        transport = self._transport
        if transport is None or self._congested or transport.is_closing():
            self.dropped += 1
            return
        self.datagrams[1] += 1
        self._machine.send_datagram(data)
        transport.write(b"".join(self._machine.data_to_send()))

    def socket_failed(self, error: OSError) -> None:
        """Take note of what the network says: the port is closed, the host out of reach."""
        if error.errno == errno.EMSGSIZE:
            # RFC 9298 §3.1: what is too large for the path is dropped.
            self.dropped += 1
        else:
            # RFC 9298 §3.1: "If a UDP proxy is notified by its operating system that its
            # socket is no longer usable, it MUST close the request stream": ICMP Destination
            # Unreachable is how that comes about.
            self.shutdown()

    def _send(self, payload: bytes) -> None:
        if self._sock is None:
            return
        try:
            # Not by the transport: some of asyncio's do not send empty datagrams.
            self._sock.send(payload)
        except BlockingIOError:
            self.dropped += 1
        except OSError as error:
            self.socket_failed(error)
        else:
            self.datagrams[0] += 1

    def _close_socket(self) -> None:
        self._sock = None
        if self._end is not None:
            self._end.close()

    # The stream's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._sock is None:
            self.shutdown()  # the target was out of reach before the switch was made

    def data_received(self, data: bytes) -> None:
        self._machine.receive_data(data)
        self._act()

    def _act(self) -> None:
        for event in self._machine.events_received():
            if isinstance(event, DatagramReceived):
                self._send(event.payload)
            elif isinstance(event, Failed):
                self._close_socket()
                if self._transport is not None:
                    fail_stream(self._transport)

    def eof_received(self) -> bool:
        self._machine.receive_eof()
        self._act()
        self.shutdown()
        return False

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False

    def connection_lost(self, error: Exception | None) -> None:
        # RFC 9298 §3.1: "The lifetime of the socket is tied to the request stream."
        self._close_socket()
        if self._deadline is not None:
            self._deadline.cancel()
        callback, self.on_end = self.on_end, None
        if callback is not None:
            callback(self)

    # The idle limit.

    def _watch(self) -> None:
        if self._idle is not None and self._transport is not None:
            deadlines = Deadlines.of(asyncio.get_running_loop())
            self._deadline = deadlines.set(self._idle, self._check_idle)

    def _check_idle(self) -> None:
        moved = sum(self.datagrams)
        if moved == self._seen:
            self.shutdown()
        else:
            self._seen = moved
            self._watch()


class _UdpEnd(asyncio.DatagramProtocol):
    """What the event loop tells of a relay's socket."""

    def __init__(self, relay: UdpRelay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._relay.datagram_received(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._relay.socket_failed(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.shutdown()


def fail_stream(transport: asyncio.Transport) -> None:
    """Abort the stream under a peer that breaks the rules of capsules.

    RFC 9297 §3.3: the message is malformed: over HTTP/2 a stream error PROTOCOL_ERROR, over
    HTTP/1.1 the end of the connection.
    """
    reset: Callable[[ErrorCode], None] | None = getattr(transport, "reset", None)
    if reset is not None:
        reset(ErrorCode.PROTOCOL_ERROR)
    else:
        transport.abort()
