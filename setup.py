"""Build the optional extension modules. All else stands in pyproject.toml.

Each is the project's own Python source compiled under a second name, typed by the ``.pxd`` of
that name; the source runs as it is where the compiled module is missing, only slower.

``SWITCHOVER_BUILD`` in the environment says what a failure means:

- ``optional`` (the default): no compiler, no Cython: install without
- ``required``: fail; for wheels, which must not turn pure unnoticed
- ``pure``: do not even try; for the wheel that runs anywhere
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

SOURCES = {
    "switchover.http._fields_c": "src/switchover/http/_fields.py",
    "switchover.http._head_c": "src/switchover/http/_head.py",
    "switchover.http._lists_c": "src/switchover/http/_lists.py",
    "switchover.http._messages_c": "src/switchover/http/_messages.py",
    "switchover.http._events_c": "src/switchover/http/_events.py",
    "switchover.http._targets_c": "src/switchover/http/_targets.py",
    "switchover.http._writing_c": "src/switchover/http/_writing.py",
    "switchover.http._server_c": "src/switchover/http/_server.py",
    "switchover.upgrade._tokens_c": "src/switchover/upgrade/_tokens.py",
    "switchover.upgrade._paths_c": "src/switchover/upgrade/_paths.py",
    "switchover.upgrade._offers_c": "src/switchover/upgrade/_offers.py",
    "switchover.upgrade._registry_c": "src/switchover/upgrade/_registry.py",
    "switchover.upgrade._responses_c": "src/switchover/upgrade/_responses.py",
    "switchover.upgrade._decisions_c": "src/switchover/upgrade/_decisions.py",
    "switchover.http2._hpack_c": "src/switchover/http2/_hpack.py",
    "switchover.http2._frames_c": "src/switchover/http2/_frames.py",
    "switchover.http2._machine_c": "src/switchover/http2/_machine.py",
    "switchover.websocket.opening._server_c": "src/switchover/websocket/opening/_server.py",
    "switchover.websocket._framing_c": "src/switchover/websocket/_framing.py",
    "switchover.asyncio._receiver_c": "src/switchover/asyncio/_receiver.py",
    "switchover.websocket._deflate_coding_c": "src/switchover/websocket/_deflate_coding.py",
    "switchover.websocket._connection_c": "src/switchover/websocket/_connection.py",
    "switchover.asyncio._deadlines_c": "src/switchover/asyncio/_deadlines.py",
    "switchover.asyncio._http1_carrier_c": "src/switchover/asyncio/_http1_carrier.py",
    "switchover.asyncio._http1_server_c": "src/switchover/asyncio/_http1_server.py",
    "switchover.asyncio._http2_carrier_c": "src/switchover/asyncio/_http2_carrier.py",
    "switchover.asyncio._http2_stream_c": "src/switchover/asyncio/_http2_stream.py",
    "switchover.asyncio._roll_c": "src/switchover/asyncio/_roll.py",
    "switchover.asyncio._switching_c": "src/switchover/asyncio/_switching.py",
    "switchover.asyncio._tls_records_c": "src/switchover/asyncio/_tls_records.py",
    "switchover.asyncio._workers_c": "src/switchover/asyncio/_workers.py",
    "switchover.asyncio._wire_c": "src/switchover/asyncio/_wire.py",
    "switchover.asyncio._websocket_life_c": "src/switchover/asyncio/_websocket_life.py",
    "switchover.asyncio._websocket_maker_c": "src/switchover/asyncio/_websocket_maker.py",
    "switchover.asyncio._awaitables": "src/switchover/asyncio/_awaitables.pyx",
    "switchover.asgi._scopes_c": "src/switchover/asgi/_scopes.py",
    "switchover.asgi._call_c": "src/switchover/asgi/_call.py",
    "switchover.asgi._answer_c": "src/switchover/asgi/_answer.py",
    "switchover.asgi._channel_c": "src/switchover/asgi/_channel.py",
    "switchover.asgi._awaitables": "src/switchover/asgi/_awaitables.pyx",
    "switchover.asyncio._poller": "src/switchover/asyncio/_poller.pyx",
    "switchover.asyncio._socket_transport": "src/switchover/asyncio/_socket_transport.pyx",
    "switchover.asyncio._listener": "src/switchover/asyncio/_listener.pyx",
    "switchover.http._lines": "src/switchover/http/_lines.pyx",
    "switchover.websocket._masking": "src/switchover/websocket/_masking.pyx",
}

#: What goes to the kernel itself; elsewhere the event loop does.
ONLY_LINUX = {
    "switchover.asyncio._poller",
    "switchover.asyncio._socket_transport",
    "switchover.asyncio._listener",
}


def _layouts_changed() -> bool:
    """Whether a ``.pxd`` is newer than what was made with it: its class may be in any module."""
    made = [path.stat().st_mtime for path in Path("build/cython").rglob("*.c")]
    types = [path.stat().st_mtime for path in Path("src").rglob("*.pxd")]
    return bool(made) and bool(types) and max(types) > min(made)


def extensions(mode: str) -> list[Extension]:
    """Return what there is to compile. ``mode`` is the value of ``SWITCHOVER_BUILD``."""
    if mode == "pure":
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        if mode == "required":
            raise
        return []
    wanted = [
        Extension(name, [path])
        for name, path in SOURCES.items()
        if Path(path).exists() and (name not in ONLY_LINUX or sys.platform == "linux")
    ]
    compiled: list[Extension] = cythonize(
        wanted,
        # Elsewhere each process would begin by running the build's own program once more.
        nthreads=(os.cpu_count() or 1) if sys.platform == "linux" else 0,
        force=_layouts_changed(),
        build_dir="build/cython",
        include_path=["src"],
        # Types come from the .pxd alone: an annotation taken for a C type would make the two
        # builds differ, the compiled one refusing what the plain one takes.
        compiler_directives={"language_level": 3, "annotation_typing": False},
    )
    for extension in compiled:
        # cythonize() returns new objects and forgets this; set before it, it would be lost.
        extension.optional = mode != "required"
        if os.name == "posix":
            extension.extra_compile_args = ["-g0"]  # a third of the time and most of the size
    return compiled


if __name__ == "__main__":
    setup(
        ext_modules=extensions(os.environ.get("SWITCHOVER_BUILD", "optional")),
        options={"build_ext": {"parallel": os.cpu_count() or 1}},
    )
