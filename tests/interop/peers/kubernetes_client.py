"""Kubernetes' own Python client: one command that speaks, one that is spoken to; prints JSON."""

from __future__ import annotations

import json
import sys

from kubernetes import client
from kubernetes.stream import stream

configuration = client.Configuration()
configuration.host = sys.argv[1]
configuration.proxy = None
api = client.CoreV1Api(client.ApiClient(configuration))


def run(script: str, given: str | None = None) -> dict[str, object]:
    streams = stream(
        api.connect_get_namespaced_pod_exec,
        "web-1",
        "default",
        command=["sh", "-c", script],
        stdin=given is not None,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    if given is not None:
        streams.write_stdin(given)
    streams.run_forever(timeout=20)
    out, err = streams.read_stdout(), streams.read_stderr()
    return {"out": out, "err": err, "code": streams.returncode}


print(json.dumps([run("echo out; echo err >&2"), run("read a; echo got $a; exit 3", "grüße\n")]))
