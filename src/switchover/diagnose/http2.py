"""One request in HTTP/2 from the first octet, on a connection of its own.

HTTP/2 is begun without an offer in two ways: in cleartext by prior knowledge (RFC 9113 §3.3),
and over TLS where ALPN has selected ``h2`` (§3.2).
"""

from __future__ import annotations

import asyncio

from switchover.asyncio.dialing import Route
from switchover.diagnose.recording import Recorder, Transcript, connect, note
from switchover.http.events import Failed
from switchover.http.fields import Fields
from switchover.http.messages import Request
from switchover.http.uri import URL
from switchover.http2.client import ClientConnection
from switchover.http2.events import StreamEvent, StreamReset

__all__ = ["ask_in_http2", "plain_request"]


def plain_request(url: URL) -> Request:
    """Return a GET for ``url`` that any server of HTTP/2 takes."""
    scheme = "https" if url.secure else "http"
    fields = Fields([("Accept", "*/*")])
    return Request("GET", url.target, fields, "2", scheme=scheme, authority=url.authority)


async def ask_in_http2(url: URL, route: Route, *, seconds: float = 5.0) -> Transcript:
    """Send a GET to ``url`` in HTTP/2, and say what happened.

    Over TLS nothing is sent unless ALPN selected ``h2`` (RFC 9113 §3.2). The transcript's
    ``protocol`` is ``"HTTP/2"`` once an answer has come in HTTP/2. Raises :class:`OSError` if
    there is no connection.
    """
    transport, recorder = await connect(url, route, seconds=seconds)
    transcript = Transcript()
    try:
        session = transport.get_extra_info("ssl_object")
        if session is not None:
            transcript.alpn = session.selected_alpn_protocol()
            if transcript.alpn != "h2":
                return transcript
        async with asyncio.timeout(seconds):
            await _exchange(transport, recorder, plain_request(url), transcript)
    except TimeoutError:
        pass
    finally:
        transcript.closed = recorder.eof
        transport.abort()
    return transcript


async def _exchange(
    transport: asyncio.Transport, recorder: Recorder, request: Request, transcript: Transcript
) -> None:
    machine = ClientConnection(clock=asyncio.get_running_loop().time)
    machine.send_request(request, end=True)
    complete = False
    while not complete:
        sent = b"".join(machine.data_to_send())
        transcript.sent += sent
        transport.write(sent)
        data = await recorder.more()
        transcript.received = bytes(recorder.received)
        if transcript.received.startswith(b"HTTP/1."):
            return  # an answer in the only language this server knows
        if data:
            machine.receive_data(data)
        else:
            machine.receive_eof()
        complete = _take_events(machine, transcript) or not data
    if transcript.response is not None:
        transcript.protocol = "HTTP/2"


def _take_events(machine: ClientConnection, transcript: Transcript) -> bool:
    complete = False
    for event in machine.events_received():
        if isinstance(event, StreamEvent):
            complete |= note(event.event, transcript, machine.usable)
        elif isinstance(event, StreamReset):
            transcript.error = event.error
            complete = True
        elif isinstance(event, Failed) and transcript.received:
            transcript.error = event.error
            complete = True
    return complete
