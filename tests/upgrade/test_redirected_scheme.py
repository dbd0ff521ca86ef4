"""A redirect to another scheme (RFC 9110 §15.4)."""

from __future__ import annotations

from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.client import redirected


def test_the_new_request_has_the_scheme_it_is_sent_to() -> None:
    """UPG-C-17: a complete new request; over HTTP/2 its scheme goes on the wire."""
    request = Request("GET", "/", Fields({"Host": "a.example"}), authority="a.example")
    moved = Response(301, Fields({"Location": "https://a.example/x"}))
    url, following, _ = redirected(request, moved, url="http://a.example/")
    assert url == "https://a.example/x"
    assert (following.scheme, following.target) == ("https", "/x")
