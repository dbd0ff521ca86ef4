"""Path patterns of registrations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError
from switchover.upgrade.paths import PathPattern


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/chat", "/chat", {}),
        ("/chat", "/chat/", None),
        ("/chat", "/Chat", None),
        ("/chat", "/%63hat", {}),
        ("/a/b", "/a%2Fb", {}),
        ("/caf%C3%A9", "/café", {}),
        ("*", "*", {}),
        ("/udp/{host}/{port}/", "/udp/h/53/", {"host": "h", "port": "53"}),
        ("/udp/{host}/{port}/", "/udp//53/", {"host": "", "port": "53"}),
        ("/udp/{host}/{port}/", "/udp/h%2Fx/53/", {"host": "h/x", "port": "53"}),
        ("/udp/{host}/{port}/", "/%75dp/a%3Ab/53/", {"host": "a:b", "port": "53"}),
        ("/udp/{host}/{port}/", "/udp%2Fh/53/", {"host": "h", "port": "53"}),
        ("/udp/{host}/{port}/", "/udp/h/53", None),
        ("/udp/{host}/{port}/", "/udp/h/x/53/", None),
        ("/v{n}/exec.json", "/v1.50/exec.json", {"n": "1.50"}),
        ("/v{n}/exec.json", "/v1/execxjson", None),
        ("/x/{name}", "/x/%FF", {"name": "\ufffd"}),
        ("/x/{name}", "/x/%zz", {"name": "%zz"}),
        ("/a.{b}", "/a.", {"b": ""}),
    ],
)
def test_matching(pattern: str, path: str, expected: dict[str, str] | None) -> None:
    assert PathPattern(pattern).match(path) == expected


@pytest.mark.parametrize("pattern", ["", "chat", "/a?b", "/a#b", "/{a}/{a}", "/{", "/{1a}", "/a}"])
def test_a_pattern_that_cannot_match_is_refused(pattern: str) -> None:
    with pytest.raises(LocalProtocolError):
        PathPattern(pattern)


@given(st.data())
def test_an_escape_does_not_lead_around_a_pattern(data: st.DataObject) -> None:
    """What an application may decode to the path of a resource, matches that resource."""
    path = "/secure/area-1"
    escaped = "".join(f"%{ord(c):02X}" if data.draw(st.booleans()) else c for c in path[1:])
    assert PathPattern(path).match(f"/{escaped}") == {}
    assert PathPattern("/secure/{rest}").match(f"/{escaped}") == {"rest": "area-1"}
