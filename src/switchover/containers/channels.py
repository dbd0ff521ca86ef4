"""Kubernetes' channels over WebSocket messages; sans-I/O.

Each message, binary as a rule, begins with one octet, the number of its channel. Standard
input, output and error are 0 to 2; on 3 the server says at the end what became of the command
(a Status in JSON), on 4 the client tells the size of its terminal. ``v5.channel.k8s.io`` is
``v4.channel.k8s.io`` with one message more, ``255 channel``, which ends a channel: the half-close
that WebSocket does not have (KEP-4006, "Transition from SPDY to WebSockets").
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any

from switchover.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "SUBPROTOCOLS",
    "V4",
    "V5",
    "Channel",
    "ChannelClosed",
    "ChannelData",
    "Event",
    "Resize",
    "Status",
    "close_message",
    "data_message",
    "read_message",
    "resize_message",
]

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
#: What is offered and what is taken, the preferred one first.
SUBPROTOCOLS = (V5, V4)


class Channel(enum.IntEnum):
    """The numbers of the channels, and the one that ends another."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    STATUS = 3
    RESIZE = 4
    CLOSE = 255


@dataclass(frozen=True, slots=True)
class ChannelData:
    """Octets of a channel; none at all are allowed, and mean nothing."""

    channel: Channel
    data: bytes


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """No more comes on a channel (v5)."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class Resize:
    """The size of the client's terminal, in characters."""

    columns: int
    rows: int


Event = ChannelData | ChannelClosed | Resize


def data_message(channel: Channel, data: bytes) -> bytes:
    """Return the message that carries ``data`` on ``channel``."""
    return bytes((channel,)) + data


def close_message(channel: Channel, *, protocol: str | None) -> bytes:
    """Return the message that ends ``channel``.

    Raises :class:`LocalProtocolError` unless ``protocol`` is v5: v4 has no such message.
    """
    if protocol != V5:
        raise LocalProtocolError(f"{protocol} cannot end a channel; {V5} can", rule="KEP-4006")
    return bytes((Channel.CLOSE, channel))


def resize_message(columns: int, rows: int) -> bytes:
    """Return the message that tells the size of a terminal."""
    size = json.dumps({"Width": columns, "Height": rows}, separators=(",", ":"))
    return data_message(Channel.RESIZE, size.encode())


def read_message(message: str | bytes, *, protocol: str | None) -> Event:
    """Return what ``message`` says; that of a text message are its octets.

    Raises :class:`RemoteProtocolError` (to be answered with close code 1002) for an unknown
    channel, the end of a channel in v4, and a size that is none.
    """
    if isinstance(message, str):
        # Kubernetes' own server looks at the octets only, and its Python client sends input that
        # is text so.
        message = message.encode()
    if not message:
        raise _fault("a message without a channel")
    if message[0] == Channel.CLOSE:
        if protocol != V5:
            raise _fault(f"the end of a channel, which {protocol} does not have")
        if len(message) != 2:
            raise _fault("the end of a channel names one channel")
        return ChannelClosed(_channel(message[1]))
    channel = _channel(message[0])
    return _resize(message[1:]) if channel is Channel.RESIZE else ChannelData(channel, message[1:])


def _channel(number: int) -> Channel:
    if number > Channel.RESIZE:
        raise _fault(f"channel {number} is not known")
    return Channel(number)


def _resize(text: bytes) -> Event:
    if not text:
        return ChannelData(Channel.RESIZE, b"")
    try:
        size = json.loads(text)
        resize = Resize(size["Width"], size["Height"])
    except (ValueError, TypeError, KeyError) as error:
        raise _fault("the size of the terminal cannot be read") from error
    # 16 bits are what a terminal's own size has.
    if not all(type(n) is int and 0 <= n < 2**16 for n in (resize.columns, resize.rows)):
        raise _fault("the size of the terminal is out of range")
    return resize


def _fault(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(text, rule="KEP-4006", close_code=1002)


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a command: its exit code, or why there is none.

    ``exit_code`` is ``None`` if the command did not run to its end; ``message`` says why.
    ``details`` is the whole Status as it came (Kubernetes API, ``meta/v1`` Status).
    """

    exit_code: int | None
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, text: bytes) -> Status:
        """Return the status that came on channel 3.

        Raises :class:`RemoteProtocolError` for what is no Status.
        """
        try:
            details = json.loads(text)
            outcome, message = details["status"], str(details.get("message", ""))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _fault("the status of the command cannot be read") from error
        if outcome == "Success":
            return cls(0, message, details)
        return cls(_exit_code(details), message, details)

    def text(self) -> bytes:
        """Return the status as it goes out on channel 3."""
        said: dict[str, Any] = {"metadata": {}, "status": "Success"}
        if self.exit_code is None:
            said |= {"status": "Failure", "reason": "InternalError", "code": 500}
            said["message"] = self.message
        elif self.exit_code:
            said |= {"status": "Failure", "reason": "NonZeroExitCode"}
            said["message"] = (
                self.message or f"command terminated with non-zero exit code: {self.exit_code}"
            )
            cause = {"reason": "ExitCode", "message": str(self.exit_code)}
            said["details"] = {"causes": [cause]}
        return json.dumps(said, separators=(",", ":")).encode()


def _exit_code(details: dict[str, Any]) -> int | None:
    if details.get("reason") != "NonZeroExitCode":
        return None
    try:
        for cause in details["details"]["causes"]:
            if cause["reason"] == "ExitCode":
                return int(cause["message"])
    except (ValueError, TypeError, KeyError) as error:
        raise _fault("the exit code of the command cannot be read") from error
    return None
