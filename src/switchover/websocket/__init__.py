"""What ``websocket`` becomes after the switch, sans-I/O (RFC 6455, RFC 7692).

The opening handshake (RFC 6455 §4) negotiates a connection; :class:`Connection` is the machine
of the data phase: framing (§5), messages (§6) and closing (§7). Extensions (§9) work through
one interface that permessage-deflate itself uses. Of this package, this room may import
:mod:`switchover.errors`, :mod:`switchover.http` and :mod:`switchover.upgrade`; no event loop,
no socket, no clock.
"""

from __future__ import annotations

from switchover.websocket.close_codes import CloseCode
from switchover.websocket.connection import Connection, Side, State
from switchover.websocket.events import Close, Event, Failed, Fragment, Ping, Pong
from switchover.websocket.framing import COMPILED
from switchover.websocket.opcodes import Opcode

__all__ = [
    "COMPILED",
    "Close",
    "CloseCode",
    "Connection",
    "Event",
    "Failed",
    "Fragment",
    "Opcode",
    "Ping",
    "Pong",
    "Side",
    "State",
]
