"""Our client of a Docker engine against exchanges as engines wrote them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from switchover.containers import Docker, Stream, frame
from switchover.errors import (
    DeadlineExceeded,
    LocalProtocolError,
    RemoteProtocolError,
    SwitchDeclined,
)

pytestmark = pytest.mark.anyio

Engine = Callable[..., Awaitable[Any]]

ID = "305e29765b4821c4ff61b11ff0a5b36f80c9cfce77baceb760a79da6016b48d2"
# As podman 4.3.1 sent them.
SWITCHED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
FRAMES = b"\x01\x00\x00\x00\x00\x00\x00\x04out\n\x02\x00\x00\x00\x00\x00\x00\x04err\n"
HIJACKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n" + FRAMES


def said(value: Any, status: str = "200 OK") -> list[bytes]:
    content = json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return [f"{head}\r\n\r\n".encode() + content]


CREATED = said({"Id": ID}, "201 Created")


async def test_exec_as_the_engine_answered_it(engine: Engine) -> None:
    """UPG-C-03, UPG-C-08: JSON first, then the switch; output in the same segment is not lost."""
    scripted = await engine(
        CREATED, [SWITCHED + FRAMES], said({"Running": False, "ExitCode": 3}), after_eof=b""
    )
    async with Docker(scripted.address) as docker:
        async with await docker.exec("box", ["sh", "-c", "…"]) as execution:
            assert execution.id == ID
            assert await execution.communicate(b"input") == (b"out\n", b"err\n")
            assert await execution.exit_code() == 3
    assert scripted.streams == [b"input"]
    create, start, state = scripted.requests
    assert create.startswith(b"POST /containers/box/exec HTTP/1.1\r\n")
    assert json.loads(create.partition(b"\r\n\r\n")[2])["Cmd"] == ["sh", "-c", "…"]
    head, _, content = start.partition(b"\r\n\r\n")
    assert head.startswith(f"POST /exec/{ID}/start HTTP/1.1".encode())
    assert b"\r\nUpgrade: tcp" in head
    assert b"\r\nConnection: Upgrade" in head
    assert json.loads(content) == {"Detach": False, "Tty": False}
    assert state.startswith(f"GET /exec/{ID}/json".encode())


@pytest.mark.parametrize("cut", [1, len(SWITCHED) - 1, len(SWITCHED), len(SWITCHED) + 3, -1])
async def test_no_octet_is_lost_at_the_seam(engine: Engine, cut: int) -> None:
    """UPG-C-08: wherever head and frames are cut."""
    octets = SWITCHED + FRAMES
    scripted = await engine(CREATED, [octets[:cut], octets[cut:]])
    async with Docker(scripted.address) as docker:
        async with await docker.exec("box", ["x"]) as execution:
            assert await execution.communicate() == (b"out\n", b"err\n")


async def test_output_goes_on_after_the_end_of_input(engine: Engine) -> None:
    """The half-close ends one direction only."""
    late = frame(Stream.STDOUT, b"said after the end of input")
    scripted = await engine(said({"Config": {"Tty": False}}), [SWITCHED], after_eof=late)
    async with Docker(scripted.address) as docker:
        async with await docker.attach("box") as attached:
            await attached.send(b"first ")
            await attached.send(b"second")
            await attached.send_eof()
            outputs = [output async for output in attached]
    assert b"".join(output.data for output in outputs) == b"said after the end of input"
    assert scripted.streams == [b"first second"]
    assert b"/containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1 " in scripted.requests[1]


async def test_a_terminal_is_one_stream_as_it_is(engine: Engine) -> None:
    """What looks like a frame is output of the program then."""
    scripted = await engine(said({"Config": {"Tty": True}}), [SWITCHED + FRAMES])
    async with Docker(scripted.address) as docker:
        async with await docker.attach("box", stdin=False) as attached:
            assert attached.tty
            first = await attached.read()
            assert first is not None
            assert first.stream is Stream.STDOUT
            await attached.send_eof()
            rest = [output.data async for output in attached]
            assert first.data + b"".join(rest) == FRAMES


async def test_size_of_the_terminal(engine: Engine) -> None:
    scripted = await engine(CREATED, [SWITCHED], said(None))
    async with Docker(scripted.address) as docker:
        async with await docker.exec("box", ["sh"], tty=True) as execution:
            await execution.resize(100, 30)
    assert f"POST /exec/{ID}/resize?w=100&h=30 ".encode() in scripted.requests[2]


async def test_a_refusal_carries_the_engines_words(engine: Engine) -> None:
    """UPG-C-09: another final status means no switch."""
    gone = said({"message": "No such container: box"}, "404 Not Found")
    scripted = await engine(gone, CREATED, said({"message": "not running"}, "409 Conflict"))
    async with Docker(scripted.address) as docker:
        with pytest.raises(SwitchDeclined, match="404: No such container: box") as caught:
            await docker.attach("box")
        assert caught.value.response is not None
        assert caught.value.response.status == 404
        with pytest.raises(SwitchDeclined, match="409: not running"):
            await docker.exec("box", ["x"])


async def test_an_engine_that_takes_over_without_a_101_is_refused(engine: Engine) -> None:
    """UPG-C-09: a 200 is an ordinary response, whatever follows it."""
    scripted = await engine(CREATED, [HIJACKED])
    async with Docker(scripted.address) as docker:
        with pytest.raises(SwitchDeclined, match="200"):
            await docker.exec("box", ["x"])


async def test_a_101_that_selects_something_else_is_refused(engine: Engine) -> None:
    """UPG-C-05"""
    scripted = await engine(CREATED, [SWITCHED.replace(b"tcp", b"udp") + FRAMES])
    async with Docker(scripted.address) as docker:
        with pytest.raises(RemoteProtocolError):
            await docker.exec("box", ["x"])


async def test_an_end_inside_a_frame_is_told(engine: Engine) -> None:
    scripted = await engine(CREATED, [SWITCHED + FRAMES[:-2]])
    async with Docker(scripted.address) as docker:
        execution = await docker.exec("box", ["x"])
        with pytest.raises(RemoteProtocolError, match="inside a frame"):
            await execution.communicate()
        execution.tunnel.abort()


async def test_errors_of_the_engine_are_raised(engine: Engine) -> None:
    scripted = await engine(CREATED, [SWITCHED + frame(Stream.SYSTEM, b"disk full")])
    async with Docker(scripted.address) as docker:
        execution = await docker.exec("box", ["x"])
        with pytest.raises(RemoteProtocolError, match="disk full"):
            await execution.communicate()
        await execution.close()


async def test_the_exit_is_asked_for_until_it_is_known(engine: Engine) -> None:
    """An engine may close the streams a moment before it takes note of the exit."""
    running = said({"Running": True, "ExitCode": 0})
    done = said({"Running": False, "ExitCode": 9})
    scripted = await engine(CREATED, [SWITCHED], running, running, done)
    async with Docker(scripted.address) as docker:
        async with await docker.exec("box", ["x"]) as execution:
            await execution.communicate()
            assert await execution.exit_code() == 9


async def test_a_command_that_runs_on_has_no_exit_code(engine: Engine) -> None:
    scripted = await engine(CREATED, [SWITCHED], *[said({"Running": True})] * 50)
    async with Docker(scripted.address) as docker:
        async with await docker.exec("box", ["x"]) as execution:
            await execution.send_eof()
            with pytest.raises(DeadlineExceeded):
                await execution.exit_code(timeout=0.05)


async def test_a_version_goes_before_every_path(engine: Engine) -> None:
    scripted = await engine(CREATED, [SWITCHED])
    async with Docker(scripted.address, version="v1.41") as docker:
        await (await docker.exec("a/b", ["x"])).close()
    paths = [request.split(b" ")[1] for request in scripted.requests]
    assert paths == [b"/v1.41/containers/a%2Fb/exec", f"/v1.41/exec/{ID}/start".encode()]


async def test_leaving_by_an_error_aborts(engine: Engine) -> None:
    scripted = await engine(CREATED, [SWITCHED])

    async def fail(docker: Docker) -> None:
        async with await docker.exec("box", ["x"]):
            raise KeyError("of the application")

    async with Docker(scripted.address) as docker:
        with pytest.raises(KeyError):
            await fail(docker)


@pytest.mark.parametrize("address", ["", "unix://", "tcp://", "fd://3", "/var/run/docker.sock"])
def test_what_is_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense")
    with pytest.raises(LocalProtocolError):
        Docker(address)


async def test_the_address_comes_from_the_environment(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = await engine(said({"Config": {"Tty": False}}), [SWITCHED + FRAMES])
    monkeypatch.setenv("DOCKER_HOST", scripted.address)
    async with Docker() as docker, await docker.attach("box") as attached:
        assert await attached.communicate() == (b"out\n", b"err\n")


async def test_a_command_is_a_list() -> None:
    async with Docker("tcp://127.0.0.1:1") as docker:
        with pytest.raises(LocalProtocolError):
            await docker.exec("box", "ls -l")


async def test_an_engine_that_is_not_there() -> None:
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    async with Docker(f"tcp://127.0.0.1:{port}") as docker:
        with pytest.raises(OSError):
            await docker.attach("box")
