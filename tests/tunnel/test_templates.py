"""URI Templates of proxies: RFC 9298 §2, §3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.messages import Request
from switchover.http.uri import parse_url
from switchover.tunnel.connect import Authority, parse_host
from switchover.tunnel.templates import ProxyTemplate

WELL_KNOWN = "https://p.example/.well-known/masque/udp/{target_host}/{target_port}/"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (WELL_KNOWN, "https://p.example/.well-known/masque/udp/192.0.2.6/443/"),
        (
            "https://p.example:4443/masque?h={target_host}&p={target_port}",
            "https://p.example:4443/masque?h=192.0.2.6&p=443",
        ),
        (
            "https://p.example/masque{?target_host,target_port}",
            "https://p.example/masque?target_host=192.0.2.6&target_port=443",
        ),
        (
            "https://p.example/m?a=b{&x,target_host,target_port}",
            "https://p.example/m?a=b&target_host=192.0.2.6&target_port=443",
        ),
        ("http://p/{target_host,target_port}{?other}", "http://p/192.0.2.6,443"),
        ("http://p/{target_host}/{target_port}/{target_host}", "http://p/192.0.2.6/443/192.0.2.6"),
    ],
)
def test_expansion(template: str, expected: str) -> None:
    """UDP-01, UDP-02: the examples of RFC 9298 §2 among them."""
    made = ProxyTemplate(template)
    assert made.expand("192.0.2.6", 443) == expected
    request = Request("GET", parse_url(expected).target)
    assert made.matches(request)
    assert made.read(request) == Authority("192.0.2.6", 443)


@pytest.mark.parametrize(
    "template",
    [
        "https://p/{target_host}/",
        "https://p/{target_port}/",
        "https://p/",
        "p/{target_host}/{target_port}/",
        "ftp://p/{target_host}/{target_port}/",
        "https:///{target_host}/{target_port}/",
        "https://{target_host}/{target_port}/",
        "https://p{?target_host,target_port}",
        "https://p?h={target_host}&p={target_port}",
        "{target_host}://p/{target_port}",
        "https://p/{target_host}/{target_port}#f",
        "https://p/#{target_host}/{target_port}",
        "https://p/{+target_host}/{target_port}/",
        "https://p/{#target_host,target_port}",
        "https://p/x{.target_host,target_port}",
        "https://p{/target_host,target_port}",
        "https://p/x{;target_host,target_port}",
        "https://p/{target_host:3}/{target_port}/",
        "https://p/{target_host*}/{target_port}/",
        "https://p/{target_host}/{target_port/",
        "https://p/target_host}/{target_port}/{target_host}",
        "https://p/{{target_host}}/{target_port}/",
        "https://p/{}/{target_host}/{target_port}/",
        "https://p/{target_host,}/{target_port}/",
        "https://p/{1a}/{target_host}/{target_port}/",
        "https://p/{target_host}/{target_port}/é",
        "https://p/ {target_host}/{target_port}/",
        "https://p/{target_host}/{target_port}/\n",
    ],
)
def test_a_broken_template_is_a_local_error(template: str) -> None:
    """UDP-01: rejected without sending anything."""
    with pytest.raises(LocalProtocolError) as caught:
        ProxyTemplate(template)
    assert caught.value.rule == "RFC 9298 §2"


def test_colons_are_encoded() -> None:
    """UDP-02: RFC 9298 §3, an IPv6 address."""
    made = ProxyTemplate(WELL_KNOWN)
    assert "/udp/2001%3Adb8%3A%3A42/443/" in made.expand("2001:db8::42", 443)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("h", 0),
        ("h", 65536),
        ("", 53),
        ("fe80::1%25eth0", 53),
        ("fe80::1%eth0", 53),
        ("[::1]", 53),
        ("a/b", 53),
        ("a b", 53),
    ],
)
def test_an_impossible_destination_is_a_local_error(host: str, port: int) -> None:
    """UDP-02."""
    with pytest.raises(LocalProtocolError):
        ProxyTemplate(WELL_KNOWN).expand(host, port)


SERVER = ProxyTemplate("/udp/{target_host}/{target_port}/")


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("/udp/h/53/", "h", 53),
        ("/udp/192.0.2.1/443/", "192.0.2.1", 443),
        ("/udp/2001%3Adb8%3a%3A42/443/", "2001:db8::42", 443),
        ("/udp/::1/443/", "::1", 443),
        ("/udp/%68/53/", "h", 53),
        ("http://p.example/udp/h/53/", "h", 53),
    ],
)
def test_a_server_reads_the_target(target: str, host: str, port: int) -> None:
    """UDP-05."""
    request = Request("GET", target)
    assert SERVER.matches(request)
    assert SERVER.read(request) == Authority(host, port)


@pytest.mark.parametrize(
    "path",
    [
        "/udp/h/0/",
        "/udp/h/65536/",
        "/udp/h//",
        "/udp//53/",
        "/udp/h%2Fx/53/",
        "/udp/h/5_3/",
        "/udp/h/+53/",
        "/udp/h/%2053/",
        "/udp/h/53%00/",
        "/udp/fe80%3A%3A1%25eth0/53/",
        "/udp/%5B%3A%3A1%5D/53/",
        "/udp/h%/53/",
        "/udp/h%4/53/",
        "/udp/h%zz/53/",
        "/udp/%2568/53/",
        "/udp/127.1/53/",
        "/udp/h%C3%A9/53/",
    ],
)
def test_a_server_reads_strictly(path: str) -> None:
    """UDP-05: routed, then refused with 400."""
    request = Request("GET", path)
    assert SERVER.matches(request)
    with pytest.raises(RemoteProtocolError) as caught:
        SERVER.read(request)
    assert caught.value.status == 400


@pytest.mark.parametrize("path", ["/", "/udp/h/53", "/udp/h/53/x", "/udp/h/53/?q", "/UDP/h/53/"])
def test_other_paths_are_not_the_proxys(path: str) -> None:
    request = Request("GET", path)
    assert not SERVER.matches(request)
    with pytest.raises(RemoteProtocolError):
        SERVER.read(request)


def test_a_variable_that_appears_twice_has_one_value() -> None:
    made = ProxyTemplate("/{target_host}/{target_port}/{target_host}")
    assert made.matches(Request("GET", "/h/1/h"))
    assert not made.matches(Request("GET", "/h/1/x"))


def test_a_servers_template_expands_to_nothing() -> None:
    with pytest.raises(LocalProtocolError):
        SERVER.expand("h", 53)


@pytest.mark.parametrize(
    ("template", "target", "matches"),
    [
        ("/m{?a,target_host,b,target_port,c}", "/m?target_host=h&target_port=1", True),
        ("/m{?a,target_host,b,target_port,c}", "/m?a=1&target_host=h&b=&target_port=1&c=2", True),
        ("/m{?a,target_host,b,target_port,c}", "/m?b=1&target_host=h&target_port=1", False),
        ("/m/{a,target_host,target_port}{?b}", "/m/x,h,1?b=1", True),
        ("/m/{a,target_host,target_port}{?b}", "/m/h,1", True),
        ("/m/{a,target_host,target_port}{?b}", "/m/x,y,h,1", False),
    ],
)
def test_other_variables_may_be_there_or_not(template: str, target: str, matches: bool) -> None:
    """UDP-01: RFC 9298 §2, "MAY contain other variables"."""
    made = ProxyTemplate(template)
    request = Request("GET", target)
    assert made.matches(request) is matches
    if matches:
        assert made.read(request) == Authority("h", 1)


TEMPLATES = [
    WELL_KNOWN,
    "https://p/m{?target_host,target_port}",
    "https://p/m?p={target_port}&h={target_host}",
    "http://p:81/{target_port}.{target_host}",
]


@given(
    template=st.sampled_from(TEMPLATES),
    host=st.ip_addresses().map(str) | st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,9})?", fullmatch=True),
    port=st.integers(1, 65535),
)
def test_what_a_client_expands_a_server_reads(template: str, host: str, port: int) -> None:
    """UDP-02, UDP-05."""
    made = ProxyTemplate(template)
    request = Request("GET", parse_url(made.expand(host, port)).target)
    assert made.read(request) == Authority(parse_host(host), port)
