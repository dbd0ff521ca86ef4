"""curl against the demonstration server: plain, and with an upgrade that it offers by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

Curl = Callable[..., str]


@pytest.fixture
def curl(program: Callable[[str], str], demonstration: str) -> Curl:
    """Run curl on paths of the demonstration server; options first."""
    executable = program("curl")

    def run(*arguments: str, paths: tuple[str, ...], given: bytes | None = None) -> str:
        urls = [f"http://{demonstration}{path}" for path in paths]
        command = [executable, "--silent", "--show-error", "--max-time", "20", *arguments, *urls]
        done = subprocess.run(command, input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return run


@pytest.fixture
def content(tmp_path: Path) -> Callable[[int], Path]:
    """A file of so many octets."""

    def make(size: int) -> Path:
        path = tmp_path / f"content-{size}"
        path.write_bytes(os.urandom(size))
        return path

    return make


def test_plain_request(curl: Curl) -> None:
    told = curl("--write-out", "|%{http_code}|%{http_version}", paths=("/plain",))
    assert told == "plain|200|1.1"


def test_head_request(curl: Curl) -> None:
    assert curl("--head", paths=("/plain",)).startswith("HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/plain", "/nowhere"])
def test_an_offer_of_h2c_is_taken_or_declined_and_answered_either_way(
    curl: Curl, path: str
) -> None:
    told = curl("--http2", "--write-out", "|%{http_code}|%{http_version}", paths=(path,))
    text, status, version = told.split("|")
    assert version in ("1.1", "2")
    assert (text, status) == ("plain", "200") if path == "/plain" else status == "404"


@pytest.mark.parametrize("size", [0, 5, 100_000, 3_000_000])
def test_content_with_an_offer_of_h2c_arrives_whole(
    curl: Curl, content: Callable[[int], Path], tmp_path: Path, size: int
) -> None:
    """From a megabyte on, curl waits for 100 Continue before it sends."""
    sent, received = content(size), tmp_path / "received"
    told = curl(
        "--http2", "--data-binary", f"@{sent}", "--output", str(received),
        "--write-out", "%{http_code}", paths=("/body",),
    )  # fmt: skip
    assert told == "200"
    assert received.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_chunked_content_with_expect_arrives_whole(
    curl: Curl, content: Callable[[int], Path], tmp_path: Path, version: str
) -> None:
    sent, received = content(200_000), tmp_path / "received"
    curl(
        version, "--upload-file", "-", "--request", "POST", "--header", "Expect: 100-continue",
        "--output", str(received), paths=("/body",), given=sent.read_bytes(),
    )  # fmt: skip
    assert received.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_the_connection_serves_the_next_request(curl: Curl, version: str) -> None:
    told = curl(version, "--write-out", "|%{num_connects} ", paths=("/plain", "/plain", "/plain"))
    assert told == "plain|1 plain|0 plain|0 "


def test_content_with_an_unknown_token_arrives_whole_and_the_connection_stays(curl: Curl) -> None:
    """UPG-S-01: the server may ignore the offer; the request is an ordinary one then."""
    told = curl(
        "--header", "Connection: Upgrade", "--header", "Upgrade: loud/9", "--data", "kept whole",
        "--write-out", "|%{http_code}|%{num_connects} ", paths=("/body", "/body"),
    )  # fmt: skip
    assert told == "kept whole|200|1 kept whole|200|0 "


def test_a_resource_that_insists_says_so(curl: Curl) -> None:
    told = curl("--include", paths=("/echo",))
    head, _, text = told.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 426")
    assert "upgrade: websocket" in head.lower()
    assert text.strip()


def test_two_offers_on_one_connection(curl: Curl, content: Callable[[int], Path]) -> None:
    """curl repeats a declined offer with every request on the connection."""
    told = curl(
        "--http2", "--data-binary", f"@{content(70_000)}", "--output", os.devnull,
        "--output", os.devnull, "--write-out", "%{http_code}:%{size_download} ",
        paths=("/body", "/body"),
    )  # fmt: skip
    assert told == "200:70000 200:70000 "
