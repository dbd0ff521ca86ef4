"""Control frames and the end of a connection (RFC 6455 §5.5, §7)."""

from __future__ import annotations

from typing import Any

import pytest

from switchover.errors import (
    ConnectionClosedError,
    ConnectionClosedOK,
    LocalProtocolError,
    RemoteProtocolError,
)
from switchover.websocket.close_codes import (
    CloseCode,
    cut_reason,
    format_close,
    may_be_sent,
    parse_close,
)
from switchover.websocket.events import Close, Failed, Ping, Pong

# §5.5.2, §5.5.3: pings


def test_a_ping_is_answered_with_the_same_data(kit: Any, side: str) -> None:
    """WS-F-18, RFC 6455 §5.5.2: "Application data" is the ping's."""
    machine = kit.either(side)
    assert kit.events(machine, kit.frame_to(side, 0x89, b"Hello")) == [Ping(b"Hello")]
    assert [frame[:2] for frame in kit.frames(kit.sent(machine))] == [(0x8A, b"Hello")]
    assert kit.events(machine, kit.frame_to(side, 0x89, b"x" * 125)) == [Ping(b"x" * 125)]
    assert [frame[:2] for frame in kit.frames(kit.sent(machine))] == [(0x8A, b"x" * 125)]


def test_a_ping_after_close_is_not_answered(kit: Any) -> None:
    """WS-F-18, RFC 6455 §5.5.2: "unless it already received a Close frame"."""
    server = kit.server()
    octets = kit.frame(0x88, b"\x03\xe8") + kit.frame(0x89, b"late")
    assert kit.events(server, octets) == [Close(1000, "")]
    assert kit.sent(server) == b"\x88\x02\x03\xe8"


def test_a_ping_after_our_close_is_not_answered(kit: Any) -> None:
    """RFC 6455 §5.5.1: after a Close frame this library sends nothing."""
    server = kit.server()
    server.close()
    kit.sent(server)
    assert kit.events(server, kit.frame(0x89, b"late")) == [Ping(b"late")]
    assert kit.sent(server) == b""


def test_a_ping_before_close_in_the_same_read_is_answered_first(kit: Any) -> None:
    """WS-F-18: a pong never follows a Close frame."""
    server = kit.server()
    octets = kit.frame(0x89, b"p") + kit.frame(0x88, b"\x03\xe8")
    assert kit.events(server, octets) == [Ping(b"p"), Close(1000, "")]
    assert kit.sent(server) == b"\x8a\x01p\x88\x02\x03\xe8"


def test_each_of_a_few_pings_is_answered_in_order(kit: Any) -> None:
    """WS-F-18, RFC 6455 §5.5.2: ten pings in one read make ten pongs."""
    server = kit.server()
    kit.events(server, b"".join(kit.frame(0x89, b"%d" % n) for n in range(10)))
    assert kit.frames(kit.sent(server)) == [(0x8A, b"%d" % n, None) for n in range(10)]


def test_only_the_latest_of_many_pings_is_answered(kit: Any) -> None:
    """WS-F-19, SEC-21, RFC 6455 §5.5.3: of 10 000 pings in one read the last has its pong."""
    server = kit.server()
    events = kit.events(server, b"".join(kit.frame(0x89, b"%d" % n) for n in range(10_000)))
    assert len(events) == 10_000
    pongs = kit.frames(kit.sent(server))
    assert len(pongs) < 1000
    assert pongs[-1] == (0x8A, b"9999", None)


def test_pings_of_a_peer_that_does_not_read_have_one_pong(kit: Any) -> None:
    """WS-F-19, SEC-21: while a driver holds the pongs back, only the latest is kept."""
    server = kit.server()
    server.pongs_held = True
    kit.events(server, b"".join(kit.frame(0x89, b"%d" % n) for n in range(10)))
    assert kit.frames(kit.sent(server)) == [(0x8A, b"9", None)]


def test_unanswered_pings_take_no_memory(kit: Any) -> None:
    """SEC-21: 100 000 pings whose pongs are not sent leave a few kilobytes to send."""
    server = kit.server()
    block = kit.frame(0x89, b"x" * 125) * 1000
    for _ in range(100):
        server.receive_data(block)
        server.events_received()
    assert len(kit.sent(server)) < 5000


