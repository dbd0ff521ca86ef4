"""Builds the programs in C: the load generator and the limit server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
BUILD = HERE / "build"
LOADGEN = BUILD / "loadgen"
LIMIT_SERVER = BUILD / "limit_server"

_FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers"]


def _sources(program: str) -> list[Path]:
    return [HERE / f"{program}.c", *(sorted(HERE.glob("load/*.c")) if program == "loadgen" else [])]


def _compile(compiler: str, program: str, options: list[str]) -> subprocess.CompletedProcess[str]:
    libraries = [option for option in options if option.startswith("-l")]
    defines = [option for option in options if not option.startswith("-l")]
    command = [compiler, *_FLAGS, *defines, "-o", BUILD / program, *_sources(program), *libraries]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def _is_fresh(program: str) -> bool:
    target = BUILD / program
    newest = max(path.stat().st_mtime for path in [*_sources(program), *HERE.glob("load/*.h")])
    return target.exists() and target.stat().st_mtime >= newest


def build() -> None:
    """Compile what is out of date.

    Without OpenSSL's or zlib's headers the load generator is built without them; the rows that
    need them then say so. Raises :class:`RuntimeError` with the compiler's words.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("a C compiler is needed for the load generator (Debian: gcc)")
    BUILD.mkdir(exist_ok=True)
    tls, deflate = ["-DWITH_TLS", "-lssl", "-lcrypto"], ["-DWITH_ZLIB", "-lz"]
    attempts: dict[str, list[list[str]]] = {
        "loadgen": [tls + deflate, deflate, tls, []],
        "limit_server": [[]],
    }
    for program, choices in attempts.items():
        if _is_fresh(program):
            continue
        outcomes = (_compile(compiler, program, options) for options in choices)
        failed = []
        for outcome in outcomes:
            if outcome.returncode == 0:
                break
            failed.append(outcome.stderr)
        else:
            raise RuntimeError(f"{program} does not compile:\n{failed[-1]}")
