"""One message to many WebSocket connections, put into its frame once."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

from switchover.websocket.close_codes import CloseCode
from switchover.websocket.connection import Connection, Side

if TYPE_CHECKING:
    from switchover.asyncio.websocket import Data, WebSocket

__all__ = ["Broadcast", "SlowReader", "broadcast"]


class SlowReader(Enum):
    """What becomes of a connection whose peer has not read what was sent before."""

    #: It gets the message like the others; awaiting the broadcast waits for it.
    WAIT = "wait"
    #: It misses this message.
    DROP = "drop"
    #: It is closed with 1008.
    DISCONNECT = "disconnect"


class Broadcast(Awaitable[None]):
    """What a broadcast has done; awaiting it waits until all peers can take more."""

    __slots__ = ("sent", "slow")

    def __init__(self) -> None:
        #: To how many connections the message was sent.
        self.sent = 0
        #: The connections that were behind before it.
        self.slow: list[WebSocket] = []

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        for ws in self.slow:
            await ws.wait_writable()


def broadcast(
    connections: Iterable[WebSocket], message: Data, *, slow: SlowReader = SlowReader.WAIT
) -> Broadcast:
    """Send ``message`` to all ``connections`` that are open, ``str`` as text, else as binary.

    Nothing is raised for a connection that is closed, or in the middle of a fragmented message
    of its own. ``slow`` says what to do with peers that do not keep up; with
    :attr:`SlowReader.WAIT`, ``await`` the result, or the memory for what they have not read
    grows.
    """
    done = Broadcast()
    frame = _frame(message)
    for ws in list(connections):
        if ws._take_frame(frame):
            done.sent += 1
            continue
        machine = ws.machine
        if not machine._sendable or machine._sending:
            continue
        if ws.writing_paused:
            done.slow.append(ws)
            if slow is SlowReader.DISCONNECT:
                ws.fail(CloseCode.POLICY_VIOLATION, "too slow for a broadcast")
            if slow is not SlowReader.WAIT:
                continue
        # A frame of its own: RFC 6455 §5.3 wants a new key in each, and an extension may
        # remember what it has sent before.
        ws.send_nowait(message)
        done.sent += 1
    return done


#: Up to so many octets, header and payload are joined once instead of by each connection.
_JOINED = 65536


def _frame(message: Data) -> list[bytes]:
    machine = Connection(Side.SERVER)
    machine.send_message(message)
    pieces = machine.data_to_send()
    return pieces if sum(map(len, pieces)) > _JOINED else [b"".join(pieces)]
