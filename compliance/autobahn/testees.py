"""Whom the suite tests: our two ends, compiled and pure, and peers that prove the runner."""

from __future__ import annotations

import sys
from pathlib import Path

from compliance.testee import PURE, ROOT, SERVE, Testee

_PEERS = ROOT / "benchmarks" / "servers"


def _peer(name: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, str(_PEERS / f"{name}_echo.py"), "--deflate", *options)


def _client(library: str) -> tuple[str, ...]:
    return (sys.executable, str(Path(__file__).with_name("client.py")), library)


SERVERS = (
    Testee("switchover", SERVE, "/echo", ours=True),
    Testee("switchover-pure", SERVE, "/echo", PURE, ours=True),
    Testee("aiohttp", _peer("aiohttp")),
    Testee("websockets", _peer("websockets")),
    Testee("picows.websockets", _peer("picows_coroutine")),
    Testee("uvicorn", _peer("uvicorn")),
    Testee("uvicorn-wsproto", _peer("uvicorn", "--implementation", "wsproto")),
    Testee("hypercorn", _peer("hypercorn")),
    Testee("switchover-asgi", _peer("switchover_asgi"), ours=True),
)
CLIENTS = (
    Testee("switchover", _client("switchover"), ours=True),
    Testee("switchover-pure", _client("switchover"), "/", PURE, ours=True),
    Testee("aiohttp", _client("aiohttp")),
    Testee("websockets", _client("websockets")),
)
