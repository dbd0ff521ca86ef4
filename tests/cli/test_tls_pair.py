"""TLS by upgrade and TLS from the first octet, on the command line: one or the other."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

APPLICATION = """
async def app(scope, receive, send):
    text = f"{scope['scheme']} {'tls' in scope['extensions']}".encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})
"""


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def _splicing(port: int) -> Iterator[tuple[int, list[bytes]]]:
    """A man in the middle: his upgrade on the cleartext ``port``, then the victim's own TLS."""
    answers: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        victim, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", port), 10)
        server.sendall(
            b"GET /plain HTTP/1.1\r\nHost: localhost\r\nUpgrade: TLS/1.2\r\n"
            b"Connection: Upgrade\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += server.recv(1)
        answers.append(head)
        back = threading.Thread(target=_pump, args=(server, victim))
        back.start()
        _pump(victim, server)
        back.join()
        victim.close()
        server.close()

    thread = threading.Thread(target=work)
    thread.start()
    with listener:
        yield listener.getsockname()[1], answers
    thread.join(10)


def _ask(port: int, certificate: Path) -> bytes:
    """A client that speaks TLS from the first octet asks for ``/nothing``, which is not there."""
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        sock.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return sock.recv(65536)


def test_splice_of_cve_2025_49812_fails_beside_a_tls_listener(
    serve: Any, certificate: Path
) -> None:
    """TLS-13, SEC-11: with ``--tls-bind`` the demonstration switches its upgrade off."""
    with serve("--tls-bind", "127.0.0.1:0", "--certificate", str(certificate)) as server:
        assert _ask(server.ports[1], certificate).startswith(b"HTTP/1.1 404 ")
        with _splicing(server.port) as (port, answers):
            with pytest.raises((ssl.SSLError, OSError)):
                _ask(port, certificate)
        assert answers[0].startswith(b"HTTP/1.1 200 ")


def test_splice_of_cve_2025_49812_needs_a_client_of_implicit_tls(
    serve: Any, certificate: Path
) -> None:
    """What is being kept apart: alone, the upgrade gives a misled client a wrong answer."""
    with serve("--certificate", str(certificate)) as server:
        with _splicing(server.port) as (port, answers):
            assert _ask(port, certificate).startswith(b"HTTP/1.1 200 ")  # of /plain
        assert answers[0].startswith(b"HTTP/1.1 101 ")


def test_both_for_an_application_is_wrong_usage(run: Any, tmp_path: Path) -> None:
    """CVE-2025-49812: no option of the command line accepts it."""
    (tmp_path / "web.py").write_text(APPLICATION)
    ended = run(
        "serve", "web:app", "--app-dir", str(tmp_path), "--tls-upgrade", "--tls-bind", "127.0.0.1:0"
    )
    assert ended.returncode == 2
    assert "CVE-2025-49812" in ended.stderr


def test_tls_by_upgrade_for_an_application(
    serve: Any, run: Any, certificate: Path, tmp_path: Path
) -> None:
    """TLS-14: ``--tls-upgrade``; the application sees http, and that it is protected."""
    (tmp_path / "web.py").write_text(APPLICATION)
    options = ("--tls-upgrade", "--certificate", str(certificate), "--lifespan", "off")
    with serve("web:app", "--app-dir", str(tmp_path), *options) as server:
        ended = run(
            "connect", f"http://localhost:{server.port}/", "--offer", "TLS/1.2",
            "--ca", str(certificate),
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == "http True"
        chain, session, known = ended.stderr.splitlines()
        assert chain == "* HTTP/1.1 → TLS/1.2 → HTTP/1.1"
        assert session.startswith("* TLSv1.3, TLS_")
        assert known.startswith("* certificate: commonName=localhost; valid until ")
