"""As much of a Kubernetes API server as ``kubectl exec`` asks for; a pod is this machine.

The real kubectl runs commands through it::

    python examples/kubernetes_exec.py --port 8001
    kubectl --server=http://127.0.0.1:8001 exec -i web-1 -- cat

Whoever reaches the port runs commands as you. Keep it on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
from typing import Any

from processes import Process

import switchover
from switchover.asyncio.server import Server
from switchover.containers import PodStreams, Resize, pod_exec

CANNOT_START = 126


async def run(streams: PodStreams) -> int:
    """Run the command that a client wants in a pod, and return its exit code."""
    try:
        process = await Process.start(streams.command, tty=streams.tty)
    except OSError:
        return CANNOT_START
    if not streams.stdin:
        await process.send_eof()
    reader = asyncio.create_task(_feed(streams, process))
    try:
        async for output in process.output():
            await streams.send(output)
        return await process.wait()
    finally:
        process.kill(signal.SIGHUP)  # of a client that has gone: what it left behind goes, too
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _feed(streams: PodStreams, process: Process) -> None:
    while (came := await streams.read()) is not None:
        if isinstance(came, Resize):
            process.resize(came.columns, came.rows)
        elif came:
            await process.send(came)
        else:
            await process.send_eof()
    process.kill(signal.SIGHUP)  # the client has gone


def pod(namespace: str, name: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "main", "image": "here"}]},
        "status": {"phase": "Running"},
    }


def resource(name: str, kind: str, *verbs: str) -> dict[str, Any]:
    return {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}


FIXED: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            resource("pods", "Pod", "get"),
            resource("pods/exec", "PodExecOptions", "create", "get"),
        ],
    },
}


async def answer(exchange: switchover.Exchange) -> None:
    """Answer what kubectl asks before it opens the streams."""
    path = exchange.request.path
    found = re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)", path)
    said, status = FIXED.get(path), 200
    if found:
        said = pod(found[1], found[2])
    if said is None:
        said, status = {"kind": "Status", "status": "Failure", "code": 404}, 404
    content = json.dumps(said).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    response = switchover.Response(status, switchover.Fields(fields), content=content)
    await exchange.send_response(response, end=True)


async def serve(port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Server(answer, [pod_exec(run)]) as server:
        await server.start("127.0.0.1", port)
        print(f"ready {server.port} ", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8001)
    asyncio.run(serve(parser.parse_args().port))
