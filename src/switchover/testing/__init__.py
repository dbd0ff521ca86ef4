"""For tests of what runs on a connection: pipes, pairs, splits and peers that misbehave.

Everything works on *machines*: objects with ``receive_data``, ``receive_eof``,
``events_received`` and ``data_to_send``, which all sans-I/O rooms share. Cut the octets
wherever you like and see that the events stay the same (:func:`every_split`,
:func:`replay`), join two machines and look at both ends (:class:`ConnectionPair`), or put
a script in the place of one (:class:`ScriptedPeer`). What needs an event loop is in
``switchover.testing.asyncio``. Imports the sans-I/O rooms only.
"""

from __future__ import annotations

from switchover.testing.misbehaving import (
    Eof,
    Expect,
    ScriptedPeer,
    Send,
    misbehaving_servers,
)
from switchover.testing.pairs import ConnectionPair
from switchover.testing.pipes import Cut, Machine, Wire, at, one_octet, whole
from switchover.testing.splits import Replayed, every_split, feed, merged, replay

__all__ = [
    "ConnectionPair",
    "Cut",
    "Eof",
    "Expect",
    "Machine",
    "Replayed",
    "ScriptedPeer",
    "Send",
    "Wire",
    "at",
    "every_split",
    "feed",
    "merged",
    "misbehaving_servers",
    "one_octet",
    "replay",
    "whole",
]
