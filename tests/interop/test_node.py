"""node against the demonstration server: ws, http with an `upgrade` event, undici."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("mode", ["plain", "deflate"])
def test_ws(node_says: Callable[..., Any], demonstration: str, mode: str) -> None:
    seen = node_says("ws_client", f"ws://{demonstration}/echo", mode, packages=("ws",))
    octets, big = seen["expected"]
    assert seen["messages"] == ["hello", "grüße 🌍", octets, "", big, "in pieces"]
    assert seen["protocol"] in ("echo.v1", "echo.v2")
    assert ("permessage-deflate" in seen["extensions"]) is (mode == "deflate")
    assert seen["pong"] == "are you there"
    assert seen["close"][0] == 4000


def test_http_and_undici(node_says: Callable[..., Any], demonstration: str) -> None:
    host, _, port = demonstration.partition(":")
    seen = node_says("upgrade_client", host, port, packages=("undici",))
    shouted = {"token": "shout/1", "text": "FIRST AND LAST"}
    assert seen["switched"] == shouted
    assert seen["list"] == shouted
    assert seen["undici"] == shouted
    assert seen["declined"] == {"status": 200, "text": "plain"}
    assert seen["posted"] == {"status": 200, "text": "kept whole"}
