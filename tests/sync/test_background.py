"""The thread behind the blocking client: when it lives, and what it survives."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import switchover.sync
from switchover.asyncio.client import Client
from switchover.asyncio.server import Server
from switchover.asyncio.upgrades import token
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import DeadlineExceeded, LocalProtocolError
from switchover.sync.background import Lease, lease


@pytest.fixture
def held() -> Iterator[Lease]:
    taken = lease()
    yield taken
    taken.release()


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "switchover"]


# The life of the thread.


def test_the_thread_lives_from_the_first_lease_to_the_last() -> None:
    assert not _threads()
    first = lease()
    second = lease()
    third = second.another()
    assert len(_threads()) == 1
    for held in (first, second):
        held.release()
        held.release()
    assert len(_threads()) == 1
    third.release()
    assert not _threads()


def test_the_loop_is_let_go_with_the_thread(address: str) -> None:
    with switchover.sync.connect(f"ws://{address}/echo") as ws:
        ws.ping()
        loop = weakref.ref(ws._lease._background.loop)
    del ws
    gc.collect()
    assert loop() is None


def test_a_blocking_call_on_the_loops_own_thread_is_refused(held: Lease) -> None:
    async def blocks() -> None:
        switchover.sync.connect("ws://localhost/")

    with pytest.raises(RuntimeError, match="would have to answer"):
        held.run(blocks())


def test_a_call_has_a_limit(held: Lease) -> None:
    with pytest.raises(DeadlineExceeded, match="sleeping"):
        held.run(asyncio.sleep(60), "sleeping", 0.01)


def test_the_end_of_the_loop_ends_the_calls_of_other_threads(held: Lease) -> None:
    started = threading.Event()
    ended: list[Exception] = []

    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            held.run(wait())
        except switchover.Disconnected as error:
            ended.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    started.wait(5)
    held.release()
    caller.join(5)
    assert len(ended) == 1
    with pytest.raises(switchover.Disconnected):
        held.run(asyncio.sleep(0))


# The end of the interpreter.

LEFT_OPEN = """
import sys
import switchover.sync

ws = switchover.sync.connect(sys.argv[1] + "/echo")
ws.send("last words")
client = switchover.sync.Client()
client.get(sys.argv[1].replace("ws:", "http:") + "/")
tunnel = client.get(sys.argv[1].replace("ws:", "http:") + "/shout", offer=["shout/1"]).tunnel
sys.stdout.write("open")
"""


def _run(script: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", script, url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def test_the_interpreter_exits_with_connections_open(elsewhere: Any) -> None:
    ends: list[Any] = []

    async def collect(ws: WebSocket) -> None:
        async for message in ws:
            ends.append(message)
        ends.append(ws.close_code)

    async def drain(tunnel: Any) -> None:
        async for _ in tunnel:
            pass
        ends.append("tunnel")

    async def answer(exchange: Any) -> None:
        await exchange.send_response(switchover.Response.text(200, "ok"), end=True)

    upgrades = [websocket(collect, path="/echo"), token("shout/1", drain, path="/shout")]
    with elsewhere.serving(answer, upgrades) as server:
        result = _run(LEFT_OPEN, f"ws://127.0.0.1:{server.port}")
    assert (result.stdout, result.stderr, result.returncode) == ("open", "", 0)
    # The last message arrived, and the peer was told that we are going away.
    assert sorted(ends, key=str) == [1001, "last words", "tunnel"]


FORK = """
import os, sys
import switchover.sync
from switchover.errors import LocalProtocolError

ws = switchover.sync.connect(sys.argv[1] + "/echo")
client = switchover.sync.Client()
page = sys.argv[1].replace("ws:", "http:")
client.get(page + "/")
child = os.fork()
if child == 0:
    code = 1
    try:
        ws.send("from the child")
    except LocalProtocolError:
        try:
            ws.recv()
        except LocalProtocolError:
            with switchover.sync.connect(sys.argv[1] + "/echo") as own:
                own.send("x")
                if own.recv(5) == "x" and client.get(page + "/own").text() == "GET /own ":
                    code = 0
            client.close()
    del ws
    os._exit(code)
_, status = os.waitpid(child, 0)
ws.send("the parent's")
sys.stdout.write(ws.recv(5))
ws.close()
client.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_leaves_the_connections_to_the_parent(address: str) -> None:
    result = _run(FORK, f"ws://{address}")
    assert (result.stdout, result.stderr, result.returncode) == ("the parent's", "", 0)


def test_what_the_parent_opened_says_so_in_the_child(held: Lease) -> None:
    held._background.inherited = True
    try:
        with pytest.raises(LocalProtocolError, match="forked"):
            held.check()
        with pytest.raises(LocalProtocolError, match="forked"):
            held.run(asyncio.sleep(0))
    finally:
        held._background.inherited = False


# Two event loops in one process.


def test_two_loops_do_not_read_into_each_others_buffers(elsewhere: Any, server: Server) -> None:
    """Each thread's loop reads through a buffer of its own: octets never change owners."""
    url = f"http://127.0.0.1:{server.port}/"
    wrong: list[bytes] = []

    async def ask(mark: bytes) -> None:
        content = mark * 60_000
        async with Client() as client:
            for _ in range(150):
                answer = await client.post(url, content)
                if answer.content != b"POST / " + content:
                    wrong.append(answer.content[:20])

    threads = [
        threading.Thread(target=asyncio.run, args=(ask(mark),)) for mark in (b"a", b"b", b"c")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
