"""``switchover serve``: the demonstration's contract, row by row, and applications."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosedError

import switchover

FOO = b"Upgrade: foo/1\r\nConnection: Upgrade\r\n"


def request(target: str, *fields: bytes, method: str = "GET") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n".encode()
    return head + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# The demonstration server: each row of its table.


def test_page(demonstration: Any, raw: Any) -> None:
    with raw(demonstration) as connection:
        connection.send(request("/"))
        head, content = connection.answer()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/html; charset=utf-8\r\n" in head
    assert content.startswith(b"<!doctype html>")
    assert content.count(b"<script") == 1


def test_plain(demonstration: Any, raw: Any) -> None:
    with raw(demonstration) as connection:
        connection.send(request("/plain"))
        head, content = connection.answer()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Type: text/plain" in head
        assert content == b"plain"
        connection.send(request("/plain", method="HEAD"))
        assert b"Content-Length: 5\r\n" in connection.head()
        connection.send(request("/plain", method="DELETE"))
        head, _ = connection.answer()
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"Allow: GET, HEAD\r\n" in head


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 11\r\n\r\nnot\0one\xffbyt",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nnot\0\r\n7\r\none\xffbyt\r\n0\r\n\r\n",
    ],
)
def test_body_comes_back_and_a_declined_offer_loses_nothing(
    demonstration: Any, raw: Any, framed: bytes
) -> None:
    with raw(demonstration) as connection:
        head = b"POST /body HTTP/1.1\r\nHost: localhost\r\n" + FOO
        connection.send(head + framed + request("/plain"))
        head, content = connection.answer()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert content == b"not\0one\xffbyt"
        assert connection.answer()[1] == b"plain"


def test_echo(demonstration: Any) -> None:
    url = f"ws://127.0.0.1:{demonstration.port}/echo"
    largest = os.urandom(1024) * (16 * 1024)
    with websockets.sync.client.connect(
        url, subprotocols=["nothing", "echo.v1", "echo.v2"], max_size=None, proxy=None
    ) as ws:
        assert ws.subprotocol == "echo.v1"
        assert "permessage-deflate" in str(ws.response.headers["Sec-WebSocket-Extensions"])
        for message in ("grüße", b"\0\xff", "", largest):
            ws.send(message)
            assert ws.recv() == message
    with websockets.sync.client.connect(url, compression=None, proxy=None) as ws:
        assert ws.subprotocol is None
        ws.send(largest + b"x")
        with pytest.raises(ConnectionClosedError) as closed:
            ws.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_echo_without_a_websocket_says_what_it_is(demonstration: Any, raw: Any) -> None:
    with raw(demonstration) as connection:
        connection.send(request("/echo"))
        head, content = connection.answer()
    assert head.startswith(b"HTTP/1.1 426 ")
    assert b"Upgrade: websocket\r\n" in head
    assert b"websocket" in content


def test_shout_with_half_close(demonstration: Any, raw: Any) -> None:
    """Every octet comes back, ASCII letters in upper case, those behind the request first."""
    with raw(demonstration) as connection:
        offer = (b"Upgrade: shout/2, shout/1", b"Connection: keep-alive, upgrade")
        connection.send(request("/shout", *offer) + b"early \xe4")
        head = connection.head()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"Upgrade: shout/1\r\n" in head
        connection.send(b" late")
        connection.sock.shutdown(socket.SHUT_WR)
        assert connection.rest() == b"EARLY \xe4 LATE"


@pytest.mark.anyio
@pytest.mark.parametrize("target", ["/plain", "/nowhere"])
async def test_h2c_on_any_path(demonstration: Any, target: str) -> None:
    async with switchover.Client() as client:
        answer = await client.get(demonstration.url + target, offer=["h2c"])
        await answer.read()
        assert answer.protocol == "h2c"
        assert answer.http_version == "2"
        assert answer.status == (200 if target == "/plain" else 404)
        content = b"x" * 300_000
        again = await client.request("POST", demonstration.url + "/body", content=content)
        assert again.http_version == "2"
        assert await again.read() == content


@pytest.mark.anyio
async def test_http2_by_prior_knowledge_on_the_same_port(demonstration: Any) -> None:
    async with switchover.Client(http2=switchover.HTTP2.PRIOR_KNOWLEDGE) as client:
        answer = await client.get(demonstration.url + "/plain")
        assert (answer.http_version, await answer.read()) == ("2", b"plain")


@pytest.mark.anyio
async def test_tls_on_any_path(demonstration: Any) -> None:
    async with switchover.Client() as client:
        offer = [switchover.TLSUpgrade(unverified())]
        answer = await client.get(demonstration.url + "/plain", offer=offer)
        assert (answer.status, await answer.read()) == (200, b"plain")
        assert answer.protocol == "TLS/1.2"
        assert answer.facts is not None
        first, tls, inside = answer.facts.chain
        assert (first, inside, answer.facts.protected) == ("HTTP/1.1", "HTTP/1.1", True)
        assert tls.startswith("TLS")


def test_tls_on_asterisk(demonstration: Any, raw: Any) -> None:
    with raw(demonstration) as connection:
        offer = (b"Upgrade: TLS/1.0, TLS/1.2", b"Connection: Upgrade")
        connection.send(request("*", *offer, method="OPTIONS"))
        head = connection.head()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b", HTTP/1.1\r\n" in head
        with unverified().wrap_socket(connection.sock, server_hostname="localhost") as inside:
            assert inside.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            inside.sendall(request("/secure"))
            assert inside.recv(4096).endswith(b"secure")


@pytest.mark.anyio
async def test_secure(demonstration: Any, raw: Any) -> None:
    with raw(demonstration) as connection:
        connection.send(request("/secure"))
        head, content = connection.answer()
    assert head.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"Upgrade: TLS/1.2, HTTP/1.1\r\n" in head
    assert b"TLS" in content
    async with switchover.Client() as client:
        answer = await client.get(
            demonstration.url + "/secure", offer=[switchover.TLSUpgrade(unverified())]
        )
        assert (answer.status, await answer.read()) == (200, b"secure")


def test_anything_else_is_404(demonstration: Any, raw: Any) -> None:
    with raw(demonstration) as connection:
        connection.send(request("/nowhere"))
        assert connection.answer()[0].startswith(b"HTTP/1.1 404 ")
        connection.send(request("/shout"))
        assert connection.answer()[0].startswith(b"HTTP/1.1 404 ")


def test_the_page_is_told_of_switches_as_they_happen(demonstration: Any, raw: Any) -> None:
    with raw(demonstration) as page, raw(demonstration) as other:
        page.send(request("/", b"Accept: text/event-stream"))
        assert b"Content-Type: text/event-stream\r\n" in page.head()
        page.until(b": switches, as they happen")
        other.send(request("/plain", FOO.rstrip()))
        other.answer()
        other.send(request("/shout", b"Upgrade: shout/1", b"Connection: Upgrade"))
        other.head()
        seen = page.until(b"}\n\n", count=2)
    assert b'"outcome": "declined"' in seen
    assert b'"protocol": "shout/1"' in seen


# Listening elsewhere.


@pytest.mark.anyio
async def test_tls_bind_has_the_same_content_and_no_tls_upgrade(
    serve: Any, raw: Any, certificate: Path
) -> None:
    arguments = ("--tls-bind", "127.0.0.1:0", "--certificate", str(certificate))
    with serve(*arguments) as server:
        assert server.lines[1] == f"Listening on https://127.0.0.1:{server.ports[1]}/"
        with raw(server) as connection:
            connection.send(request("/plain", b"Upgrade: TLS/1.2", b"Connection: Upgrade"))
            assert connection.answer()[1] == b"plain"
            connection.send(request("/secure"))
            assert connection.answer()[0].startswith(b"HTTP/1.1 404 ")
        route = switchover.Route(ssl=ssl.create_default_context(cafile=str(certificate)))
        url = f"https://127.0.0.1:{server.ports[1]}"
        for http2, version in (switchover.HTTP2.ALPN, "2"), (switchover.HTTP2.NEVER, "1.1"):
            if http2 is switchover.HTTP2.ALPN:
                route.ssl.set_alpn_protocols(["h2", "http/1.1"])
            else:
                route.ssl.set_alpn_protocols(["http/1.1"])
            async with switchover.Client(route=route, http2=http2) as client:
                answer = await client.get(url + "/secure")
                assert (answer.http_version, await answer.read()) == (version, b"secure")
        wss = f"wss://127.0.0.1:{server.ports[1]}/echo"
        async with switchover.connect(wss, route=route) as ws:
            await ws.send("inside TLS")
            assert await ws.recv() == "inside TLS"


def test_unix_socket(serve: Any, raw: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serve("--unix", path) as server:
        assert server.lines == [f"Listening on unix:{path}"]
        with raw(server, path) as connection:
            connection.send(request("/plain"))
            assert connection.answer()[1] == b"plain"
        code, _, _ = server.stop()
    assert code == 0
    assert not os.path.exists(path)


# The end.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(serve: Any, raw: Any, number: int) -> None:
    """WebSockets are told, streams of events end, nothing waits for a deadline."""
    with serve() as server:
        url = f"ws://127.0.0.1:{server.port}/echo"
        with raw(server) as page, websockets.sync.client.connect(url, proxy=None) as ws:
            page.send(request("/", b"Accept: text/event-stream"))
            page.head()
            begun = time.monotonic()
            server.process.send_signal(number)
            with pytest.raises(websockets.exceptions.ConnectionClosedOK) as closed:
                ws.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            assert page.rest().endswith(b"0\r\n\r\n")
        _, said = server.process.communicate(timeout=30)
        assert time.monotonic() - begun < 8
    assert server.process.returncode == 0
    assert said.decode().rstrip().endswith("Closing …")
    assert "Traceback" not in said.decode()


def test_what_does_not_end_is_aborted_after_the_shutdown_timeout(serve: Any, raw: Any) -> None:
    with serve("--shutdown-timeout", "0.2") as server, raw(server) as connection:
        connection.send(request("/plain"))
        connection.answer()
        connection.send(request("/body", b"Content-Length: 5", method="POST") + b"ha")
        code, _, seconds = server.stop()
        assert code == 0
        assert seconds < 8


# An application.

APPLICATION = """
import os