def test_pongs_are_not_answered(kit: Any, side: str) -> None:
    """WS-F-19, RFC 6455 §5.5.3: "A response to an unsolicited Pong frame is not expected"."""
    machine = kit.either(side)
    assert kit.events(machine, kit.frame_to(side, 0x8A, b"stray")) == [Pong(b"stray")]
    assert kit.sent(machine) == b""


def test_pings_and_pongs_can_be_sent(kit: Any) -> None:
    """RFC 6455 §5.5: up to 125 octets, in OPEN."""
    server = kit.server()
    server.ping(b"p")
    server.pong(bytearray(b"q"))
    assert kit.sent(server) == b"\x89\x01p\x8a\x01q"
    for send in (server.ping, server.pong):
        with pytest.raises(LocalProtocolError, match="125"):
            send(b"x" * 126)
    server.close()
    for send in (server.ping, server.pong):
        with pytest.raises(LocalProtocolError, match="close frame"):
            send(b"x")


# §5.5.1, §7.4: Close frames


def test_the_body_of_a_close_frame(kit: Any, side: str) -> None:
    """WS-C-01, RFC 6455 §5.5.1: empty, or a code and a reason; half a code is an error."""
    for body, code, reason in (
        (b"", 1005, ""),
        (b"\x03\xe8", 1000, ""),
        (b"\x03\xe9" + "né".encode(), 1001, "né"),
    ):
        machine = kit.either(side)
        assert kit.events(machine, kit.frame_to(side, 0x88, body)) == [Close(code, reason)]
        assert (machine.close_code, machine.close_reason) == (code, reason)
    assert kit.failure(kit.either(side), kit.frame_to(side, 0x88, b"\x03")) == 1002


def test_a_reason_that_is_not_utf8_fails(kit: Any, side: str) -> None:
    """WS-C-02, RFC 6455 §8.1: 88 04 03 E8 C3 28."""
    assert kit.failure(kit.either(side), kit.frame_to(side, 0x88, b"\x03\xe8\xc3\x28")) == 1007


_GOOD = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
_BAD = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", _GOOD)
def test_codes_that_may_be_sent(kit: Any, side: str, code: int) -> None:
    """WS-C-04, WS-C-05, RFC 6455 §7.4: accepted and echoed; and this end may send them."""
    machine = kit.either(side)
    body = code.to_bytes(2, "big") + b"why"
    assert kit.events(machine, kit.frame_to(side, 0x88, body)) == [Close(code, "why")]
    assert kit.close_sent(machine) == (code, "")
    machine = kit.either(side)
    machine.close(code, "why")
    assert kit.close_sent(machine) == (code, "why")


@pytest.mark.parametrize("code", _BAD)
def test_codes_that_may_not_be_sent(kit: Any, side: str, code: int) -> None:
    """WS-C-03, WS-C-04, RFC 6455 §7.4.1: received, 1002; asked for, a local error."""
    octets = kit.frame_to(side, 0x88, code.to_bytes(2, "big"))
    assert kit.failure(kit.either(side), octets) == 1002
    machine = kit.either(side)
    with pytest.raises(LocalProtocolError, match=str(code)):
        machine.close(code)
    with pytest.raises(LocalProtocolError):
        machine.fail(code)
    assert kit.sent(machine) == b""
    assert machine.state.name == "OPEN"


def test_an_empty_close_gets_an_empty_one(kit: Any) -> None:
    """WS-C-05, RFC 6455 §5.5.1: 88 00 in, 88 00 out."""
    server = kit.server()
    kit.events(server, kit.frame(0x88))
    assert kit.sent(server) == b"\x88\x00"
    assert (server.sent_code, server.sent_reason) == (1005, "")


def test_close_is_answered_once(kit: Any, side: str) -> None:
    """WS-C-05, RFC 6455 §5.5.1: a second Close frame, and anything after it, means nothing."""
    machine = kit.either(side)
    close = kit.frame_to(side, 0x88, b"\x03\xe9")
    assert kit.events(machine, close, close, kit.frame_to(side, 0x81, b"x")) == [Close(1001, "")]
    assert len(kit.frames(kit.sent(machine))) == 1
    machine.close(1000)
    assert kit.sent(machine) == b""


