"""One request on a connection of its own, with every octet kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from switchover.asyncio.dialing import Route, open_connection
from switchover.errors import ProtocolError
from switchover.http.client import ClientConnection
from switchover.http.events import (
    ContentReceived,
    Failed,
    InterimResponseReceived,
    MessageComplete,
    ResponseReceived,
    Switched,
)
from switchover.http.messages import Request, Response
from switchover.http.uri import URL

__all__ = ["Recorder", "Transcript", "ask", "connect", "note"]

#: Octets kept of each direction, and read of an answer.
LIMIT = 64 * 1024


@dataclass(slots=True)
class Transcript:
    """What was sent and received, and what it meant.

    ``response`` is the final response or the 101, ``interim`` what came before it. ``kept``
    says whether the connection could carry another request. ``error`` is what the answer did
    wrong. ``alpn`` is the protocol that the TLS handshake selected, ``closed`` that the peer
    closed the connection. ``sent`` and ``received``
    are what was inside TLS, 64 KiB of each at most.
    """

    sent: bytes = b""
    received: bytes = b""
    response: Response | None = None
    interim: tuple[Response, ...] = ()
    protocol: str | None = None
    trailing_data: bytes = b""
    kept: bool = False
    error: ProtocolError | None = None
    alpn: str | None = None
    closed: bool = False


class Recorder(asyncio.Protocol):
    """Keeps what arrives, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.eof = False
        self._arrived = asyncio.Event()
        self._taken = 0

    def data_received(self, data: bytes) -> None:
        self.received += data[: max(0, LIMIT - len(self.received))]
        self._arrived.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.eof = True
        self._arrived.set()

    async def more(self) -> bytes:
        """Return what has arrived since the last call, ``b""`` at the end."""
        while self._taken == len(self.received) and not self.eof:
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self.received[self._taken :])
        self._taken += len(data)
        return data


async def connect(url: URL, route: Route, *, seconds: float) -> tuple[asyncio.Transport, Recorder]:
    """Connect to the server of ``url``. Raises :class:`OSError` if there is no connection."""
    try:
        async with asyncio.timeout(seconds):
            transport, recorder = await open_connection(url, route, Recorder)
    except TimeoutError as error:
        where = f"{url.host} port {url.port}"
        raise TimeoutError(f"no connection to {where} within {seconds:g} s") from error
    assert isinstance(recorder, Recorder)
    return transport, recorder


async def ask(
    url: URL,
    request: Request,
    route: Route,
    *,
    check: Callable[[Request, Response], str] | None = None,
    seconds: float = 5.0,
) -> Transcript:
    """Send ``request`` to ``url``, read the answer to its end, and say what happened.

    ``check`` judges a 101. Raises :class:`OSError` if there is no connection; a peer that
    does not answer within ``seconds`` leaves a transcript without response.
    """
    transport, recorder = await connect(url, route, seconds=seconds)
    machine = ClientConnection()
    machine.send_request(request, end=True, switch=check)
    transcript = Transcript(sent=b"".join(machine.data_to_send()))
    transport.write(transcript.sent)
    try:
        async with asyncio.timeout(seconds):
            await _read_answer(machine, recorder, transcript)
    except TimeoutError:
        pass
    finally:
        transcript.closed = recorder.eof
        transport.abort()
    transcript.received = bytes(recorder.received)
    return transcript


async def _read_answer(
    machine: ClientConnection, recorder: Recorder, transcript: Transcript
) -> None:
    while data := await recorder.more():
        machine.receive_data(data)
        if _take_events(machine, transcript):
            return
    machine.receive_eof()
    _take_events(machine, transcript)


def _take_events(machine: ClientConnection, transcript: Transcript) -> bool:
    return any([note(event, transcript, machine.reusable) for event in machine.events_received()])


def note(event: object, transcript: Transcript, reusable: Callable[[], bool]) -> bool:
    """Note what has happened; return whether the answer is complete."""
    if isinstance(event, InterimResponseReceived):
        transcript.interim = (*transcript.interim, event.response)
    elif isinstance(event, ResponseReceived):
        transcript.response = event.response
    elif isinstance(event, ContentReceived) and transcript.response is not None:
        transcript.response.content += event.data
    elif isinstance(event, Switched):
        transcript.response, transcript.protocol = event.response, event.protocol
        transcript.trailing_data = event.trailing_data
        return True
    elif isinstance(event, Failed):
        transcript.error = event.error
        return True
    elif isinstance(event, MessageComplete):
        transcript.kept = reusable()
        return True
    return False
