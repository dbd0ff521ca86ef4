"""URLs: RFC 3986, RFC 9110 §4.2, RFC 6455 §3."""

from __future__ import annotations

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.uri import parse_url


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://u:p@h:81/", "h:81"),
        ("ws://h:80/x", "h"),
        ("wss://h:443", "h"),
        ("https://h:80/", "h:80"),
        ("HTTP://Example.COM/", "example.com"),
        ("ws://[::1]:9/", "[::1]:9"),
        ("http://[0:0::1]/", "[::1]"),
        ("http://h:/", "h"),
    ],
)
def test_the_authority_is_the_value_of_host(url, authority):
    """MSG-11, RFC 9112 §3.2: without userinfo and default port."""
    assert parse_url(url).authority == authority


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://h", "/"),
        ("http://h?q", "/?q"),
        ("http://h/a%20b?c=/?&d#f", "/a%20b?c=/?&d"),
        ("http://h#f", "/"),
        ("ws://h/a//b", "/a//b"),
    ],
)
def test_the_target_is_path_and_query(url, target):
    assert parse_url(url).target == target


def test_parts():
    url = parse_url("wss://user:pw@[2001:db8::1]:8443/x?y")
    assert (url.scheme, url.host, url.port, url.userinfo) == ("wss", "2001:db8::1", 8443, "user:pw")
    assert url.secure
    assert url.origin == "https://[2001:db8::1]:8443"
    assert url.host_port == "[2001:db8::1]:8443"
    plain = parse_url("ws://h/")
    assert (plain.secure, plain.origin, plain.host_port) == (False, "http://h", "h:80")


def test_a_printed_url_has_no_credentials():
    """SEC-44, RFC 9110 §17.2."""
    assert str(parse_url("http://user:pw@h/x")) == "http://h/x"
    with pytest.raises(LocalProtocolError) as caught:
        parse_url("ws://user:pw@h/#f")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/x",
        "/x",
        "ftp://h/",
        "http:/h",
        "http:///x",
        "http://u@/x",
        "http://h:0/",
        "http://h:65536/",
        "http://h:+80/",
        "http://h:8_0/",
        "http://h:000080/",
        "http://[::1/",
        "http://[::g]/",
        "http://[::1%25lo]/",
        "http://::1/",
        "http://a,b/",
        "http://a%zz/",
        "http://a b/",
        "http://h/a b",
        "http://h/a HTTP/1.1\r\nX: y",
        "http://h/\x00",
        "http://h/ä",
        "http://ä/",
        "ws://h/#f",
        "wss://h/x#",
    ],
)
def test_what_cannot_be_requested_is_refused(url):
    """SEC-33, RFC 9112 §11.2: a URL is taken as it stands or not at all."""
    with pytest.raises(LocalProtocolError):
        parse_url(url)
