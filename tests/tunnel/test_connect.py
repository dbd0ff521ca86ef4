"""CONNECT: RFC 9110 §9.3.6, RFC 9112 §3.2.3, RFC 9931 §8."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.client import ClientConnection
from switchover.http.events import Failed, MessageComplete, RequestReceived, Switched
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection
from switchover.testing import ConnectionPair, replay
from switchover.tunnel.connect import (
    Authority,
    authentication_required,
    basic_credentials,
    check_connect_response,
    connect_request,
    established,
    parse_authority,
    parse_host,
    parse_port,
    read_basic_credentials,
    read_connect,
    refused,
)

# Targets.


@pytest.mark.parametrize(
    ("text", "host", "port", "is_address"),
    [
        ("h:443", "h", 443, False),
        ("Example.COM:80", "example.com", 80, False),
        ("example.com.:1", "example.com.", 1, False),
        ("_dmarc.x-y.example:65535", "_dmarc.x-y.example", 65535, False),
        ("192.0.2.1:8080", "192.0.2.1", 8080, True),
        ("[::1]:443", "::1", 443, True),
        ("[2001:DB8:0::42]:443", "2001:db8::42", 443, True),
        ("h:00443", "h", 443, False),
        ("1a.example:1", "1a.example", 1, False),
    ],
)
def test_a_destination(text: str, host: str, port: int, is_address: bool) -> None:
    """CON-01: host:port, IPv6 in brackets."""
    authority = parse_authority(text)
    assert authority == Authority(host, port)
    assert authority.is_address is is_address
    assert parse_authority(str(authority)) == authority


@pytest.mark.parametrize(
    "text",
    ["h", "h:", "h:0", "h:65536", "h:+80", "h:8_0", "h: 80", "h:80 ", "h:-1", "h:٨٠", "h:000080"],
)
def test_an_invalid_port(text: str) -> None:
    """CON-02: int() would take several of these."""
    with pytest.raises(RemoteProtocolError) as caught:
        parse_authority(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/x",
        ":80",
        "http://h:80/",
        "u@h:80",
        "u:p@h:80",
        "h:80/x",
        "h:80?x",
        "[::1:80",
        "::1:80",
        "[]:80",
        "[h]:80",
        "[127.0.0.1]:80",
        "[::1%25eth0]:80",
        "[fe80::1%eth0]:80",
        "[v1.x]:80",
        "[::g]:80",
        "[::1]80",
        "[::1]x:80",
        "h h:80",
        "h%41:80",
        "h..x:80",
        ".h:80",
        "-h:80",
        "h-:80",
        "é:80",
        "h,x:80",
        "h\x00:80",
        "127.1:80",
        "2130706433:80",
        "0x7f000001:80",
        "0x7f.1:80",
        "1.2.3.4.5:80",
        "127.0.0.01:80",
        "999.0.0.1:80",
        "x.1:80",
        f"{'a' * 64}.x:80",
        f"{'a.' * 130}x:80",
    ],
)
def test_other_forms_and_illegal_hosts(text: str) -> None:
    """CON-03: nothing a resolver could take for something else."""
    with pytest.raises(RemoteProtocolError) as caught:
        parse_authority(text)
    assert caught.value.status == 400
    assert caught.value.rule.startswith("RFC ")


labels = st.from_regex(r"[a-z]([a-z0-9\-]{0,10}[a-z0-9])?", fullmatch=True)
hosts = st.one_of(
    st.lists(labels, min_size=1, max_size=4).map(".".join),
    st.ip_addresses().map(str),
)


@given(host=hosts, port=st.integers(1, 65535))
def test_what_a_client_asks_a_server_reads(host: str, port: int) -> None:
    """CON-01, CON-16: the request of one end is the destination of the other."""
    request = connect_request(host, port)
    assert request.target.endswith(f":{port}")
    assert request.fields["Host"] == request.target
    read = read_connect(request)
    assert (read.host, read.port) == (parse_host(host), port)


@given(st.text(max_size=30))
def test_whatever_a_target_is(text: str) -> None:
    """CON-02, CON-03: a destination that survives being written and read, or a 400."""
    try:
        authority = parse_authority(text)
    except RemoteProtocolError:
        return
    assert parse_authority(str(authority)) == authority
    assert 0 < authority.port < 65536


# The server's side.


def connect(target: str, *lines: tuple[str, str]) -> Request:
    return Request("CONNECT", target, Fields(lines))


@pytest.mark.parametrize(
    "host", ["a:443", "A:443", "a", "a:0443", "[::1]:443", "[::1]", "[0:0::1]:443"]
)
def test_a_host_that_agrees(host: str) -> None:
    target = "[::1]:443" if host.startswith("[") else "a:443"
    assert read_connect(connect(target, ("Host", host))).port == 443
    assert read_connect(connect(target)).port == 443


@pytest.mark.parametrize("host", ["b:443", "a:80", "b", "", "a:", "[::1]:443", "a:443, b:443"])
def test_a_host_that_disagrees(host: str) -> None:
    """CON-16: `CONNECT a:443` with another Host is refused."""
    with pytest.raises(RemoteProtocolError) as caught:
        read_connect(connect("a:443", ("Host", host)))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "line",
    [("Content-Length", "5"), ("Content-Length", "0"), ("Transfer-Encoding", "chunked")],
)
def test_a_connect_with_content(line: tuple[str, str]) -> None:
    """CON-08: refused if framed."""
    with pytest.raises(RemoteProtocolError) as caught:
        read_connect(connect("a:443", line))
    assert caught.value.status == 400


def test_the_response_that_opens() -> None:
    """CON-05: no framing fields in a 2xx to CONNECT."""
    response = established(Fields([("Proxy-Status", "p")]))
    assert response.status == 200
    assert list(response.fields) == [("Proxy-Status", "p")]
    assert len(established().fields) == 0
    for name in ("Content-Length", "transfer-encoding"):
        with pytest.raises(LocalProtocolError):
            established(Fields([(name, "0")]))


@pytest.mark.parametrize("status", [400, 403, 405, 407, 501, 502, 503, 504])
def test_every_refusal_ends_the_connection(status: int) -> None:
    """OPT-02, CON-12, RFC 9931 §8: 407 included."""
    response = refused(status, "No.", error="connection_refused")
    assert response.fields.connection_options == {"close"}
    assert response.fields["Proxy-Status"] == "switchover; error=connection_refused"
    assert response.content == b"No.\n"
    assert "Proxy-Status" not in refused(status, "No.").fields


@pytest.mark.parametrize("status", [101, 200, 302, 600])
def test_what_refuses_nothing(status: int) -> None:
    with pytest.raises(LocalProtocolError):
        refused(status, "No.")


def test_asking_for_credentials() -> None:
    """CON-13: 407 with Proxy-Authenticate."""
    response = authentication_required('the "inner" ring\\')
    assert response.status == 407
    assert response.fields["Proxy-Authenticate"] == (
        'Basic realm="the \\"inner\\" ring\\\\", charset="UTF-8"'
    )
    assert response.fields.connection_options == {"close"}
    with pytest.raises(LocalProtocolError):
        authentication_required("a\r\nX: y")


@given(
    user=st.text(st.characters(exclude_characters=":", exclude_categories=["Cc", "Cs"])),
    password=st.text(st.characters(exclude_categories=["Cc", "Cs"])),
)
def test_credentials_arrive_as_they_were_given(user: str, password: str) -> None:
    """CON-13, RFC 7617."""
    request = connect_request("h", 443, authorization=basic_credentials(user, password))
    assert read_basic_credentials(request) == (user, password)


@pytest.mark.parametrize(("user", "password"), [("a:b", ""), ("a\n", ""), ("a", "b\x7f")])
def test_impossible_credentials(user: str, password: str) -> None:
    with pytest.raises(LocalProtocolError):
        basic_credentials(user, password)


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["Bearer x"],
        ["Basic"],
        ["Basic !!!!"],
        ["Basic YTpi YTpi"],
        ["Basic " + base64.b64encode(b"no colon").decode()],
        ["Basic " + base64.b64encode(b"a:\xff").decode()],
        ["Basic YTpi", "Basic YTpi"],
    ],
)
def test_unusable_credentials(values: list[str]) -> None:
    """CON-13."""
    request = connect("h:1", *[("Proxy-Authorization", value) for value in values])
    assert read_basic_credentials(request) is None


# The client's side.


@pytest.mark.parametrize(
    ("host", "port"),
    [("", 80), ("a b", 80), ("h\r\nX: y", 80), ("h", 0), ("h", 65536), ("h", -1), ("fe80::1%e", 1)],
)
def test_an_impossible_destination_is_not_asked_for(host: str, port: int) -> None:
    """CON-01, SEC-33."""
    with pytest.raises(LocalProtocolError):
        connect_request(host, port)


def test_fields_of_ones_own_go_to_the_proxy() -> None:
    request = connect_request("[::1]", 443, fields=Fields([("User-Agent", "x")]))
    assert request.target == request.authority == "[::1]:443"
    assert list(request.fields) == [("Host", "[::1]:443"), ("User-Agent", "x")]


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_opens_the_tunnel(status: int) -> None:
    """CON-07."""
    assert check_connect_response(connect_request("h", 1), Response(status)) == "CONNECT"


@pytest.mark.parametrize("status", [100, 101, 199, 300, 301, 407, 500])
def test_no_other_status_does(status: int) -> None:
    """CON-07: 101 is no tunnel either."""
    with pytest.raises(RemoteProtocolError):
        check_connect_response(connect_request("h", 1), Response(status))
    with pytest.raises(RemoteProtocolError):
        check_connect_response(Request("GET", "/"), Response(200))


# On the machines of HTTP/1.1.


def asking() -> ClientConnection:
    client = ClientConnection()
    client.send_request(connect_request("h", 443), end=True, switch=check_connect_response)
    return client


@pytest.mark.parametrize("line", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_the_tunnel_starts_at_the_blank_line(line: bytes) -> None:
    """CON-06, CON-07: framing fields in the 2xx mean nothing."""
    octets = b"HTTP/1.1 200 Ok\r\n" + line + b"\r\n5\r\nhello"
    for result in replay(asking, octets):
        assert isinstance(result.events[-1], Switched)
        assert result.trailing_data == b"5\r\nhello"


def test_no_payload_before_the_answer() -> None:
    """OPT-01, OPT-05: a proxy that withholds its answer sees the request and nothing more."""
    client = asking()
    assert b"".join(client.data_to_send()) == b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"
    client.receive_data(b"HTTP/1.1 200 Connection establi")
    assert client.data_to_send() == []
    assert client.events_received() == []


def test_a_101_to_connect_is_no_tunnel() -> None:
    """CON-07."""
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    for result in replay(asking, answer):
        assert isinstance(result.events[-1], Failed)


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h: HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:0 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:65536 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:+80 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT http://h:80/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT u@h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: b:80\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_refused_connect_ends_everything(head: bytes) -> None:
    """OPT-02, CON-02, CON-03, CON-08, CON-16: one error, and `/x` is never handled."""

    def react(machine: ServerConnection, event: Any) -> None:
        if not isinstance(event, RequestReceived):
            return
        try:
            read_connect(event.request)
        except RemoteProtocolError as error:
            machine.send_response(refused(error.status, str(error)), end=True)
        else:
            raise AssertionError("taken for a destination")

    for result in replay(
        ServerConnection, head + b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", react=react
    ):
        assert result.sent.startswith(b"HTTP/1.1 400 ")
        assert result.sent.count(b"HTTP/1.1 ") == 1
        assert b"\r\nConnection: close\r\n" in result.sent
        assert result.machine.close_expected()
        requests = [event for event in result.events if isinstance(event, RequestReceived)]
        assert all(event.request.method == "CONNECT" for event in requests)


def test_a_refusal_ends_the_connection_though_nobody_says_so() -> None:
    """OPT-02, CON-12: the machine sees to it, whatever the application answers with."""

    def react(machine: ServerConnection, event: Any) -> None:
        if isinstance(event, RequestReceived):
            machine.send_response(Response.text(405, "No tunnels here.\n"), end=True)

    octets = b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n"
    for result in replay(ServerConnection, octets, react=react):
        assert result.sent.startswith(b"HTTP/1.1 405 ")
        assert result.sent.count(b"HTTP/1.1 ") == 1
        assert b"\r\nConnection: close\r\n" in result.sent
        assert result.machine.close_expected()


def test_a_407_ends_the_connection_too() -> None:
    """OPT-02: connection-based authentication does not survive, and is not meant to."""

    def react(machine: ServerConnection, event: Any) -> None:
        if isinstance(event, RequestReceived):
            machine.send_response(authentication_required("inside"), end=True)

    octets = b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n"
    for result in replay(ServerConnection, octets, react=react):
        assert result.sent.startswith(b"HTTP/1.1 407 ")
        assert result.sent.count(b"HTTP/1.1 ") == 1
        assert result.machine.close_expected()


def test_both_ends_open_a_tunnel() -> None:
    """CON-01, CON-05, CON-06: and credentials stay with the proxy."""
    client = ClientConnection()
    request = connect_request("h", 443, authorization=basic_credentials("a", "b"))
    client.send_request(request, end=True, switch=check_connect_response)
    pair = ConnectionPair(client, ServerConnection())
    _, (received, complete) = pair.exchange()
    assert isinstance(complete, MessageComplete)
    assert read_connect(received.request) == Authority("h", 443)
    assert read_basic_credentials(received.request) == ("a", "b")
    pair.server.switch(established(), "CONNECT")
    pair.exchange()
    assert isinstance(pair.client_events[-1], Switched)
    assert isinstance(pair.server_events[-1], Switched)
    assert pair.to_client.transcript == b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.mark.parametrize("text", ["", "+1", "1 ", "1_0", "¹", "0", "65536", "999999"])
def test_ports_alone(text: str) -> None:
    """CON-02."""
    with pytest.raises(RemoteProtocolError):
        parse_port(text)
