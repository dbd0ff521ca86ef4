"""RFC 9110 §15.5.20: a request that came through TLS for another host."""

from __future__ import annotations

import pytest

from switchover.http.targets import misdirected


@pytest.mark.parametrize(
    ("authority", "server_name"),
    [
        ("site.example", "site.example"),
        ("site.example:8443", "site.example"),
        ("SITE.example", "site.EXAMPLE"),
        ("site.example.", "site.example"),
        ("[::1]:8443", "::1"),  # no literal belongs into SNI, but some are sent
        ("127.0.0.1:631", "127.0.0.1"),
    ],
)
def test_the_same_host(authority: str, server_name: str) -> None:
    """TLS-11: port, letter case and the root's dot make no difference."""
    assert not misdirected(authority, server_name)


@pytest.mark.parametrize(
    ("authority", "server_name"),
    [
        ("other.example", "site.example"),
        ("www.site.example", "site.example"),
        ("site.example.evil.example", "site.example"),
        ("[::1]", "site.example"),
        ("localhost", "127.0.0.1"),
    ],
)
def test_another_host(authority: str, server_name: str) -> None:
    """TLS-11: the certificate that the client checked is not this host's."""
    assert misdirected(authority, server_name)


@pytest.mark.parametrize(("authority", "server_name"), [("a", None), ("a", ""), ("", "a")])
def test_nothing_to_compare(authority: str, server_name: str | None) -> None:
    """TLS-11: a handshake without SNI, or HTTP/1.0 without Host."""
    assert not misdirected(authority, server_name)