started = False

async def app(scope, receive, send):
    global started
    if scope["type"] == "lifespan":
        await receive()
        started = True
        if os.path.exists("fail"):
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.close", "code": 4000, "reason": message["text"]})
        return
    body = f"{started} {scope['path']} {scope['root_path']} {scope['client'][0]}".encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

def make():
    return app

class inner:
    app = app
"""


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A folder with a module that holds an ASGI application."""
    (tmp_path / "shop.py").write_text(APPLICATION)
    return tmp_path


@pytest.mark.parametrize(
    "named", [("shop:app",), ("shop",), ("shop:make", "--factory"), ("shop:inner.app",)]
)
def test_application(serve: Any, raw: Any, application: Path, named: tuple[str, ...]) -> None:
    with serve(*named, cwd=application) as server, raw(server) as connection:
        connection.send(request("/x"))
        assert connection.answer()[1] == b"True /x  127.0.0.1"


def test_application_from_elsewhere_behind_a_proxy(serve: Any, raw: Any, application: Path) -> None:
    options = (
        "--app-dir",
        str(application),
        "--root-path",
        "/shop",
        "--proxy-headers",
        "127.0.0.1",
    )
    with serve("shop:app", *options, "--access-log") as server:
        with raw(server) as connection:
            connection.send(request("/x\x7f?a=1", b"X-Forwarded-For: 192.0.2.7"))
            connection.head()
        with raw(server) as connection:
            connection.send(request("/x?a=1", b"X-Forwarded-For: 192.0.2.7"))
            assert connection.answer()[1] == b"True /shop/x /shop 192.0.2.7"
        code, said, _ = server.stop()
    assert code == 0
    assert '"GET /x?a=1 HTTP/1.1" 200' in said


