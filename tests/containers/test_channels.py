"""Kubernetes' channels: messages in, events out (KEP-4006)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.containers.channels import (
    V4,
    V5,
    Channel,
    ChannelClosed,
    ChannelData,
    Resize,
    Status,
    close_message,
    data_message,
    read_message,
    resize_message,
)
from switchover.errors import LocalProtocolError, RemoteProtocolError


@pytest.mark.parametrize("protocol", [V5, V4])
@given(st.sampled_from([c for c in Channel if c < Channel.RESIZE]), st.binary())
def test_data_comes_out_as_it_went_in(protocol: str, channel: Channel, data: bytes) -> None:
    message = data_message(channel, data)
    assert message[0] == channel
    assert read_message(message, protocol=protocol) == ChannelData(channel, data)


def test_a_text_message_is_its_octets() -> None:
    """Kubernetes' Python client sends input in text messages if it was given text."""
    message = read_message("\0grüße", protocol=V4)
    assert message == ChannelData(Channel.STDIN, "grüße".encode())


def test_v5_ends_a_channel() -> None:
    assert close_message(Channel.STDIN, protocol=V5) == b"\xff\x00"
    assert read_message(b"\xff\x00", protocol=V5) == ChannelClosed(Channel.STDIN)


def test_v4_cannot_end_a_channel() -> None:
    with pytest.raises(LocalProtocolError, match="cannot end"):
        close_message(Channel.STDIN, protocol=V4)
    with pytest.raises(RemoteProtocolError, match="does not have"):
        read_message(b"\xff\x00", protocol=V4)


def test_size_of_a_terminal() -> None:
    assert resize_message(80, 24) == b'\x04{"Width":80,"Height":24}'
    assert read_message(resize_message(80, 24), protocol=V4) == Resize(80, 24)


def test_an_empty_message_on_a_channel_means_nothing() -> None:
    """Kubernetes' server opens with one, to say that the connection works."""
    for channel in (Channel.STDIN, Channel.RESIZE):
        assert read_message(bytes([channel]), protocol=V5) == ChannelData(channel, b"")


@pytest.mark.parametrize(
    "message",
    [
        "text",
        b"",
        b"\x05what",
        b"\xfe",
        b"\xff",
        b"\xff\x00\x00",
        b"\xff\xff",
        b"\x04{",
        b"\x04[]",
        b'\x04{"Width":80}',
        b'\x04{"Width":-1,"Height":24}',
        b'\x04{"Width":80,"Height":65536}',
        b'\x04{"Width":true,"Height":24}',
        b'\x04{"Width":"80","Height":24}',
        b"\x04\xff\xfe",
    ],
)
def test_faulty_messages_end_the_connection_with_1002(message: str | bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_message(message, protocol=V5)
    assert caught.value.close_code == 1002


@given(st.one_of(st.text(max_size=30), st.binary(max_size=30)))
def test_no_message_raises_anything_else(message: str | bytes) -> None:
    try:
        read_message(message, protocol=V5)
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_code_there_and_back(code: int) -> None:
    assert Status.read(Status(code).text()).exit_code == code


def test_statuses_as_kubernetes_writes_them() -> None:
    assert Status.read(b'{"metadata":{},"status":"Success"}') == Status(0)
    said = json.loads(Status(3).text())
    assert said["status"] == "Failure"
    assert said["reason"] == "NonZeroExitCode"
    assert said["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


def test_a_failure_without_an_exit_code_keeps_its_words() -> None:
    text = b'{"status":"Failure","reason":"InternalError","message":"no such container","code":500}'
    status = Status.read(text)
    assert (status.exit_code, status.message) == (None, "no such container")
    assert status.details["code"] == 500
    assert Status.read(Status(None, "broken").text()) == Status(None, "broken")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"status":"Failure","reason":"NonZeroExitCode"}',
        b'{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode",'
        b'"message":"three"}]}}',
    ],
)
def test_what_is_no_status_is_a_fault(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Status.read(text)
