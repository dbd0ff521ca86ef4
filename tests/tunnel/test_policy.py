"""Destinations: RFC 9110 §9.3.6, RFC 9298 §7; SEC-34, SEC-35."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError
from switchover.tunnel.connect import Authority
from switchover.tunnel.policy import DestinationPolicy, Refusal, prohibited
from switchover.tunnel.proxy_status import proxy_status


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::",
        "2607:f8b0::5efe:7f00:1",
        "2607:f8b0::200:5efe:10.0.0.1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_inside_addresses_are_prohibited(address: str) -> None:
    """SEC-34, UDP-18: mapped, translated and tunnelled forms included."""
    assert prohibited(ip_address(address))
    verdict = DestinationPolicy().judge_addresses([address])
    assert isinstance(verdict, Refusal)
    assert verdict.status == 403
    assert verdict.error == "destination_ip_prohibited"
    assert address in verdict.reason


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254", "link-local"),
        ("255.255.255.255", "reserved or broadcast"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "an IPv4 address in IPv6 form"),
        ("64:ff9b::7f00:1", "translated from IPv4: loopback"),
        ("2002:7f00:1::", "6to4"),
        ("2607:f8b0::5efe:7f00:1", "an ISATAP address: loopback"),
        ("fd12:3456::1", "private"),
        ("fe80::1", "link-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "not global unicast"),
    ],
)
def test_the_reason_is_said(address: str, reason: str) -> None:
    assert prohibited(ip_address(address)) == reason


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "11.0.0.1",
        "192.0.1.1",
        "223.255.255.255",
        "2607:f8b0:4004::1",
        "2a00:1450::5efe:808:808",
        "64:ff9b::808:808",
    ],
)
def test_public_addresses_are_open(address: str) -> None:
    assert prohibited(ip_address(address)) is None
    assert DestinationPolicy().judge_addresses([address]) == [address]


@given(st.ip_addresses(v=4))
def test_nothing_python_calls_private_is_open(address: IPv4Address) -> None:
    """SEC-34: the table knows at least what the standard library knows."""
    if address.is_private or address.is_multicast or address.is_reserved:
        assert prohibited(address)


@given(st.ip_addresses(v=6))
def test_nothing_python_calls_private_is_open_in_ipv6(address: IPv6Address) -> None:
    """SEC-34."""
    if not address.is_global or address.is_multicast:
        assert prohibited(address)


@given(st.ip_addresses(v=4))
def test_a_translated_address_is_judged_by_what_it_stands_for(inner: IPv4Address) -> None:
    """SEC-34: NAT64 leads to the same place."""
    outer = IPv6Address(int(IPv6Address("64:ff9b::")) + int(inner))
    assert (prohibited(outer) is None) is (prohibited(inner) is None)


def test_only_checked_addresses_are_handed_back() -> None:
    """SEC-34: what is dialled is what was checked; a mixed answer leads nowhere inside."""
    policy = DestinationPolicy()
    assert policy.judge_addresses(["127.0.0.1", "8.8.8.8", "10.0.0.1", "::1"]) == ["8.8.8.8"]
    assert isinstance(policy.judge_addresses(["not an address"]), Refusal)
    assert isinstance(policy.judge_addresses(["fe80::1%eth0", "2607:f8b0::1%eth0"]), Refusal)


def test_a_name_without_an_address() -> None:
    """UDP-06: 502 with dns_error."""
    verdict = DestinationPolicy().judge_addresses([])
    assert isinstance(verdict, Refusal)
    assert (verdict.status, verdict.error) == (502, "dns_error")
    response = verdict.response(close=False)
    assert response.fields["Proxy-Status"] == "switchover; error=dns_error"
    assert "Connection" not in response.fields


def test_port_443_is_open_by_default_and_nothing_else() -> None:
    """CON-11."""
    policy = DestinationPolicy()
    assert policy.judge_target(Authority("example.com", 443)) is None
    for port in (1, 22, 25, 80, 8443, 65535):
        verdict = policy.judge_target(Authority("example.com", port))
        assert isinstance(verdict, Refusal)
        assert verdict.status == 403
        response = verdict.response()
        assert response.fields.connection_options == {"close"}
    assert DestinationPolicy(ports={80}).judge_target(Authority("h", 80)) is None
    assert DestinationPolicy(ports=None).judge_target(Authority("h", 25)) is None
    assert DestinationPolicy(ports=()).judge_target(Authority("h", 443)) is not None


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.com", True),
        ("example.com.", True),
        ("a.b.example.net", True),
        ("example.net", False),
        ("notexample.com", False),
        ("example.com.evil.example", False),
        ("evilexample.net", False),
        ("8.8.8.8", True),
        ("8.8.4.4", False),
    ],
)
def test_hosts_on_the_list(host: str, allowed: bool) -> None:
    """CON-11: whole labels, not suffixes of text."""
    policy = DestinationPolicy(hosts=["Example.COM.", "*.example.net", "8.8.8.8"])
    assert (policy.judge_target(Authority(host, 443)) is None) is allowed


def test_an_address_as_the_target_is_judged_at_once() -> None:
    """SEC-34."""
    verdict = DestinationPolicy().judge_target(Authority("169.254.169.254", 443))
    assert isinstance(verdict, Refusal)
    assert verdict.error == "destination_ip_prohibited"
    assert DestinationPolicy().judge_target(Authority("::1", 443)) is not None
    assert DestinationPolicy().judge_target(Authority("8.8.8.8", 443)) is None


def test_networks_may_be_opened_one_by_one() -> None:
    policy = DestinationPolicy(networks=["10.1.0.0/16", "fd00::/8"])
    assert policy.judge_addresses(["10.1.2.3", "10.2.0.1", "fd00::1"]) == ["10.1.2.3", "fd00::1"]
    assert isinstance(policy.judge_addresses(["::ffff:10.1.2.3"]), Refusal)


def test_everything_opens_by_a_dangerous_name_only() -> None:
    policy = DestinationPolicy(dangerously_allow_internal=True)
    assert policy.judge_addresses(["127.0.0.1", "::1"]) == ["127.0.0.1", "::1"]


def test_a_faulty_policy_is_refused_when_it_is_made() -> None:
    with pytest.raises(LocalProtocolError):
        DestinationPolicy(networks=["10.0.0.1/8"])
    with pytest.raises(LocalProtocolError):
        DestinationPolicy(hosts=["a b"])
    with pytest.raises(LocalProtocolError):
        DestinationPolicy(hosts="example.com")


def test_proxy_status() -> None:
    """UDP-06, RFC 9209."""
    assert proxy_status() == "switchover"
    assert proxy_status("p.example", error="dns_error", details='say "no" \\') == (
        'p.example; error=dns_error; details="say \\"no\\" \\\\"'
    )
    for arguments in ({"name": "a b"}, {"error": "made_up"}, {"details": "é"}, {"details": "\n"}):
        with pytest.raises(LocalProtocolError):
            proxy_status(**arguments)
