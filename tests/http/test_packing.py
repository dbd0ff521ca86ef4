"""Message heads in one piece of memory: what is unpacked is what was packed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.packing import pack_request, pack_response, unpack_request, unpack_response

_values = st.binary(max_size=20).map(lambda octets: octets.translate(None, b"\r\n\0").strip())
_lines = st.lists(st.tuples(st.sampled_from([b"Host", b"X-Y", b"cookie"]), _values), max_size=5)


@given(_lines, st.sampled_from([None, "websocket"]))
def test_a_request_comes_back(lines, protocol):
    """Order, letter case, repeated lines and octets above 127 are kept (RFC 9110 §5.3, §5.5)."""
    request = Request("GET", "/a?b", Fields.from_octets(lines), "1.1", "https", "h:1", protocol)
    packed = pack_request(request)
    assert isinstance(packed, bytes)
    again = unpack_request(packed)
    assert again == request
    assert again.fields.raw == lines


@given(_lines)
def test_a_response_comes_back(lines):
    """The same for the other direction."""
    response = Response(101, Fields.from_octets(lines), "Switching \xe9", "1.1")
    packed = pack_response(response)
    assert isinstance(packed, bytes)
    assert unpack_response(packed) == response


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "/\n"),
        Request("GET", "/\u20ac"),
        Request("GET", "/", Fields.from_octets([(b"X", b"a\nb")])),
    ],
)
def test_what_cannot_be_packed_stays(request_):
    """Whatever an application has made: nothing is lost, nothing is mixed up."""
    assert pack_request(request_) is request_


def test_a_response_with_content_stays():
    """Content is not part of a head."""
    response = Response.text(200, "hello")
    assert pack_response(response) is response
