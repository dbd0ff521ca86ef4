"""``switchover probe``: what a server switches to, as a table and as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

STUBBORN = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})
"""


def verdicts(stdout: str) -> dict[str, str]:
    """The first two columns of the table."""
    rows = [line.split("│")[1:3] for line in stdout.splitlines() if line.startswith("│")]
    return {offer.strip(): verdict.strip() for offer, verdict in rows if offer.strip()}


def test_table(demonstration: Any, run: Any) -> None:
    ended = run("probe", f"{demonstration.url}/shout", "--offer", "shout/1")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert verdicts(ended.stdout) == {
        "no offer": "answers",
        "switchover-probe/1": "declines",
        "websocket": "declines",
        "h2c": "switches",
        "TLS/1.2": "switches",
        "shout/1": "switches",
        "HTTP/2 prior knowledge": "speaks",
    }


def test_json(demonstration: Any, run: Any) -> None:
    ended = run("probe", f"{demonstration.url}/echo", "--json")
    findings = {finding["offer"]: finding for finding in json.loads(ended.stdout)}
    assert ended.stderr == ""
    websocket = findings["websocket"]
    assert (websocket["verdict"], websocket["status"], websocket["protocol"]) == (
        "switches",
        101,
        "websocket",
    )
    assert websocket["sent"].startswith("GET /echo HTTP/1.1\r\n")
    assert websocket["received"].startswith("HTTP/1.1 101 Switching Protocols\r\n")
    unknown = findings["switchover-probe/1"]
    assert (unknown["verdict"], unknown["connection_kept"]) == ("requires", True)


def test_verbose_shows_the_octets(demonstration: Any, run: Any) -> None:
    ended = run("probe", f"{demonstration.url}/plain", "--verbose")
    assert "── h2c" in ended.stdout
    assert "> Upgrade: h2c\\r\\n" in ended.stdout
    assert "< HTTP/1.1 101 Switching Protocols\\r\\n" in ended.stdout
    assert "> PRI * HTTP/2.0\\r\\n" in ended.stdout


def test_alpn(serve: Any, run: Any, certificate: Path) -> None:
    with serve("--tls-bind", "127.0.0.1:0", "--certificate", str(certificate)) as server:
        url = f"https://localhost:{server.ports[1]}/plain"
        ended = run("probe", url, "--ca", str(certificate))
        assert ended.returncode == 0
        seen = verdicts(ended.stdout)
        assert seen["ALPN"] == "speaks"
        assert "selects h2" in ended.stdout
        assert not {"TLS/1.2", "HTTP/2 prior knowledge"} & seen.keys()
        assert run("probe", url, "--insecure").returncode == 0
        refused = run("probe", url)
    assert refused.returncode == 1
    assert refused.stderr.startswith("switchover: the server's certificate is not accepted: ")


def test_a_server_that_switches_to_nothing_exits_with_3(
    serve: Any, run: Any, tmp_path: Path
) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    with serve("stubborn:app", "--app-dir", str(tmp_path)) as server:
        ended = run("probe", server.url)
    assert ended.returncode == 3
    assert not {"switches", "speaks"} & set(verdicts(ended.stdout).values())


def test_unix_socket(serve: Any, run: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serve("--unix", path):
        assert run("probe", "http://localhost/plain", "--unix", path).returncode == 0


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:1/", "connection refused"),
        ("http://nowhere.invalid/", "cannot find the host"),
        ("gopher://localhost/", 'URL scheme "gopher"'),
    ],
)
def test_a_server_that_cannot_be_reached(invoke: Any, url: str, sentence: str) -> None:
    ended = invoke("probe", url)
    assert ended.exit_code == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("switchover: ")
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1
