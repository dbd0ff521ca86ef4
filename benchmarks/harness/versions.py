"""What ran: the versions and the machine, for the head of every result."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

_DISTRIBUTIONS = [
    "switchover", "uvloop", "picows", "websockets", "aiohttp", "uvicorn", "httptools", "wsproto",
    "zttp", "hypercorn", "granian", "tornado", "starlette", "isal", "zlib-ng",
]  # fmt: skip


def _node_packages() -> dict[str, str]:
    found = {}
    for folder in os.environ.get("NODE_PATH", "").split(os.pathsep):
        manifest = Path(folder or ".") / "ws" / "package.json"
        if manifest.is_file():
            found["ws"] = json.loads(manifest.read_text())["version"]
    return found


def _said_by(*command: str) -> str:
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return "absent"
    return output.splitlines()[0].strip() if output else "absent"


def versions() -> dict[str, str]:
    """The versions of everything that is measured."""
    found = {"CPython": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _said_by("git", "rev-parse", "--short", "HEAD")
    programs = {"node": _said_by("node", "--version"), "nghttpd": _said_by("nghttpd", "--version")}
    return {**found, "commit": commit, **programs, **_node_packages()}


def machine() -> dict[str, str]:
    """Processor, cores and kernel."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "compiler": _said_by("cc", "--version"),
    }