def test_application_over_http2_and_tls_upgrade(serve: Any, run: Any, application: Path) -> None:
    options = ("--http2", "--tls-upgrade", "--app-dir", str(application))
    with serve("shop:app", *options) as server:
        seen = run("probe", server.url).stdout
        assert "HTTP/2" in seen
        inside = run("connect", server.url, "--offer", "TLS/1.2", "--insecure")
        assert inside.stdout.startswith("True / ")


# What cannot be served: one sentence, and an exit code.


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["nowhere:app"], 1, "cannot import 'nowhere': No module named 'nowhere'"),
        (["json:app"], 1, "module 'json' has no 'app'"),
        (["--bind", "8101"], 2, "not an address of the form HOST:PORT: '8101'"),
        (["--bind", "127.0.0.1:70000"], 2, "not an address of the form HOST:PORT"),
        (["--tls-bind", "127.0.0.1:0", "--tls-upgrade"], 2, "CVE-2025-49812"),
        (["--certificate", __file__], 1, "cannot use the certificate"),
        (["--unix", "/nonexistent/folder/socket"], 1, "No such file or directory"),
    ],
)
def test_failures(invoke: Any, arguments: list[str], code: int, sentence: str) -> None:
    ended = invoke("serve", *arguments)
    assert ended.exit_code == code
    assert ended.stderr.startswith("switchover: ")
    assert ended.stderr.count("\n") == 1
    assert sentence in ended.stderr


def test_address_in_use(run: Any, demonstration: Any) -> None:
    ended = run("serve", "--bind", f"127.0.0.1:{demonstration.port}")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "address already in use" in ended.stderr.lower()


def test_application_that_does_not_start(run: Any, application: Path) -> None:
    (application / "shop.py").write_text(APPLICATION.replace('os.path.exists("fail")', "True"))
    ended = run("serve", "shop:app", "--app-dir", str(application), "--bind", "127.0.0.1:0")
    assert ended.returncode == 1
    assert "no database" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_module_that_fails_to_import_shows_where(run: Any, application: Path) -> None:
    (application / "shop.py").write_text("import os\n1 / 0\n")
    ended = run("serve", "shop:app", "--app-dir", str(application))
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
    assert "shop.py" in ended.stderr


def test_usage(run: Any, invoke: Any) -> None:
    assert invoke("serve", "--nonsense").exit_code == 2
    everything = invoke("-h").stdout
    for command in ("serve", "connect", "probe"):
        assert f"  {command} " in everything
        usage = invoke(command, "-h")
        assert usage.exit_code == 0
        assert usage.stdout.startswith(f"Usage: switchover {command} [OPTIONS]")
    assert not [name for name in ("bench", "conform", "doctor", "proxy ") if name in everything]
    version = run("--version").stdout
    assert version.startswith(f"switchover {switchover.__version__} (Python ")