def test_the_answer_to_our_close_is_not_answered(kit: Any, side: str) -> None:
    """WS-C-05, RFC 6455 §5.5.1: "and did not previously send a Close frame"."""
    machine = kit.either(side)
    machine.close(1000, "done")
    assert kit.close_sent(machine) == (1000, "done")
    assert kit.events(machine, kit.frame_to(side, 0x88, b"\x03\xe8")) == [Close(1000, "")]
    assert kit.sent(machine) == b""


def test_messages_are_received_until_the_peer_closes(kit: Any) -> None:
    """RFC 6455 §5.5.1, §7.1.2: closing is one-way until the answer comes."""
    server = kit.server()
    server.close()
    assert kit.events(server, kit.frame(0x81, b"still here")) == ["still here"]


def test_after_close_nothing_can_be_sent(kit: Any, side: str) -> None:
    """WS-F-20, RFC 6455 §5.5.1: "MUST NOT send any more data frames after sending a Close"."""
    for end in (lambda m: m.close(), lambda m: m.fail(1011), lambda m: m.receive_eof()):
        machine = kit.either(side)
        end(machine)
        kit.sent(machine)
        for send in (machine.send_text, machine.send_fragment):
            with pytest.raises(LocalProtocolError):
                send("x")
        with pytest.raises(LocalProtocolError):
            machine.send_binary(b"x")
        assert kit.sent(machine) == b""


# §5.5: reasons


def test_a_reason_fits_in_123_octets(kit: Any) -> None:
    """WS-C-12, RFC 6455 §5.5: longer ones are an error of close(), and are cut by fail()."""
    server = kit.server()
    with pytest.raises(LocalProtocolError, match="400 octets"):
        server.close(1000, "é" * 200)
    with pytest.raises(LocalProtocolError, match="not text"):
        server.close(1000, "\ud800")
    with pytest.raises(LocalProtocolError, match="needs a close code"):
        server.close(None, "why")
    assert kit.sent(server) == b""
    server.fail(1011, "é" * 200)
    code, reason = kit.close_sent(server)
    assert (code, reason) == (1011, "é" * 61)
    server = kit.server()
    server.close(1000, "x" * 123)
    assert kit.close_sent(server) == (1000, "x" * 123)


def test_close_without_a_code(kit: Any) -> None:
    """RFC 6455 §5.5.1: "The Close frame MAY contain a body"."""
    server = kit.server()
    server.close(None)
    assert kit.sent(server) == b"\x88\x00"
    kit.events(server, kit.frame(0x88))
    assert isinstance(server.closed_error(), ConnectionClosedOK)


# §7.1: who ends the transport


def test_the_server_ends_the_transport_after_the_exchange(kit: Any) -> None:
    """WS-C-07, RFC 6455 §7.1.1: at once when Close went both ways, whoever began."""
    server = kit.server()
    assert not server.close_expected()
    kit.events(server, kit.frame(0x88, b"\x03\xe8"))
    assert server.close_expected()
    server = kit.server()
    server.close()
    assert not server.close_expected()
    kit.events(server, kit.frame(0x88, b"\x03\xe8"))
    assert server.close_expected()


def test_the_client_waits_for_the_server_to_end_the_transport(kit: Any) -> None:
    """WS-C-08, RFC 6455 §7.1.1: "the client SHOULD wait for the server"."""
    client = kit.client()
    client.close()
    kit.events(client, kit.frame(0x88, b"\x03\xe8", key=None))
    assert (client.state.name, client.close_expected()) == ("CLOSING", False)
    client.receive_eof()
    assert (client.state.name, client.close_expected()) == ("CLOSED", True)


