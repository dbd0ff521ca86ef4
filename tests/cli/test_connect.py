"""``switchover connect``: piped and at a terminal, to WebSockets and to any token."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "switchover", "connect")
SOURCE = Path(__file__).resolve().parents[2] / "src"

CLOSER = """
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.close", "code": 4000, "reason": message["text"]})
"""


def ws(server: Any, target: str = "/echo") -> str:
    return f"ws://127.0.0.1:{server.port}{target}"


# WebSockets.


def test_lines_are_messages(demonstration: Any, run: Any) -> None:
    ended = run(ws(demonstration), stdin="hello\n\ngrüße\r\nno newline")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "hello\n\ngrüße\nno newline\n"


def test_binary_messages(demonstration: Any, run: Any) -> None:
    ended = run(ws(demonstration), "--binary", stdin="octets\n")
    assert (ended.returncode, ended.stdout) == (0, "octets\n")


def test_verbose_shows_the_switch_and_keeps_credentials(demonstration: Any, run: Any) -> None:
    """SEC-44: what identifies a person is not shown."""
    options = ("-s", "echo.v1", "-s", "echo.v2", "-H", "Authorization: Basic c2VjcmV0")
    ended = run(ws(demonstration), "--verbose", *options)
    assert ended.returncode == 0
    shown = ended.stderr.splitlines()
    assert "> GET /echo HTTP/1.1" in shown
    assert "> Authorization: …" in shown
    assert "c2VjcmV0" not in ended.stderr
    assert "< HTTP/1.1 101 Switching Protocols" in shown
    assert "< Sec-WebSocket-Protocol: echo.v1" in shown
    assert shown[-1] == "* HTTP/1.1 → websocket"


def test_refused_handshake_shows_the_whole_answer(demonstration: Any, run: Any) -> None:
    ended = run(ws(demonstration), "--origin", "http://evil.example", "-v")
    assert ended.returncode == 3
    assert "< HTTP/1.1 403 Forbidden" in ended.stderr
    assert "evil.example" in ended.stderr.rpartition("switchover: ")[2]
    assert "Traceback" not in ended.stderr


def test_not_found_is_a_refusal_too(demonstration: Any, run: Any) -> None:
    ended = run(ws(demonstration, "/nowhere"))
    assert ended.returncode == 3
    assert "404" in ended.stderr
    assert "Not Found" in ended.stderr


def test_a_close_that_is_not_normal_is_told(serve: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "closer.py").write_text(CLOSER)
    with serve("closer:app", "--app-dir", str(tmp_path)) as server:
        ended = run(ws(server, "/"), stdin="because\n")
    assert ended.returncode == 1
    assert ended.stderr == "Closed with 4000: because\n"


def test_wss_trusts_what_it_is_told_to(serve: Any, run: Any, certificate: Path) -> None:
    """WS-H-03: without a certificate that is trusted there is no handshake."""
    options = ("--tls-bind", "127.0.0.1:0", "--certificate", str(certificate))
    with serve(*options) as server:
        url = f"wss://localhost:{server.ports[1]}/echo"
        refused = run(url, stdin="hello\n")
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert refused.stderr.startswith("switchover: the server's certificate is not accepted: ")
        assert refused.stderr.count("\n") == 1
        assert run(url, "--ca", str(certificate), stdin="hello\n").stdout == "hello\n"
        assert run(url, "--insecure", stdin="hello\n").stdout == "hello\n"


def test_unix_socket(serve: Any, run: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serve("--unix", path):
        ended = run("ws://localhost/echo", "--unix", path, stdin="hello\n")
        assert ended.stdout == "hello\n"
        nobody = run("ws://localhost/echo", "--unix", path + "-not", stdin="hello\n")
    assert nobody.returncode == 1
    assert nobody.stderr.count("\n") == 1


# Any other protocol.


def test_octets_and_half_close(demonstration: Any, run: Any) -> None:
    text = "every octet, upper-cased\n" * 20_000
    ended = run(f"{demonstration.url}/shout", "--offer", "shout/2", "-o", "shout/1", stdin=text)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == text.upper()


def test_verbose_shows_the_switch_to_a_token(demonstration: Any, run: Any) -> None:
    ended = run(f"{demonstration.url}/shout", "-o", "shout/1", "-v", stdin="x")
    assert ended.stdout == "X"
    assert "> Upgrade: shout/1" in ended.stderr
    assert "< HTTP/1.1 101 Switching Protocols" in ended.stderr
    assert "* HTTP/1.1 → shout/1" in ended.stderr


@pytest.mark.parametrize(
    ("target", "method", "status"), [("/plain", (), 200), ("/body", ("-d", "kept"), 200)]
)
def test_a_declined_offer_exits_with_3_and_shows_the_answer(
    demonstration: Any, run: Any, target: str, method: tuple[str, ...], status: int
) -> None:
    ended = run(demonstration.url + target, "-o", "foo/1", *method)
    assert ended.returncode == 3
    assert ended.stderr == f"switchover: the server declined: {status} OK.\n"
    assert ended.stdout == ("kept" if method else "plain")


def test_a_426_says_what_the_resource_wants(demonstration: Any, run: Any) -> None:
    ended = run(f"{demonstration.url}/secure", "-o", "foo/1")
    assert ended.returncode == 3
    assert "426 Upgrade Required. It wants: TLS/1.2, HTTP/1.1." in ended.stderr


def test_tls_by_upgrade(demonstration: Any, run: Any) -> None:
    ended = run(f"{demonstration.url}/secure", "-o", "TLS/1.2", "--insecure")
    assert (ended.returncode, ended.stdout) == (0, "secure")
    chain, session, certificate = ended.stderr.splitlines()
    assert chain.startswith("* HTTP/1.1 → TLS")
    assert chain.endswith(" → HTTP/1.1")
    assert session.startswith("* TLSv1.")
    assert certificate == "* certificate: not verified"


@pytest.mark.parametrize("token", ["TLS/1.2", "h2c"])
def test_verbose_shows_the_101_where_the_answer_is_inside(
    demonstration: Any, run: Any, token: str
) -> None:
    ended = run(f"{demonstration.url}/plain", "-o", token, "--insecure", "-v")
    assert ended.stdout == "plain"
    shown = ended.stderr.splitlines()
    assert "< HTTP/1.1 101 Switching Protocols" in shown
    assert [line for line in shown if line.startswith(f"< Upgrade: {token}")]
    assert len([line for line in shown if line.startswith("* HTTP/1.1 → ")]) == 1


def test_tls_by_upgrade_verifies(serve: Any, run: Any, certificate: Path) -> None:
    with serve("--certificate", str(certificate)) as server:
        url = f"http://localhost:{server.port}/secure"
        assert run(url, "-o", "TLS/1.2").returncode == 1
        ended = run(url, "-o", "TLS/1.2", "--ca", str(certificate))
        assert ended.stdout == "secure"
        assert "* certificate: commonName=localhost; valid until " in ended.stderr


def test_h2c(demonstration: Any, run: Any) -> None:
    ended = run(f"{demonstration.url}/plain", "-o", "h2c")
    assert (ended.returncode, ended.stdout) == (0, "plain")
    assert ended.stderr == "* HTTP/1.1 → h2c\n" or "HTTP/2" in ended.stderr


# What goes wrong: one sentence, and an exit code.


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["http://localhost/"], 2, "name what to switch to with --offer"),
        (["ftp://localhost/", "-o", "x"], 1, 'URL scheme "ftp"'),
        (["ws://127.0.0.1:1/"], 1, "connection refused"),
        (["ws://nowhere.invalid/"], 1, "cannot find the host"),
        (["ws://localhost/", "-H", "nonsense"], 2, "a header is written 'NAME: VALUE'"),
        (["http://localhost/", "-o", "not a token"], 1, "not a token"),
    ],
)
def test_failures(invoke: Any, arguments: list[str], code: int, sentence: str) -> None:
    ended = invoke("connect", *arguments)
    assert ended.exit_code == code
    assert sentence in ended.stderr
    assert ended.stderr.startswith("switchover: ")
    assert ended.stderr.count("\n") == 1


@pytest.fixture
def run(run: Any) -> Any:
    """Run ``switchover connect`` to its end."""
    return lambda *arguments, stdin="": run("connect", *arguments, stdin=stdin)


# A person at a terminal.


class Terminal:
    """``switchover connect`` on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["PYTHONPATH"] = str(SOURCE)
            os.execv(COMMAND[0], [*COMMAND, *arguments])
        self.seen = ""

    def wait_for(self, text: str) -> None:
        """Read until ``text`` has been shown."""
        until = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < until, self.seen
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode()
                except OSError:  # the other end is closed
                    break
        assert text in self.seen

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 4096):
                self.seen += data.decode()
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_at_a_terminal(demonstration: Any) -> None:
    terminal = Terminal(ws(demonstration))
    terminal.wait_for("Connected. A line is a message; Ctrl-D closes.")
    terminal.type("hello\n")
    terminal.wait_for("hello\r\nhello\r\n")  # typed, and back
    terminal.type("\x04")
    terminal.wait_for("Closed with 1000")
    assert terminal.end() == 0


def test_ctrl_c_ends_it_without_a_traceback(demonstration: Any) -> None:
    process = subprocess.Popen(
        [*COMMAND, "-v", ws(demonstration)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        # A shell that runs the suite in the background has SIGINT ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    said = b""
    while "→ websocket".encode() not in said:
        said += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    # Not communicate(): the input stays open, as that of a person does.
    process.wait(timeout=20)
    rest = process.stderr.read()
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.returncode == 130
    assert b"Traceback" not in rest
