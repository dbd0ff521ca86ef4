"""The machine of the data phase in both builds, and frames written out by hand."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from switchover.websocket import _connection, _framing

try:
    from switchover.websocket import _connection_c
except ImportError:
    _connection_c = None  # type: ignore[assignment]  # no compiler: only the source is tested


def _plain() -> ModuleType:
    """Load the source of the connection once more, on the source of the frame loop."""
    room: Any = sys.modules["switchover.websocket"]
    chosen, room.framing = room.framing, _framing
    try:
        spec = importlib.util.spec_from_file_location(
            "switchover.websocket._connection_on_framing", _connection.__file__
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        room.framing = chosen
    return module


class Kit:
    """Machines of one build, and what a test needs to talk to them in octets."""

    KEY = bytes.fromhex("37fa213d")  # the key of RFC 6455 §5.7

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.compiled = module is _connection_c

    def server(self, **options: Any) -> Any:
        return self.module.Connection(self.module.Side.SERVER, **options)

    def client(self, **options: Any) -> Any:
        return self.module.Connection(self.module.Side.CLIENT, **options)

    def either(self, side: str, **options: Any) -> Any:
        return self.server(**options) if side == "server" else self.client(**options)

    @staticmethod
    def frame(first: int, payload: bytes = b"", *, key: bytes | None = KEY) -> bytes:
        """Write a frame; masked, as for a server, unless ``key`` is ``None``."""
        size = len(payload)
        bit = 0 if key is None else 0x80
        if size < 126:
            head = bytes((first, bit | size))
        elif size < 65536:
            head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
        if key is None:
            return head + payload
        return head + key + bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))

    def frame_to(self, side: str, first: int, payload: bytes = b"") -> bytes:
        """Write a frame as the peer of ``side`` has to."""
        return self.frame(first, payload, key=self.KEY if side == "server" else None)

    @staticmethod
    def events(machine: Any, *octets: bytes) -> list[Any]:
        """Feed octets, and return what has happened."""
        for piece in octets:
            machine.receive_data(piece)
        return list(machine.events_received())

    @staticmethod
    def sent(machine: Any) -> bytes:
        """Return the octets to send."""
        return b"".join(machine.data_to_send())

    @classmethod
    def frames(cls, octets: bytes) -> list[tuple[int, bytes, bytes | None]]:
        """Take apart what an endpoint has sent: first octet, plain payload, key."""
        found = []
        while octets:
            first, second = octets[0], octets[1]
            size, at = second & 127, 2
            if size > 125:
                wide = 2 if size == 126 else 8
                size, at = int.from_bytes(octets[2 : 2 + wide], "big"), 2 + wide
            key = None
            if second & 0x80:
                key, at = octets[at : at + 4], at + 4
            payload = octets[at : at + size]
            assert len(payload) == size
            if key is not None:
                payload = bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))
            found.append((first, payload, key))
            octets = octets[at + size :]
        return found

    def close_sent(self, machine: Any) -> tuple[int, str] | None:
        """Return code and reason of the Close frame that comes last in the output."""
        frames = self.frames(self.sent(machine))
        if not frames or frames[-1][0] != 0x88:
            return None
        body = frames[-1][1]
        return (int.from_bytes(body[:2], "big"), str(body[2:], "utf-8")) if body else (1005, "")

    def failure(self, machine: Any, *octets: bytes) -> int | None:
        """Feed octets that must fail the connection; return the code, nothing being delivered."""
        events = self.events(machine, *octets)
        names = [type(event).__name__ for event in events]
        assert names == ["Failed"], events
        code = events[0].error.close_code
        sent = self.close_sent(machine)
        assert sent is not None
        assert sent[0] == code
        assert machine.close_expected()
        # RFC 6455 §7.1.7: nothing more is processed.
        masked = machine.side.value == "server"
        more = self.frame(0x81, b"later", key=self.KEY if masked else None)
        assert self.events(machine, more) == []
        assert self.sent(machine) == b""
        return int(code)


_builds = [pytest.param(_plain(), id="pure")]
if _connection_c is not None:
    _builds.append(pytest.param(_connection_c, id="compiled"))


@pytest.fixture(params=_builds, scope="session")
def kit(request: pytest.FixtureRequest) -> Kit:
    """The machine, in the build that runs plain and in the compiled one."""
    return Kit(request.param)


@pytest.fixture(params=["server", "client"])
def side(request: pytest.FixtureRequest) -> str:
    """Each end of a connection."""
    return str(request.param)