def test_failing_ends_everything(kit: Any, side: str) -> None:
    """WS-C-09, RFC 6455 §7.1.7: messages before the fault count, nothing after it does."""
    machine = kit.either(side)
    octets = [kit.frame_to(side, 0x81, b"good"), kit.frame_to(side, 0x83), b"\x00" * 40]
    events = kit.events(machine, b"".join(octets), kit.frame_to(side, 0x89, b"p"))
    assert events[0] == "good"
    (failed,) = events[1:]
    assert isinstance(failed, Failed)
    assert machine.error is failed.error
    assert (failed.error.close_code, failed.error.rule) == (1002, "RFC 6455 §5.2")
    assert [first for first, _, _ in kit.frames(kit.sent(machine))] == [0x88]
    assert (machine.sent_code, machine.close_code) == (1002, None)
    assert "opcode 0x3" in machine.sent_reason
    assert machine.close_expected()


def test_failing_in_the_middle_of_a_large_frame(kit: Any) -> None:
    """WS-C-09: the application fails the connection; the rest of the frame is not delivered."""
    server = kit.server()
    octets = kit.frame(0x82, b"x" * 100_000)
    assert kit.events(server, octets[:50_000]) == []
    server.fail(1011)
    assert kit.events(server, octets[50_000:]) == []
    assert kit.close_sent(server) == (1011, "")


def test_a_fault_after_our_close_sends_nothing_more(kit: Any, side: str) -> None:
    """RFC 6455 §5.5.1: one Close frame; a fault then just ends the transport."""
    machine = kit.either(side)
    machine.close()
    kit.sent(machine)
    (failed,) = kit.events(machine, kit.frame_to(side, 0x83))
    assert isinstance(failed, Failed)
    assert kit.sent(machine) == b""
    assert machine.close_expected()


def test_the_reported_code_is_the_peers(kit: Any) -> None:
    """WS-C-10, RFC 6455 §7.1.5: simultaneous closes: each side reports the other's code."""
    server, client = kit.server(), kit.client()
    server.close(1001, "server")
    client.close(4000, "client")
    from_server, from_client = kit.sent(server), kit.sent(client)
    kit.events(server, from_client)
    kit.events(client, from_server)
    assert (server.close_code, server.close_reason) == (4000, "client")
    assert (client.close_code, client.close_reason) == (1001, "server")


def test_without_a_close_frame_the_code_is_1006(kit: Any, side: str) -> None:
    """WS-C-10, RFC 6455 §7.1.5: 1006 if the transport ended first, ``None`` while it lives."""
    machine = kit.either(side)
    assert machine.close_code is None
    machine.receive_eof()
    assert (machine.close_code, machine.close_reason, machine.sent_code) == (1006, "", None)
    assert kit.events(machine, kit.frame_to(side, 0x81, b"x")) == []
    assert kit.sent(machine) == b""
    machine.close()
    assert kit.sent(machine) == b""


def test_eof_drops_a_pong_that_was_due(kit: Any) -> None:
    """RFC 6455 §7.1.4: there is nobody to send it to."""
    server = kit.server()
    server.pongs_held = True
    kit.events(server, kit.frame(0x89))
    server.receive_eof()
    assert kit.sent(server) == b""


def test_messages_ahead_of_a_close_can_be_answered(kit: Any) -> None:
    """WS-C-06, RFC 6455 §5.5.1: the answering Close waits for the answers to what came first."""
    server = kit.server()
    octets = kit.frame(0x81, b"question") + kit.frame(0x88, b"\x03\xe8")
    assert kit.events(server, octets) == ["question", Close(1000, "")]
    server.send_text("answer")
    assert kit.frames(kit.sent(server)) == [(0x81, b"answer", None), (0x88, b"\x03\xe8", None)]


def test_messages_ahead_of_a_broken_rule_can_be_answered(kit: Any) -> None:
    """WS-C-09: what was right ahead of it is answered; nothing behind it is looked at."""
    server = kit.server()
    octets = kit.frame(0x81, b"right") + kit.frame(0x83, b"") + kit.frame(0x81, b"late")
    assert kit.events(server, octets)[0] == "right"
    server.send_text("answer")
    sent = kit.frames(kit.sent(server))
    assert [frame[0] for frame in sent] == [0x81, 0x88]
    assert sent[1][1][:2] == b"\x03\xea"


