"""The connection scopes (ASGI 3.0, HTTP & WebSocket message format 2.5)."""

from __future__ import annotations

from typing import Any

import pytest

from switchover.asgi import handler

pytestmark = pytest.mark.anyio

WEBSOCKET = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]


class Session:
    """As much of an ``ssl.SSLObject`` as is asked."""

    def __init__(self, version: str, certificate: dict[str, Any] | None = None) -> None:
        self._version = version
        self._certificate = certificate or {}

    def version(self) -> str:
        return self._version

    def cipher(self) -> tuple[str, str, int]:
        return ("TLS_AES_128_GCM_SHA256", self._version, 128)

    def selected_alpn_protocol(self) -> str | None:
        return None

    def getpeercert(self, binary_form: bool = False) -> Any:
        return self._certificate if not binary_form else b"\x30\x00" * bool(self._certificate)


async def scope_of(exchange: Any, **options: Any) -> dict[str, Any]:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

    await handler(app, **options)(exchange)
    return seen[0]


async def test_http_scope_has_every_key(exchange_for: Any) -> None:
    scope = await scope_of(exchange_for("PUT", "/a/b?x=1&y"))
    extensions = scope.pop("extensions")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/a/b",
        "raw_path": b"/a/b",
        "query_string": b"x=1&y",
        "root_path": "",
        "headers": [(b"host", b"example.com")],
        "client": ("192.0.2.1", 5000),
        "server": ("198.51.100.1", 80),
    }
    assert set(extensions) == {"http.response.trailers", "http.response.early_hint"}


