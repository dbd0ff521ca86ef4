"""h2load against a running server: a rate, latencies, and the server's CPU time a request."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from benchmarks.harness.process import NotMeasured, RunningServer

_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s), ")
_REQUESTS = re.compile(r"requests: \d+ total.* (\d+) succeeded, (\d+) failed, (\d+) errored")
_TIMES = re.compile(r"time for request: +\S+ +([\d.]+)(us|ms|s) +([\d.]+)(us|ms|s)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_LONGEST = 60.0


def h2load(
    server: RunningServer, path: str, streams: int, requests: int, seconds: float, core: int
) -> dict[str, Any]:
    """Connections one after the other until ``seconds`` of load have passed.

    Each carries so many ``requests``, ``streams`` of them at once: not one connection for the
    whole time, because uvicorn's engine stops after 4096 requests on one. Raises
    :class:`NotMeasured`.
    """
    program = shutil.which("h2load")
    if program is None:
        raise NotMeasured("h2load is not installed (Debian: nghttp2-client)")
    url = f"http://127.0.0.1:{server.port}{path}"
    command = [program, "-c", "1", "-m", str(streams), "-n", str(requests), url]
    before, spent, answered = server.cpu_seconds(), 0.0, 0
    slowest, means = 0.0, []
    while spent < seconds:
        run = _run(command, core)
        spent += run["seconds"]
        answered += requests
        slowest = max(slowest, run["slowest_us"])
        means.append(run["mean_us"])
    return {
        "figure": answered / spent,
        "requests": answered,
        "mean_us": sum(means) / len(means),
        "slowest_us": slowest,
        "server_cpu_us": 1e6 * (server.cpu_seconds() - before) / answered,
    }


def _run(command: Sequence[str], core: int) -> dict[str, float]:
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"a connection took more than {_LONGEST:.0f} s") from None
    finished, requests = _FINISHED.search(run.stdout), _REQUESTS.search(run.stdout)
    times = _TIMES.search(run.stdout)
    if finished is None or requests is None or times is None:
        raise NotMeasured("h2load said: " + " ".join(run.stdout.split())[-200:])
    succeeded, failed, errored = map(int, requests.groups())
    if failed or errored:
        raise NotMeasured(f"{succeeded} requests succeeded, {failed} failed, {errored} errored")
    return {
        "seconds": float(finished[1]) * _SECONDS[finished[2]],
        "slowest_us": float(times[1]) * _SECONDS[times[2]] * 1e6,
        "mean_us": float(times[3]) * _SECONDS[times[4]] * 1e6,
    }
