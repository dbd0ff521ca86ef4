"""X-Forwarded-For, X-Forwarded-Proto and Forwarded (RFC 7239), from trusted proxies only."""

from __future__ import annotations

from typing import Any

import pytest

from switchover.asgi import ProxyHeaders


def scope(
    *headers: tuple[bytes, bytes],
    client: tuple[str, int] | None = ("10.0.0.1", 1),
    kind: str = "http",
) -> dict[str, Any]:
    plain = "http" if kind == "http" else "ws"
    return {"type": kind, "scheme": plain, "client": client, "headers": list(headers)}


def applied(proxies: ProxyHeaders, before: dict[str, Any]) -> tuple[Any, str]:
    proxies.apply(before)
    return before["client"], before["scheme"]


FOR = (b"x-forwarded-for", b"203.0.113.9")
HTTPS = (b"x-forwarded-proto", b"https")


def test_trusted_proxy_is_believed() -> None:
    assert applied(ProxyHeaders(["10.0.0.1"]), scope(FOR, HTTPS)) == (("203.0.113.9", 0), "https")


def test_websocket_scheme_becomes_wss() -> None:
    assert applied(ProxyHeaders(["10.0.0.0/8"]), scope(HTTPS, kind="websocket"))[1] == "wss"


@pytest.mark.parametrize("client", [("192.0.2.1", 1), ("not-an-address", 1), None])
def test_strangers_are_not_believed(client: tuple[str, int] | None) -> None:
    before = scope(FOR, HTTPS, client=client)
    assert applied(ProxyHeaders(["10.0.0.1"]), before) == (client, "http")


def test_unix_peers_are_trusted_by_name() -> None:
    before = scope(FOR, HTTPS, client=None)
    assert applied(ProxyHeaders(["unix"]), before) == (("203.0.113.9", 0), "https")


def test_ipv4_in_ipv6_is_the_ipv4_address() -> None:
    before = scope(FOR, client=("::ffff:10.0.0.1", 1))
    assert applied(ProxyHeaders(["10.0.0.0/8"]), before)[0] == ("203.0.113.9", 0)


def test_what_the_client_wrote_itself_is_not_believed() -> None:
    """The list is believed from its right end, as far as the addresses are trusted."""
    spoofed = (b"x-forwarded-for", b"127.0.0.1, 203.0.113.9, 10.0.0.2")
    assert applied(ProxyHeaders(["10.0.0.0/8"]), scope(spoofed))[0] == ("203.0.113.9", 0)


def test_lines_are_one_list() -> None:
    lines = ((b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-for", b"203.0.113.9"))
    assert applied(ProxyHeaders(["10.0.0.1"]), scope(*lines))[0] == ("203.0.113.9", 0)


def test_all_trusted_takes_the_first() -> None:
    inner = (b"x-forwarded-for", b"10.1.1.1, 10.0.0.2")
    assert applied(ProxyHeaders(["10.0.0.0/8"]), scope(inner))[0] == ("10.1.1.1", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"203.0.113.9:4711", ("203.0.113.9", 4711)),
        (b"[2001:db8::1]:4711", ("2001:db8::1", 4711)),
        (b"2001:db8::1", ("2001:db8::1", 0)),
        (b"unknown", ("10.0.0.1", 1)),
        (b"", ("10.0.0.1", 1)),
    ],
)
def test_addresses_with_and_without_port(text: bytes, expected: tuple[str, int]) -> None:
    assert applied(ProxyHeaders(["10.0.0.1"]), scope((b"x-forwarded-for", text)))[0] == expected


def test_scheme_of_the_nearest_proxy_counts() -> None:
    spoofed = (b"x-forwarded-proto", b"https, http")
    assert applied(ProxyHeaders(["10.0.0.1"]), scope(FOR, spoofed))[1] == "http"


def test_unknown_scheme_is_ignored() -> None:
    odd = (b"x-forwarded-proto", b"javascript")
    assert applied(ProxyHeaders(["10.0.0.1"]), scope(FOR, odd))[1] == "http"


def test_only_the_configured_syntax_is_read() -> None:
    """A proxy that sets one of the two passes the client's own other one on."""
    forwarded = (b"forwarded", b"for=198.51.100.7;proto=https")
    assert applied(ProxyHeaders(["10.0.0.1"]), scope(forwarded)) == (("10.0.0.1", 1), "http")
    proxies = ProxyHeaders(["10.0.0.1"], syntax="forwarded")
    assert applied(proxies, scope(FOR, HTTPS)) == (("10.0.0.1", 1), "http")


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"for=192.0.2.60;proto=https;by=203.0.113.43", ("192.0.2.60", 0)),
        (b'For="[2001:db8:cafe::17]:4711";Proto=https', ("2001:db8:cafe::17", 4711)),
        (b'for=9.9.9.9;proto=http, for=192.0.2.43;proto=https;host="a,b"', ("192.0.2.43", 0)),
        (b'for="_gazonk";proto=https', ("10.0.0.1", 1)),
        (b'for=192.0.2.43:_port;proto="https"', ("192.0.2.43", 0)),
    ],
)
def test_forwarded_field(value: bytes, client: tuple[str, int]) -> None:
    """RFC 7239 §4, §6."""
    proxies = ProxyHeaders(["10.0.0.1"], syntax="forwarded")
    assert applied(proxies, scope((b"forwarded", value))) == (client, "https")


def test_star_trusts_anybody() -> None:
    assert applied(ProxyHeaders("*"), scope(FOR, client=("192.0.2.1", 1)))[0] == ("203.0.113.9", 0)


def test_bad_configuration_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        ProxyHeaders(["10.0.0.1.5"])
