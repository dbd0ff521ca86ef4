"""Properties: chunking, and conversations with another implementation (the h2 library)."""

from __future__ import annotations

import itertools
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given
from hypothesis import strategies as st

from switchover.http.events import ContentReceived, MessageComplete, RequestReceived
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2 import PREFACE, ClientConnection, ServerConnection
from switchover.http2.events import StreamEvent, WindowOpened


def clock() -> float:
    return 0.0


def conversation() -> bytes:
    """All that a client of another make sends in three requests, one of them faulty."""
    client = h2.connection.H2Connection(
        h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    )
    client.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/x")]
    client.send_headers(1, head)
    client.send_data(1, b"hello" * 100, pad_length=3)
    client.ping(b"12345678")
    client.send_headers(3, [*head, ("connection", "close")], end_stream=True)
    client.send_headers(5, [*head, ("x-large", "v" * 20000)], end_stream=True)
    client.send_data(1, b"world")
    client.send_headers(1, [("trailer", "1")], end_stream=True)
    client.increment_flow_control_window(1000)
    client.reset_stream(5)
    return client.data_to_send()


OCTETS = conversation()


def heard(pieces: list[bytes]) -> tuple[list[Any], bytes]:
    """Return the events and the octets that answer."""
    machine = ServerConnection(clock=clock)
    events: list[Any] = []
    for piece in pieces:
        machine.receive_data(piece)
        events += machine.events_received()
    # Exceptions are equal only to themselves, so the words are compared.
    return [repr(event) for event in events], b"".join(machine.data_to_send())


WHOLE = heard([OCTETS])


def test_the_conversation_is_worth_cutting() -> None:
    told = "\n".join(WHOLE[0])
    assert told.count("RequestReceived") == 2
    assert told.count("ContentReceived") == 2
    assert told.count("StreamReset") == 1


@given(st.lists(st.integers(0, len(OCTETS)), max_size=30))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    """H2C-16, RFC 9113 §4.1: where octets are cut means nothing."""
    edges = [0, *sorted(cuts), len(OCTETS)]
    pieces = [OCTETS[start:end] for start, end in itertools.pairwise(edges)]
    assert heard(pieces) == WHOLE


def test_single_octets() -> None:
    assert heard([bytes([octet]) for octet in OCTETS]) == WHOLE


def test_any_kind_of_buffer() -> None:
    assert heard([bytearray(OCTETS[:100]), memoryview(OCTETS)[100:]]) == WHOLE  # type: ignore[list-item]  # that is the point


@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_octets_never_raise(octets: bytes, preface: bool) -> None:
    """Nothing that a peer sends makes a machine raise."""
    greeting = PREFACE + bytes(3) + b"\4\0\0\0\0\0"
    server = ServerConnection(clock=clock)
    server.receive_data((greeting if preface else b"") + octets)
    client = ClientConnection(clock=clock)
    client.send_request(Request("GET", "/", authority="a"), end=True)
    client.receive_data((greeting[len(PREFACE) :] if preface else b"") + octets)
    for machine in (server, client):
        machine.events_received()
        machine.data_to_send()
        machine.receive_eof()


FRAMES = st.tuples(
    st.integers(0, 10),
    st.integers(0, 0x2F),
    st.integers(0, 8),
    st.binary(max_size=12) | st.just(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")),
)


@given(st.lists(FRAMES, max_size=20))
def test_arbitrary_frames_never_raise(frames: list[tuple[int, int, int, bytes]]) -> None:
    """Nor any order of frames; and the windows stay what they are."""
    server = ServerConnection(clock=clock)
    server.receive_data(PREFACE + bytes(3) + b"\4\0\0\0\0\0")
    for kind, flags, stream_id, payload in frames:
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big")
        server.receive_data(head + payload)
        for event in server.events_received():
            if isinstance(event, StreamEvent) and isinstance(event.event, MessageComplete):
                if server.request_on(event.stream_id) is not None:
                    server.reset(event.stream_id)
    assert server.open_streams <= 100


@given(
    sizes=st.lists(st.integers(0, 80_000), min_size=1, max_size=4),
    window=st.integers(2000, 70000),
)
def test_our_server_and_another_client(sizes: list[int], window: int) -> None:
    """H2-09: contents of any size come whole through any window, several at once."""
    contents = [(b"%d." % size * size)[:size] for size in sizes]
    client = h2.connection.H2Connection()
    client.local_settings = h2.settings.Settings(client=True, initial_values={4: window, 2: 0})
    client.initiate_connection()
    server = ServerConnection(clock=clock)
    for number in range(len(contents)):
        head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        client.send_headers(2 * number + 1, head, end_stream=True)
    waiting: dict[int, bytes] = {}
    got: dict[int, bytes] = {}
    ended = 0
    for _ in range(5000):
        if ended == len(contents):
            break
        server.receive_data(client.data_to_send())
        for event in server.events_received():
            if isinstance(event, StreamEvent) and isinstance(event.event, RequestReceived):
                content = contents[event.stream_id // 2]
                taken = server.send_response(
                    event.stream_id, Response(200, content=content), end=True
                )
                waiting[event.stream_id] = content[taken:]
            elif isinstance(event, WindowOpened) and waiting[event.stream_id]:
                rest = waiting[event.stream_id]
                taken = server.send_content(event.stream_id, rest, end=True)
                waiting[event.stream_id] = rest[taken:]
        for answer in client.receive_data(b"".join(server.data_to_send())):
            if isinstance(answer, h2.events.DataReceived):
                got[answer.stream_id] = got.get(answer.stream_id, b"") + answer.data
                if answer.flow_controlled_length:
                    client.acknowledge_received_data(
                        answer.flow_controlled_length, answer.stream_id
                    )
            elif isinstance(answer, h2.events.StreamEnded):
                ended += 1
    assert [got.get(2 * number + 1, b"") for number in range(len(contents))] == contents


def test_our_client_and_another_server() -> None:
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    client = ClientConnection(clock=clock)
    request = Request("POST", "/x", Fields({"Host": "a", "Cookie": "b"}), authority="a")
    number = client.send_request(request)
    client.send_content(number, b"hello", end=True)
    events = server.receive_data(b"".join(client.data_to_send()))
    seen = {type(event): event for event in events}
    assert (b":path", b"/x") in seen[h2.events.RequestReceived].headers
    assert seen[h2.events.DataReceived].data == b"hello"
    server.send_headers(number, [(":status", "200"), ("x", "y")])
    server.send_data(number, b"world", end_stream=True)
    client.receive_data(server.data_to_send())
    told = [e.event for e in client.events_received() if isinstance(e, StreamEvent)]
    assert told[0].response.fields == Fields({"x": "y"})
    assert told[1:] == [ContentReceived(b"world"), MessageComplete()]