def test_surplus_after_close_is_discarded(kit: Any) -> None:
    """WS-C-11, RFC 6455 §7.1.1: bytes after Close are ignored, whatever they are."""
    server = kit.server()
    octets = kit.frame(0x88, b"\x03\xe8") + b"\xff" * 1000
    assert kit.events(server, octets, b"\x83\x00") == [Close(1000, "")]
    assert server.error is None


def test_an_incomplete_close_is_none(kit: Any) -> None:
    """WS-C-10: the transport ends in the middle of the frame."""
    server = kit.server()
    assert kit.events(server, kit.frame(0x88, b"\x03\xe8")[:-1]) == []
    server.receive_eof()
    assert server.close_code == 1006


@pytest.mark.parametrize(
    ("received", "sent", "kind"),
    [
        (1000, 1000, ConnectionClosedOK),
        (1001, 1001, ConnectionClosedOK),
        (1000, 1001, ConnectionClosedOK),
        (1011, 1000, ConnectionClosedError),
        (4000, 4000, ConnectionClosedError),
    ],
)
def test_the_exception_says_how_it_ended(kit: Any, received: int, sent: int, kind: Any) -> None:
    """WS-C-10: 1000 and 1001 on both sides are an orderly end."""
    server = kit.server()
    server.close(sent, "s")
    kit.events(server, kit.frame(0x88, received.to_bytes(2, "big") + b"r"))
    error = server.closed_error()
    assert type(error) is kind
    assert (error.code, error.reason, error.sent_code, error.sent_reason) == (
        received,
        "r",
        sent,
        "s",
    )


def test_the_exception_without_any_close(kit: Any) -> None:
    """WS-C-10: neither end has sent one."""
    server = kit.server()
    server.receive_eof()
    error = server.closed_error()
    assert isinstance(error, ConnectionClosedError)
    assert (error.code, error.sent_code) == (1006, None)


# close_codes.py


def test_close_bodies_round_trip() -> None:
    """RFC 6455 §5.5.1: what is written is what is read."""
    assert parse_close(format_close(4000, "né")) == (4000, "né")
    assert parse_close(format_close(None)) == (CloseCode.NO_STATUS_RECEIVED, "")
    with pytest.raises(RemoteProtocolError, match="half a code"):
        parse_close(b"\x03")


def test_exactly_these_codes_may_be_sent() -> None:
    """WS-C-04: 1000–1003, 1007–1014, 3000–4999 and no other."""
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert {code for code in range(65536) if may_be_sent(code)} == allowed


def test_reasons_are_cut_between_characters() -> None:
    """WS-C-12: never inside one."""
    assert cut_reason("x" * 122 + "é") == "x" * 122
    assert cut_reason("x" * 121 + "é") == "x" * 121 + "é"
    assert cut_reason("\ud800") == "?"


def test_a_servers_end_is_made_alike(kit: Any) -> None:
    """The short way for servers makes what the constructor makes."""
    short = kit.module.server_end((), "chat", 5)
    long = kit.server(subprotocol="chat", max_message_size=5)
    for machine in (short, long):
        assert (machine.side, machine.state) == (kit.module.Side.SERVER, kit.module.State.OPEN)
        assert (machine.subprotocol, machine.extensions) == ("chat", ())
        assert not machine.deliver_fragments
        assert kit.events(machine, kit.frame(0x82, b"12345")) == [b"12345"]
        assert kit.failure(machine, kit.frame(0x82, b"123456")) == 1009


@pytest.mark.parametrize("body", [b"", b"\x03\xe8", b"\x03\xe8bye", "\u0fa0".encode("utf-16-be")])
def test_what_one_close_meant_is_not_anothers(kit: Any, body: bytes) -> None:
    """RFC 6455 §7.1.5: meanings of bodies are remembered across connections, by the octets."""
    for received in (body, b"\x03\xe9", body):
        server = kit.server()
        (close,) = kit.events(server, kit.frame(0x88, received))
        code = int.from_bytes(received[:2], "big") or 1005
        assert (close.code, close.reason) == (code, received[2:].decode())
        assert (server.close_code, server.close_reason) == (close.code, close.reason)
        assert kit.close_sent(server) == (code, "")
        assert (server.sent_code, server.sent_reason) == (code, "")
