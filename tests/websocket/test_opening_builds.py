"""From the octets of a request to the 101, in both builds: no request may part them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchover.http.events import RequestReceived, Switched
from switchover.http.server import COMPILED, ServerConnection
from switchover.upgrade import Registry, Select, Upgrade, decide, examine, switching_response
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.opening import ServerOpening

GOOD = {
    "Host": ["a.example"],
    "Upgrade": ["websocket"],
    "Connection": ["Upgrade"],
    "Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ=="],
    "Sec-WebSocket-Version": ["13"],
}
ODD = {
    "Host": [[], ["b:80"], ["a", "a"], ["a,b"], ["[::1]:8000"], ["[::1"], ["a:99999"], [""]],
    "Upgrade": [
        [],
        ["WebSocket"],
        ["h2c, websocket"],
        ["h2c", "websocket"],
        ["websocket/13"],
        ["websocket,websocket/8"],
        ["\u212aebsocket".encode().decode("latin-1")],
        [", ,", "websocket ,"],
        ['"websocket"'],
        ["irc/6.9, websocket"],
        [",".join(["x"] * 63 + ["websocket"])],
        [",".join(["x"] * 64 + ["websocket"])],
        ["," * 101 + "websocket"],
    ],
    "Connection": [
        [],
        ["close"],
        ["keep-alive, Upgrade"],
        ["keep-alive", "upGRADE"],
        ["Upgrade, close"],
        ["Upgrade, Sec-WebSocket-Key"],
        ["upgrade2"],
        ["," * 101],
    ],
    "Sec-WebSocket-Key": [
        [],
        [""],
        ["dGhlIHNhbXBsZSBub25jZR=="],
        ["dGhlIHNhbXBsZSBub25jZ==="],
        ["dGhlIHNhbXBsZSBub25j=Q=="],
        ["dGhlIHNhbXBsZSBub25jZQ= "],
        ["dGhlIHNhbXBsZSBub25jZQ"],
        ["dGhlIHNhbXBsZSBub25j-Q=="],
        ["\xffGhlIHNhbXBsZSBub25jZQ=="],
        ["dGhlIHNhbXBsZSBub25jZQ=="] * 2,
    ],
    "Sec-WebSocket-Version": [[], ["8"], ["13", "13"], ["13, 8"], ["013"], ["13 "]],
    "Origin": [
        ["http://a.example"],
        ["HTTP://A.example:80"],
        ["https://a.example"],
        ["null"],
        ["http://a.example", "http://a.example"],
        ["http://a.example/"],
        ["x" * 500],
    ],
    "Sec-WebSocket-Extensions": [
        ["permessage-deflate; client_max_window_bits"],
        ["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
        ["x, permessage-deflate;client_no_context_takeover", 'y; a="b"'],
        ["permessage-deflate;"],
        [""],
    ],
    "Sec-WebSocket-Protocol": [["a, b"], ["b", "a"], ["a, a"], [""], ["c"], ["a b"]],
    "Content-Length": [["0"], ["00"], ["5"], ["+5"], ["5", "5"]],
    "Transfer-Encoding": [["chunked"], ["gzip"]],
    "Expect": [["100-continue"]],
    "HTTP2-Settings": [["AAMAAABkAAQAAP__"]],
}
START = [
    "GET /chat HTTP/1.1",
    "GET /%63hat?x HTTP/1.1",
    "GET http://a.example/chat HTTP/1.1",
    "GET /other HTTP/1.1",
    "GET /tea/green HTTP/1.1",
    "GET /chat HTTP/1.0",
    "GET /chat HTTP/1.7",
    "POST /chat HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "CONNECT a.example:443 HTTP/1.1",
    "BREW /chat HTTP/1.1",
]


def heads() -> Iterator[bytes]:
    """Good requests in every order, and those with one or two of the oddities above."""
    for order in itertools.permutations(GOOD):
        yield head(START[0], {name: GOOD[name] for name in order})
    oddities = [(name, values) for name, several in ODD.items() for values in several]
    for start in START:
        yield head(start, GOOD)
        yield head(start, {name.lower(): values for name, values in GOOD.items()})
        for name, values in oddities:
            yield head(start, {**GOOD, name: values})
    for (one, values), (other, others) in itertools.combinations(oddities, 2):
        if one != other:
            yield head(START[0], {**GOOD, one: values, other: others})


def head(start: str, fields: dict[str, list[str]]) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, values in fields.items() for value in values]
    return f"{start}\r\n{''.join(lines)}\r\n".encode("latin-1")


def registry() -> Registry:
    chat = ServerOpening(subprotocols=("b", "a"), extensions=(PermessageDeflate(),))
    tea = ServerOpening()
    return Registry(
        [
            Upgrade(token="websocket", path="/chat", prepare=chat.prepare, misfit=chat.misfit,
                    required=True),
            Upgrade(token="websocket", path="/tea/{kind}", prepare=tea.prepare, secure=None),
            Upgrade(token="irc", versions=("6.9",), path="/chat"),
        ]
    )  # fmt: skip


def story(octets: bytes, served: Registry) -> str:
    """All there is to see of one request, as text."""
    machine = ServerConnection()
    machine.receive_data(octets + b"next")
    seen: list[object] = []
    for event in machine.events_received():
        seen.append(event)
        if not isinstance(event, RequestReceived):
            continue
        request = event.request
        seen += [request.path, request.query, request.has_content, request.expects_continue]
        examined = examine(request)
        seen.append(examined)
        decision = decide(request, served, secure=False, examined=examined)
        if not isinstance(decision, Select):
            seen.append(decision)
            continue
        agreed = decision.acceptance.state
        seen += [decision.protocol, decision.reads_content, decision.parameters]
        if agreed is not None:
            seen += [agreed.subprotocol, [type(x).__name__ for x in agreed.extensions]]
        if not request.has_content:
            machine.switch(switching_response(decision), decision.protocol)
    for event in machine.events_received():
        if isinstance(event, Switched):
            seen.append(event)
    return repr([*seen, machine.data_to_send(), machine.state])


def stories() -> list[str]:
    served = registry()
    return [story(octets, served) for octets in heads()]


def test_the_corpus_has_both_kinds():
    told = stories()
    assert len(told) > 1000
    assert sum("HTTP/1.1 101" in text for text in told) > 200
    assert sum("HTTP/1.1 101" not in text for text in told) > 200


@pytest.mark.skipif(not COMPILED, reason="the compiled build is not there, or not chosen")
def test_both_builds_open_alike():
    """RFC 6455 §4.2: whatever the order, the case, the lines and the lists of a request."""
    environment = os.environ | {
        "SWITCHOVER_PURE_PYTHON": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    program = (
        f"import runpy, json; told = runpy.run_path({str(Path(__file__))!r});"
        "assert not told['COMPILED']; print(json.dumps(told['stories']()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    plain = json.loads(result.stdout)
    for octets, one, other in zip(heads(), stories(), plain, strict=True):
        assert one == other, octets
