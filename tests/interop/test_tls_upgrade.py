"""RFC 2817 with real clients: those of CUPS, libshout and OpenSSL; and curl, which knows nothing.

``peers/ipp_printer.py`` is a print server on our server. Nothing leaves loopback, and what a client
remembers (CUPS: certificates) goes to a folder of the test.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.dialing import Route
from switchover.upgrade.client import UpgradeReaction

pytestmark = pytest.mark.interop

PEERS = Path(__file__).parent / "peers"
INSIDE = "HTTP/1.1>TLS/1.2>HTTP/1.1"
IPP_TEST = """{
  NAME "Get-Printer-Attributes"
  OPERATION Get-Printer-Attributes
  GROUP operation-attributes-tag
  ATTR charset attributes-charset utf-8
  ATTR language attributes-natural-language en
  ATTR uri printer-uri $uri
  STATUS successful-ok
  EXPECT printer-name WITH-VALUE "switchover"
}
"""


Printer = Callable[..., int]


@pytest.fixture(scope="module")
def printer(start: Callable[..., Any], certificate: Path) -> Printer:
    """The port of our print server, started with these options."""

    def started(*options: str) -> int:
        command = (sys.executable, str(PEERS / "ipp_printer.py"), str(certificate / "both.pem"))
        port: int = start(*command, *options).port
        return port

    return started


def log_of(port: int) -> list[str]:
    """What the print server has answered so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/log", timeout=10) as answer:
        lines: list[str] = answer.read().decode().splitlines()
    return lines


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(program: Callable[[str], str], tmp_path: Path) -> Run:
    """Run a program of that name with a home of its own, since CUPS remembers certificates."""

    def run_program(
        name: str, *arguments: str, given: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(tmp_path), "LC_ALL": "C", **more}
        return subprocess.run(
            [program(name), *arguments],
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    return run_program


# Clients of CUPS, our server.


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_ipptool_switches_because_it_was_told_to(
    run: Run, printer: Printer, tmp_path: Path, host: str
) -> None:
    """TLS-03, TLS-06: ``-E``; Host is localhost for the address, too."""
    (tmp_path / "get.test").write_text(IPP_TEST)
    port = printer()
    before = len(log_of(port))
    done = run("ipptool", "-E", "-t", f"ipp://{host}:{port}/", str(tmp_path / "get.test"))
    assert done.returncode == 0, done.stdout
    assert "[PASS]" in done.stdout
    assert log_of(port)[before:] == [f"{INSIDE} POST / 0x000b"]


def test_lpstat_shows_the_printer_behind_the_switch(run: Run, printer: Printer) -> None:
    """TLS-06: every request of it comes inside TLS."""
    port = printer()
    before = len(log_of(port))
    done = run("lpstat", "-E", "-h", f"localhost:{port}", "-p")
    assert "printer switchover is idle" in done.stdout, done.stderr
    seen = log_of(port)[before:]
    assert seen
    assert all(line.startswith(INSIDE) for line in seen)


@pytest.mark.parametrize("name", ["ipptool", "lpstat"])
def test_clients_of_cups_follow_a_426(
    run: Run, printer: Printer, tmp_path: Path, name: str
) -> None:
    """TLS-08, TLS-09: they were not told to, and the print server insists."""
    (tmp_path / "get.test").write_text(IPP_TEST)
    port = printer("required")
    before = len(log_of(port))
    arguments = {
        "ipptool": ("-t", f"ipp://localhost:{port}/", str(tmp_path / "get.test")),
        "lpstat": ("-h", f"localhost:{port}", "-p"),
    }
    done = run(name, *arguments[name])
    assert "[PASS]" in done.stdout or "printer switchover is idle" in done.stdout, done
    assert all(line.startswith(INSIDE) for line in log_of(port)[before:])


def test_ipptool_switches_the_demonstration_server(
    run: Run, demonstration: str, tmp_path: Path
) -> None:
    """TLS-03: as far as IPP goes there, which is not beyond the switch."""
    (tmp_path / "get.test").write_text(IPP_TEST)
    host, port = demonstration.split(":")
    watching = http.client.HTTPConnection(host, int(port), timeout=20)
    watching.request("GET", "/", headers={"Accept": "text/event-stream"})
    events = watching.getresponse()
    run("ipptool", "-E", "-t", f"ipp://localhost:{port}/", str(tmp_path / "get.test"))
    seen = []
    while not seen or seen[-1]["method"] != "OPTIONS":
        line = events.readline().decode()
        if line.startswith("data: "):
            seen.append(json.loads(line.removeprefix("data: ")))
    watching.close()
    assert seen[-1]["outcome"] == "switched"
    assert seen[-1]["protocol"] == "TLS/1.2"
    assert seen[-1]["offered"] == "TLS/1.2,TLS/1.1,TLS/1.0"
    assert "CUPS" in seen[-1]["agent"]


# libshout, our server.


def test_shout_sends_its_credentials_inside(run: Run, printer: Printer, certificate: Path) -> None:
    """TLS-03, TLS-06: it offers TLS/1.0, gets it in name, and trusts the certificate."""
    port = printer()
    before = len(log_of(port))
    done = run(
        "shout", "--host", "localhost", "--port", str(port), "--tls-mode", "rfc2817",
        "--mount", "/radio.ogg", given="\0" * 20_000,
        SSL_CERT_FILE=str(certificate / "certificate.pem"),
    )  # fmt: skip
    seen = log_of(port)[before:]
    assert len(seen) >= 2, done.stderr  # without credentials, then with
    assert set(seen) == {"HTTP/1.1>TLS/1.0>HTTP/1.1 SOURCE /radio.ogg 0x0000"}


def test_shout_does_not_trust_an_unknown_certificate(run: Run, printer: Printer) -> None:
    """TLS-07: its handshake ends, and nothing of ours follows in clear."""
    port = printer()
    before = len(log_of(port))
    done = run(
        "shout", "--host", "localhost", "--port", str(port), "--tls-mode", "rfc2817",
        "--mount", "/radio.ogg",
    )  # fmt: skip
    assert "bad certificate" in done.stdout + done.stderr
    assert log_of(port)[before:] == []


# OpenSSL and curl, our server.


@pytest.fixture
def switched_by_hand(start: Callable[..., Any], printer: Printer) -> int:
    """A port on which our server is in the middle of a switch: TLS comes next."""
    port: int = start(sys.executable, str(PEERS / "switching_relay.py"), str(printer())).port
    return port


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_s_client_behind_a_switch_made_by_hand(
    run: Run, switched_by_hand: int, certificate: Path, version: str
) -> None:
    """TLS-05, TLS-06, TLS-12: the owed answer comes unprompted, then the connection goes on."""
    done = run(
        "openssl", "s_client", "-connect", f"127.0.0.1:{switched_by_hand}",
        "-servername", "localhost", "-CAfile", str(certificate / "certificate.pem"),
        "-verify_return_error", "-alpn", "h2,http/1.1", version, "-ign_eof",
        given="GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )  # fmt: skip
    said = done.stdout
    assert "Verify return code: 0 (ok)" in said, done.stderr
    assert "ALPN protocol: http/1.1" in said
    owed, asked = said.index("Content-Length: 0"), said.index("a printer")
    assert owed < asked
    assert said.count("HTTP/1.1 200 OK") == 2


def test_s_client_with_tls_1_1_is_refused(run: Run, switched_by_hand: int) -> None:
    """TLS-03, ALPN-05: TLS 1.2 at least, whatever was offered by token."""
    done = run(
        "openssl", "s_client", "-connect", f"127.0.0.1:{switched_by_hand}", "-tls1_1",
        "-cipher", "DEFAULT:@SECLEVEL=0", "-ign_eof",
    )  # fmt: skip
    assert done.returncode != 0
    assert "HTTP/1.1" not in done.stdout


def test_curl_is_not_disturbed(run: Run, printer: Printer) -> None:
    """TLS-10: it sees TLS advertised in every answer, and goes on in clear."""
    port = printer("advertise")
    url = f"http://127.0.0.1:{port}/x"
    for options in ((), ("--http2",), ("--data-binary", "hello"), ("--http1.0",)):
        told = run("curl", "--silent", "--show-error", "--dump-header", "-", *options, url, url)
        assert told.returncode == 0, told.stderr
        assert told.stdout.count("a printer") == 2
        advertised = told.stdout.count("Upgrade: TLS/1.2, HTTP/1.1")
        assert advertised == (0 if "--http1.0" in options else 2)


def test_curl_is_told_what_a_resource_insists_on(run: Run, printer: Printer) -> None:
    """TLS-08: a text to read, for whoever cannot switch."""
    port = printer("required")
    told = run("curl", "--silent", "--include", f"http://127.0.0.1:{port}/")
    assert told.stdout.startswith("HTTP/1.1 426 Upgrade Required")
    assert "Upgrade: TLS/1.2, HTTP/1.1" in told.stdout
    assert "only after a switch to: TLS/1.2, HTTP/1.1" in told.stdout


# Our client, our server.


@pytest.mark.anyio
async def test_our_client_follows_a_426_of_a_server_it_does_not_know(
    printer: Printer, trusting: ssl.SSLContext
) -> None:
    """TLS-09: the request was refused in clear, and is made again with an offer."""
    port = await asyncio.to_thread(printer, "required")
    reaction = UpgradeReaction(acceptable=lambda token: token.name == "TLS")
    async with Client(route=Route(ssl=trusting), reaction=reaction) as client:
        answer = await client.get(f"http://localhost:{port}/")
        assert answer.content == b"a printer\n"
        assert [before.status for before in answer.history] == [426]
    lines = await asyncio.to_thread(log_of, port)
    assert lines[-1] == f"{INSIDE} GET / 0x0000"
