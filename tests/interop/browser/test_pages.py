"""Chromium and Firefox on the demonstration page: what a person would see."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LOG = "document.getElementById('ws-log').textContent"
STATE = "document.getElementById('ws-state').textContent"

EXCHANGE = """
new Promise((resolve, reject) => {
  const seen = {messages: []}, sent = ["hello", "grüße 🌍", "", "a".repeat(1 << 20)];
  const ws = new WebSocket(location.origin.replace("http", "ws") + "/echo", %s);
  ws.binaryType = "arraybuffer";
  ws.onopen = () => {
    seen.protocol = ws.protocol;
    seen.extensions = ws.extensions;
    for (const text of sent) ws.send(text);
    ws.send(new Uint8Array([0, 255, 7]));
  };
  ws.onmessage = (event) => {
    seen.messages.push(typeof event.data === "string" ? event.data.length
                                                      : Array.from(new Uint8Array(event.data)));
    if (seen.messages.length === sent.length + 1) ws.close(4000, "enough");
  };
  ws.onclose = (event) => resolve({...seen, close: [event.code, event.reason, event.wasClean]});
  ws.onerror = () => reject(new Error("the WebSocket failed"));
})
"""


def picture(name: str, tmp_path: Path) -> Path:
    """Where a screenshot goes: SCREENSHOTS names a folder to keep them in."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.png"


def test_the_page_opens_the_echo_and_shows_the_messages(
    page: Any, demonstration: str, tmp_path: Path
) -> None:
    page.open(f"http://{demonstration}/")
    page.wait_for(f"document.readyState === 'complete' && {STATE} === 'open'")
    page.wait_for(f"{LOG}.includes('← hello from this page')")
    assert "subprotocol: echo.v2" in page.evaluate(LOG)
    assert "permessage-deflate" in page.evaluate(LOG)

    page.evaluate("document.getElementById('ws-text').value = 'typed by hand'")
    page.evaluate("document.getElementById('ws-send').click()")
    page.wait_for(f"{LOG}.includes('← typed by hand')")
    page.evaluate("document.getElementById('ws-binary').click()")
    page.wait_for(f"{LOG}.includes('← 65536 octets')")
    page.evaluate("document.querySelector('#body-form button').click()")
    page.wait_for("document.getElementById('body-log').textContent.includes('not one byte lost')")
    page.wait_for(
        "document.querySelectorAll('#live td.switched').length === 1"
    )  # its own, the first
    page.evaluate("document.getElementById('ws-open').click()")
    page.wait_for("document.querySelectorAll('#live td.switched').length === 2")
    page.wait_for(f"{LOG}.includes('closed: 1000') && {STATE} === 'open'")
    page.screenshot(picture("page", tmp_path))
    page.resize(390, 1500)
    assert page.evaluate("innerWidth") == 390
    # Nothing sticks out; a scroll bar may take some of the width.
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
    page.screenshot(picture("page-on-a-telephone", tmp_path))

    page.evaluate("document.getElementById('ws-close').click()")
    page.wait_for(f"{LOG}.includes('closed: 1000')")


@pytest.mark.parametrize("offered", ["['echo.v1']", "['nothing', 'echo.v1']", "[]"])
def test_messages_of_every_kind(page: Any, demonstration: str, offered: str) -> None:
    page.open(f"http://{demonstration}/plain")
    page.wait_for("document.readyState === 'complete' && document.body.textContent === 'plain'")
    seen = page.evaluate(EXCHANGE % offered)
    # In JavaScript's units of length: the globe takes two.
    assert seen["messages"] == [5, 8, 0, 1 << 20, [0, 255, 7]]
    assert seen["protocol"] == ("" if offered == "[]" else "echo.v1")
    assert seen["extensions"].startswith("permessage-deflate")
    assert (seen["close"][0], seen["close"][2]) == (4000, True)


def test_a_page_of_another_origin_is_refused(
    page: Any, another_page: Any, demonstration: str
) -> None:
    """A WebSocket is open to every page of the web unless the server checks where it came from."""
    page.open(f"http://{demonstration}/")
    page.wait_for(f"document.readyState === 'complete' && {STATE} === 'open'")
    # Another host, and no more than that: from a page that is farther off than loopback, Chromium
    # does not even ask.
    another_page.open(f"http://{demonstration.replace('127.0.0.1', 'localhost')}/plain")
    another_page.wait_for("document.readyState === 'complete' && location.hostname === 'localhost'")
    outcome = another_page.evaluate(
        "new Promise((resolve) => {"
        f"const ws = new WebSocket('ws://{demonstration}/echo');"
        "ws.onopen = () => resolve('open'); ws.onclose = (event) => resolve(event.code); })"
    )
    assert outcome == 1006
    # It was the server that refused, not the browser.
    page.wait_for("document.querySelector('#live').textContent.includes('refused with 403')")


def test_a_websocket_over_http2(page: Any, tls_demonstration: str) -> None:
    """WS2-01, WS2-07: on a page that came over HTTP/2, an extended CONNECT beside it."""
    page.open(f"https://{tls_demonstration}/")
    page.wait_for(f"document.readyState === 'complete' && {STATE} === 'open'")
    hop = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
    assert page.evaluate(hop) == "h2"
    seen = page.evaluate(EXCHANGE % "['echo.v1']")
    assert seen["messages"] == [5, 8, 0, 1 << 20, [0, 255, 7]]
    assert seen["protocol"] == "echo.v1"
    assert seen["close"][0] == 4000
    page.wait_for("document.querySelector('#live').textContent.includes('CONNECT /echo')")
