"""Who is measured: a catalogue of echo servers and what each of them can do."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from benchmarks.harness.building import LIMIT_SERVER

SERVERS = Path(__file__).resolve().parent.parent / "servers"


class Family(Enum):
    """How an application is reached; ratios are read within a family, and against raw uvloop."""

    LIMIT = "limit"
    OURS = "switchover"
    CALLBACK = "callback"
    COROUTINE = "coroutine"
    ASGI = "ASGI"
    OTHER = "other"


class Feature(Enum):
    """What a row asks of a server beyond an echo in the clear."""

    DEFLATE = "--deflate"
    TLS = "--certificate"
    BROADCAST = "/broadcast"
    STARLETTE = "--app starlette"


_ALL = frozenset(Feature) - {Feature.STARLETTE}


@dataclass(frozen=True, slots=True)
class Peer:
    """One server program.

    ``script`` is the file under ``benchmarks/servers/`` with its fixed ``options``; ``requires``
    names the modules without which it cannot run (ours is taken from the source tree); ``raw``
    servers have no framing.
    """

    name: str
    family: Family
    script: str
    options: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    features: frozenset[Feature] = _ALL
    raw: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Why this peer cannot be measured here, or None."""
        if self.script.endswith(".js"):
            return None if shutil.which("node") else "node is not installed"
        if self.script == "limit_server":
            return None
        for module in self.requires:
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed"
        return None

    def command(self, *, starlette: bool, deflate: bool, certificate: Path | None) -> list[str]:
        """The command line that starts it."""
        if self.script == "limit_server":
            return [str(LIMIT_SERVER)]
        node = self.script.endswith(".js")
        command = ["node" if node else sys.executable, str(SERVERS / self.script), *self.options]
        if starlette:
            command += ["--app", "starlette"]
        if deflate:
            command.append("--deflate")
        if certificate is not None:
            command += ["--certificate", str(certificate)]
            command += ["--key", str(certificate.with_suffix(".key"))]
        return command

    def surroundings(self) -> dict[str, str]:
        """Its environment."""
        source = str(Path(__file__).resolve().parents[2] / "src")
        paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **self.environment}


def _asgi(name: str, script: str, *requires: str, implementation: str = "") -> Peer:
    options = ("--implementation", implementation) if implementation else ()
    features = frozenset({Feature.DEFLATE, Feature.TLS, Feature.BROADCAST, Feature.STARLETTE})
    return Peer(name, Family.ASGI, script, options, requires, features)


RAW_UVLOOP = Peer(
    "raw uvloop", Family.LIMIT, "raw_echo.py", features=frozenset({Feature.TLS}), raw=True
)

PEERS = (
    RAW_UVLOOP,
    Peer(
        "raw asyncio",
        Family.LIMIT,
        "raw_echo.py",
        ("--loop", "asyncio"),
        features=frozenset({Feature.TLS}),
        raw=True,
    ),
    Peer("C epoll (limit)", Family.LIMIT, "limit_server", features=frozenset()),
    Peer("switchover callback", Family.OURS, "switchover_callback_echo.py"),
    Peer("switchover coroutine", Family.OURS, "switchover_coroutine_echo.py"),
    Peer(
        "switchover coroutine, pure Python",
        Family.OURS,
        "switchover_coroutine_echo.py",
        environment={"SWITCHOVER_PURE_PYTHON": "1"},
    ),
    Peer(
        "switchover ASGI",
        Family.OURS,
        "switchover_asgi_echo.py",
        (),
        ("starlette",),
        frozenset(Feature),
    ),
    Peer(
        "picows callback",
        Family.CALLBACK,
        "picows_callback_echo.py",
        (),
        ("picows",),
        frozenset({Feature.TLS, Feature.BROADCAST}),
    ),
    Peer("picows.websockets", Family.COROUTINE, "picows_coroutine_echo.py", (), ("picows",)),
    Peer("aiohttp", Family.COROUTINE, "aiohttp_echo.py", (), ("aiohttp",)),
    Peer("websockets", Family.COROUTINE, "websockets_echo.py", (), ("websockets",)),
    Peer("tornado", Family.COROUTINE, "tornado_echo.py", (), ("tornado",)),
    _asgi("uvicorn websockets-sansio", "uvicorn_echo.py", "uvicorn", "websockets"),
    _asgi("uvicorn wsproto", "uvicorn_echo.py", "uvicorn", "wsproto", implementation="wsproto"),
    _asgi("hypercorn", "hypercorn_echo.py", "hypercorn"),
    Peer(
        "granian",
        Family.ASGI,
        "granian_echo.py",
        (),
        ("granian",),
        frozenset({Feature.BROADCAST, Feature.STARLETTE}),
    ),
    Peer("node ws", Family.OTHER, "node_ws.js"),
)
