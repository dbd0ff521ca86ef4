"""What every other token becomes: octet tunnels, CONNECT, capsules and their protocols.

:class:`TunnelMachine` is an octet tunnel whose directions end independently. ``connect``
holds both ends of CONNECT (RFC 9110 §9.3.6, RFC 9112 §3.2.3, RFC 9931 §8), ``policy`` says
which destinations a proxy opens, ``capsules`` is the Capsule Protocol (RFC 9297), ``udp``
connect-udp (RFC 9298), ``connect_tcp`` its sibling for TCP (an approved draft). Imports
``errors``, ``http`` and ``upgrade`` only, and resolves no names.
"""

from __future__ import annotations

from switchover.tunnel.capsules import Capsule, CapsuleParser, CapsulePart, OversizedCapsule
from switchover.tunnel.connect import (
    Authority,
    check_connect_response,
    connect_request,
    established,
    parse_authority,
    read_connect,
    refused,
)
from switchover.tunnel.machine import (
    Broken,
    DataReceived,
    EndReceived,
    TunnelMachine,
    TunnelState,
)
from switchover.tunnel.policy import DestinationPolicy, Refusal
from switchover.tunnel.templates import ProxyTemplate
from switchover.tunnel.udp import DatagramReceived, UdpMachine, UdpSide

__all__ = [
    "Authority",
    "Broken",
    "Capsule",
    "CapsuleParser",
    "CapsulePart",
    "DataReceived",
    "DatagramReceived",
    "DestinationPolicy",
    "EndReceived",
    "OversizedCapsule",
    "ProxyTemplate",
    "Refusal",
    "TunnelMachine",
    "TunnelState",
    "UdpMachine",
    "UdpSide",
    "check_connect_response",
    "connect_request",
    "established",
    "parse_authority",
    "read_connect",
    "refused",
]
