"""Requests and responses as values: RFC 9110 §6."""

from __future__ import annotations

import pytest

from switchover.http.fields import Fields
from switchover.http.messages import Request, Response, default_reason


@pytest.mark.parametrize(
    ("method", "target", "path", "query"),
    [
        ("GET", "/", "/", ""),
        ("GET", "/a/b?c?d", "/a/b", "c?d"),
        ("GET", "/?", "/", ""),
        ("OPTIONS", "*", "*", ""),
        ("GET", "http://h", "/", ""),
        ("GET", "http://h/a?b", "/a", "b"),
        ("GET", "http://h?b=/c", "/", "b=/c"),
        ("CONNECT", "h:443", "", ""),
        ("GET", "//h/x", "//h/x", ""),
    ],
)
def test_path_and_query_of_each_target_form(method, target, path, query):
    """MSG-12, RFC 9112 §3.2: an absolute form has a path like any other."""
    request = Request(method, target)
    assert (request.path, request.query) == (path, query)


def test_an_extended_connect_has_a_path():
    request = Request("CONNECT", "/chat?x", version="2", protocol="websocket")
    assert (request.path, request.query) == ("/chat", "x")


@pytest.mark.parametrize(
    ("version", "expect", "expected"),
    [
        ("1.1", "100-continue", True),
        ("1.1", "x, 100-Continue", True),
        ("1.1", "200-ok", False),
        ("1.0", "100-continue", False),
        ("2", "100-continue", True),
    ],
)
def test_expectation(version, expect, expected):
    """MSG-34, RFC 9110 §10.1.1: ignored in HTTP/1.0."""
    request = Request("POST", "/", Fields({"Expect": expect}), version)
    assert request.expects_continue is expected
    assert not Request("POST", "/", version=version).expects_continue


@pytest.mark.parametrize(
    ("fields", "has_content"),
    [
        ({}, False),
        ({"Content-Length": "0"}, False),
        ({"Content-Length": "00"}, False),
        ({"Content-Length": "10"}, True),
        ({"Transfer-Encoding": "chunked"}, True),
    ],
)
def test_has_content(fields, has_content):
    assert Request("POST", "/", Fields(fields)).has_content is has_content


def test_a_text_response_is_complete():
    response = Response.text(404, "nö\n", {"X": "1", "Content-Length": "99"})
    assert response.content == "nö\n".encode()
    assert response.fields["Content-Length"] == "4"
    assert response.fields["Content-Type"] == "text/plain; charset=utf-8"
    assert response.fields["X"] == "1"


def test_reasons():
    assert default_reason(101) == "Switching Protocols"
    assert default_reason(299) == ""
