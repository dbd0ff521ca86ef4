"""HTTP/2 by every road, with peers that nobody here wrote, as clients and as servers."""

from __future__ import annotations

import os
import re
import string
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import switchover

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

PEERS = Path(__file__).parent / "peers"
Program = Callable[[str], str]
Daemon = Callable[[Callable[[int], list[str]]], int]


def run(*command: str, given: bytes | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


# Clients.


def test_curl_switches_with_content(program: Program, demonstration: str, tmp_path: Path) -> None:
    """H2C-09, H2C-10: sent in HTTP/1.1, answered whole in HTTP/2."""
    content = tmp_path / "content"
    content.write_bytes(os.urandom(500_000))
    back = tmp_path / "back"
    told = run(
        program("curl"), "-sS", "--http2", "--data-binary", f"@{content}", "-o", str(back),
        "-w", "%{http_version} %{http_code}", f"http://{demonstration}/body",
    )  # fmt: skip
    assert told == "2 200"
    assert back.read_bytes() == content.read_bytes()


def test_curl_with_prior_knowledge(program: Program, demonstration: str) -> None:
    """H2C-16."""
    command = [program("curl"), "-sS", "--http2-prior-knowledge", "-w", " %{http_version}"]
    assert run(*command, f"http://{demonstration}/plain") == "plain 2"


def test_nghttp_switches(program: Program, demonstration: str) -> None:
    """H2C-11: it goes on with stream 13 behind streams that it only mentions."""
    url = f"http://{demonstration}/plain"
    assert run(program("nghttp"), "-u", url) == "plain"
    told = run(program("nghttp"), "-nvu", url, f"http://{demonstration}/")
    assert "HTTP Upgrade success" in told
    assert len(re.findall(r"recv \(stream_id=\d+\) :status: 200", told)) == 2


def test_nghttp_posts_behind_options(program: Program, demonstration: str, tmp_path: Path) -> None:
    """UPG-S-13: its upgrade request is ``OPTIONS *``; the POST follows in HTTP/2."""
    content = tmp_path / "content"
    content.write_bytes(b"nothing lost " * 10_000)
    told = run(program("nghttp"), "-u", "-d", str(content), f"http://{demonstration}/body")
    assert told == content.read_text()


@pytest.mark.parametrize("streams", [1, 100])
def test_h2load(program: Program, demonstration: str, streams: int) -> None:
    """Many requests at once, none of them lost."""
    told = run(
        program("h2load"), "-n", "2000", "-c", "4", "-m", str(streams),
        f"http://{demonstration}/plain",
    )  # fmt: skip
    assert "2000 succeeded, 0 failed, 0 errored" in told


def test_java_offers_h2c_with_every_request(program: Program, demonstration: str) -> None:
    """Java 17 and later do so by default, content or not.

    Anew a hundred and fifty times: it loses octets, sometimes, when many come with the 101.
    """
    if not Path(program("javac")).exists():
        pytest.skip("javac is not installed")
    told = run(program("java"), str(PEERS / "H2CClient.java"), f"http://{demonstration}")
    assert told.splitlines() == [
        "HTTP_2 200 5",
        "HTTP_2 200 300000",
        *["HTTP_2 200 5"] * 3,
        *["HTTP_2 200 60000"] * 150,
    ]


# Over TLS, by ALPN.


def test_curl_over_tls(program: Program, tls_demonstration: str) -> None:
    """ALPN-02: h2, and HTTP/1.1 for who does not offer it."""
    for option, version in (("--http2", "2"), ("--http1.1", "1.1")):
        command = [program("curl"), "-sSk", option, "-w", " %{http_version}"]
        assert run(*command, f"https://{tls_demonstration}/plain") == f"plain {version}"


def test_node_opens_a_websocket_over_http2(
    node_says: Callable[..., Any], tls_demonstration: str
) -> None:
    """WS2-01, WS2-08, WS2-10: extended CONNECT from node's http2, a request beside it."""
    seen = node_says("http2_client", *tls_demonstration.split(":"))
    assert seen["allowed"] is True
    assert seen["websocket"] == {
        "status": 200,
        "subprotocol": "echo.v1",
        "received": "810568656c6c6f" + "880203e8",
    }
    assert seen["posted"] == {"status": 200, "content": "beside it"}


# Servers.


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder with one document."""
    folder = tmp_path / "htdocs"
    folder.mkdir()
    (folder / "index.html").write_bytes(b"x" * 10_000)
    return folder


async def _many(client: switchover.Client, url: str) -> None:
    for _ in range(3):
        answer = await client.get(url)
        assert (answer.status, answer.http_version, len(answer.content)) == (200, "2", 10_000)


async def test_our_client_and_nghttpd(program: Program, daemon: Daemon, documents: Path) -> None:
    """H2C-18: prior knowledge."""
    executable = program("nghttpd")
    port = daemon(lambda port: [executable, "--no-tls", "-d", str(documents), str(port)])
    async with switchover.Client(http2=switchover.HTTP2.PRIOR_KNOWLEDGE) as client:
        await _many(client, f"http://127.0.0.1:{port}/index.html")


async def test_our_client_and_nghttpx(program: Program, daemon: Daemon, demonstration: str) -> None:
    """H2C-02, H2C-13: h2c to a proxy that has HTTP/1.1 behind it, with content."""
    executable = program("nghttpx")
    backend = demonstration.replace(":", ",")

    def command(port: int) -> list[str]:
        return [
            executable, f"-f127.0.0.1,{port};no-tls", f"-b{backend}", "--errorlog-file=/dev/null",
            "--workers=1", "--conf=/dev/null",
        ]  # fmt: skip

    port = daemon(command)
    async with switchover.Client() as client:
        answer = await client.post(
            f"http://127.0.0.1:{port}/body", b"through nghttpx", offer=["h2c"]
        )
        assert (answer.protocol, answer.http_version) == ("h2c", "2")
        assert answer.content == b"through nghttpx"
        again = await client.get(f"http://127.0.0.1:{port}/plain")
        assert (again.http_version, again.content) == ("2", b"plain")


async def test_our_client_and_apache(program: Program, daemon: Daemon, documents: Path) -> None:
    """H2C-13: its GOAWAY behind the first response is no error; content is declined.

    More than a window of content behind its 101 it cannot send: it closes in mid-stream, on
    nghttp as on us.
    """
    executable = program("apache2")
    folder = documents.parent

    def command(port: int) -> list[str]:
        text = string.Template((PEERS / "apache_h2c.conf").read_text())
        configuration = folder / "apache.conf"
        configuration.write_text(text.substitute(run=folder, port=port))
        return [executable, "-f", str(configuration), "-DFOREGROUND"]

    port = daemon(command)
    url = f"http://127.0.0.1:{port}/index.html"
    async with switchover.Client() as client:
        for _ in range(3):
            answer = await client.get(url, offer=["h2c"])
            assert (answer.status, answer.http_version) == (200, "2")
            assert len(answer.content) == 10_000
    async with switchover.Client() as client:
        answer = await client.post(url, b"content", offer=["h2c"])
        assert answer.http_version == "1.1"
    async with switchover.Client(http2=switchover.HTTP2.PRIOR_KNOWLEDGE) as client:
        await _many(client, url)


async def test_our_client_and_hypercorn(python_peer: Callable[..., str]) -> None:
    """h2c, prior knowledge, and a WebSocket over an extended CONNECT."""
    peer = python_peer("asgi_server", "hypercorn")
    async with switchover.Client() as client:
        answer = await client.get(f"http://{peer}/", offer=["h2c"])
        assert answer.http_version == "2"
    async with switchover.Client(http2=switchover.HTTP2.PRIOR_KNOWLEDGE) as client:
        assert (await client.get(f"http://{peer}/")).http_version == "2"
        async with switchover.connect(f"ws://{peer}/", client=client) as ws:
            await ws.send("over a stream")
            assert await ws.recv() == "over a stream"