async def test_websocket_scope_has_every_key(exchange_for: Any) -> None:
    fields = [*WEBSOCKET, ("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "b, c")]
    scope = await scope_of(exchange_for("GET", "/chat?r=1", fields))
    headers = scope.pop("headers")
    assert (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==") in headers
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/chat",
        "raw_path": b"/chat",
        "query_string": b"r=1",
        "root_path": "",
        "client": ("192.0.2.1", 5000),
        "server": ("198.51.100.1", 80),
        "subprotocols": ["a", "b", "c"],
        "extensions": {"websocket.http.response": {}},
    }


async def test_websocket_scheme_under_tls_is_wss(exchange_for: Any) -> None:
    scope = await scope_of(exchange_for("GET", "/", WEBSOCKET, scheme="https"))
    assert scope["scheme"] == "wss"


@pytest.mark.parametrize(
    ("target", "path", "raw_path"),
    [
        ("/caf%C3%A9", "/café", b"/caf%C3%A9"),
        ("/a%2Fb", "/a/b", b"/a%2Fb"),
        ("/%FF", "/�", b"/%FF"),
        ("/a+b", "/a+b", b"/a+b"),
        ("http://example.com/x?q", "/x", b"/x"),
        ("http://example.com", "/", b"/"),
    ],
)
async def test_path_is_decoded_and_raw_path_is_not(
    exchange_for: Any, target: str, path: str, raw_path: bytes
) -> None:
    scope = await scope_of(exchange_for("GET", target))
    assert (scope["path"], scope["raw_path"]) == (path, raw_path)


async def test_asterisk_form_is_the_path(exchange_for: Any) -> None:
    assert (await scope_of(exchange_for("OPTIONS", "*")))["path"] == "*"


async def test_root_path_is_put_before_the_path(exchange_for: Any) -> None:
    scope = await scope_of(exchange_for("GET", "/x%20y"), root_path="/api/")
    assert (scope["root_path"], scope["path"]) == ("/api", "/api/x y")
    assert scope["raw_path"] == b"/api/x%20y"


async def test_headers_are_lower_case_in_order_and_repeated(exchange_for: Any) -> None:
    fields = [("X-Odd-NAME", "1"), ("Cookie", "a=1"), ("x-odd-name", "2"), ("Cookie", "b=2")]
    scope = await scope_of(exchange_for("GET", "/", fields))
    assert scope["headers"] == [
        (b"host", b"example.com"),
        (b"x-odd-name", b"1"),
        (b"cookie", b"a=1"),
        (b"x-odd-name", b"2"),
        (b"cookie", b"b=2"),
    ]


async def test_underscore_names_do_not_reach_the_application(exchange_for: Any) -> None:
    """SEC-40, RFC 9110 §17.10: Transfer_Encoding must not pass for Transfer-Encoding."""
    fields = [("Transfer_Encoding", "chunked"), ("X_Forwarded_For", "10.0.0.1"), ("X-A", "1")]
    scope = await scope_of(exchange_for("GET", "/", fields))
    assert scope["headers"] == [(b"host", b"example.com"), (b"x-a", b"1")]


async def test_underscore_names_of_http2_do_not_either(exchange_for: Any) -> None:
    """SEC-40: nor do they keep the others from being in order."""
    fields = [("x-a", "1"), ("x_forwarded_for", "10.0.0.1"), ("x-b", "2")]
    scope = await scope_of(exchange_for("GET", "/", fields, version="2"))
    assert [line for line in scope["headers"] if line[0] != b"host"] == [
        (b"x-a", b"1"),
        (b"x-b", b"2"),
    ]


async def test_underscore_names_pass_when_asked_for(exchange_for: Any) -> None:
    scope = await scope_of(exchange_for("GET", "/", [("X_A", "1")]), underscore_names=True)
    assert (b"x_a", b"1") in scope["headers"]


async def test_authority_of_http2_becomes_host(exchange_for: Any) -> None:
    """ASGI: :authority is put first as host, or replaces the host that is there."""
    exchange = exchange_for("GET", "/", [("accept", "*/*")], version="2")
    exchange.request.authority = "other.example:8443"
    scope = await scope_of(exchange)
    assert scope["http_version"] == "2"
    assert scope["headers"] == [(b"host", b"other.example:8443"), (b"accept", b"*/*")]


async def test_authority_of_absolute_form_replaces_host(exchange_for: Any) -> None:
    """RFC 9112 §3.2.2: a server ignores Host when the target is in absolute form."""
    exchange = exchange_for("GET", "http://other.example/x")
    exchange.request.authority = "other.example"
    assert (await scope_of(exchange))["headers"] == [(b"host", b"other.example")]


async def test_unix_socket_has_no_client(exchange_for: Any) -> None:
    scope = await scope_of(exchange_for(peername="", sockname="/run/app.sock"))
    assert (scope["client"], scope["server"]) == (None, ("/run/app.sock", None))


async def test_state_is_copied_for_each_request(exchange_for: Any) -> None:
    state: dict[str, Any] = {"pool": object()}
    first = await scope_of(exchange_for(), state=state)
    first["state"]["mine"] = 1
    second = await scope_of(exchange_for(), state=state)
    assert second["state"] == state


async def test_tls_extension_tells_the_version(exchange_for: Any) -> None:
    scope = await scope_of(exchange_for(ssl_object=Session("TLSv1.3"), scheme="https"))
    assert scope["scheme"] == "https"
    assert scope["extensions"]["tls"] == {
        "server_cert": None,
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": None,
    }


async def test_tls_extension_is_absent_in_cleartext(exchange_for: Any) -> None:
    """ASGI TLS 0.2: "For non-TLS connections, the ASGI server is forbidden from providing"."""
    assert "tls" not in (await scope_of(exchange_for()))["extensions"]


async def test_client_certificate_is_named_as_rfc_4514_writes_it(exchange_for: Any) -> None:
    subject = ((("countryName", "DE"),), (("organizationName", "A, B"),), (("commonName", "me"),))
    session = Session("TLSv1.2", {"subject": subject})
    extension = (await scope_of(exchange_for(ssl_object=session)))["extensions"]["tls"]
    assert extension["client_cert_name"] == "CN=me,O=A\\, B,C=DE"
    assert extension["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----")
    assert extension["tls_version"] == 0x0303


async def test_offer_appears_as_extension(exchange_for: Any) -> None:
    fields = [("Upgrade", "irc/6.9, IRC"), ("Connection", "upgrade")]
    extension = (await scope_of(exchange_for("GET", "/", fields)))["extensions"]["http.upgrade"]
    assert extension["version"] == "1.0"
    assert extension["mechanism"] == "upgrade"
    assert extension["protocols"] == ["irc/6.9", "IRC"]
    assert extension["authority"] == "example.com"


@pytest.mark.parametrize(
    "fields",
    [
        [("Upgrade", "irc/6.9")],
        [("Connection", "upgrade")],
        [("Upgrade", "WebSocket"), ("Connection", "upgrade"), ("Content-Length", "0")],
    ],
    ids=["no-connection-option", "no-upgrade", "post-websocket"],
)
async def test_extension_is_absent_where_nothing_may_switch(
    exchange_for: Any, fields: list[tuple[str, str]]
) -> None:
    """UPG-S-02, RFC 9110 §7.8, §7.6.1; websocket has its own scope (and starts with GET)."""
    assert "http.upgrade" not in (await scope_of(exchange_for("POST", "/", fields)))["extensions"]


async def test_http_1_0_offers_nothing(exchange_for: Any) -> None:
    """UPG-S-01, RFC 9110 §7.8: Upgrade is ignored in an HTTP/1.0 request."""
    fields = [("Upgrade", "irc/6.9"), ("Connection", "upgrade")]
    scope = await scope_of(exchange_for("GET", "/", fields, version="1.0"))
    assert "http.upgrade" not in scope["extensions"]


async def test_connect_has_no_path_and_names_its_target(exchange_for: Any) -> None:
    exchange = exchange_for("CONNECT", "example.net:443")
    exchange.request.authority = "example.net:443"
    scope = await scope_of(exchange)
    assert (scope["path"], scope["raw_path"]) == ("", b"")
    extension = scope["extensions"]["http.upgrade"]
    assert extension["mechanism"] == "connect"
    assert extension["protocols"] == []
    assert extension["authority"] == "example.net:443"


async def test_extended_connect_offers_its_protocol(exchange_for: Any) -> None:
    exchange = exchange_for("CONNECT", "/udp/", version="2", protocol="connect-udp")
    extension = (await scope_of(exchange))["extensions"]["http.upgrade"]
    assert extension["mechanism"] == "extended-connect"
    assert extension["protocols"] == ["connect-udp"]
