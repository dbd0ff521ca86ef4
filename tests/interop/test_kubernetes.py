"""kubectl and Kubernetes' Python client against ``examples/kubernetes_exec.py``, built on ours.

kubectl is not in Debian: where it is missing, every test of it says so and skips.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.interop

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "kubernetes_exec.py"
Kubectl = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def server(start: Callable[..., Any]) -> str:
    """The URL of the API server."""
    return f"http://127.0.0.1:{start(sys.executable, str(EXAMPLE), '--port', '0').port}"


@pytest.fixture(scope="session")
def kubectl(
    program: Callable[[str], str], server: str, tmp_path_factory: pytest.TempPathFactory
) -> Kubectl:
    """Run ``kubectl exec`` with these arguments."""
    executable = program("kubectl")
    home = tmp_path_factory.mktemp("home")  # kubectl keeps what it discovers there

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        options["env"] = {**os.environ, "HOME": str(home), **options.pop("env", {})}
        if "stdin" not in options and "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        options.setdefault("stdout", subprocess.PIPE)
        command = [executable, f"--server={server}", "exec", *arguments]
        return subprocess.run(command, stderr=subprocess.PIPE, timeout=50, check=False, **options)

    return run


def test_output_errors_and_exit_code(kubectl: Kubectl) -> None:
    done = kubectl("web-1", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert done.stdout == b"out\n"
    assert done.stderr.startswith(b"err\n")
    assert b"exit code 3" in done.stderr
    assert done.returncode == 3


def test_success(kubectl: Kubectl) -> None:
    done = kubectl("web-1", "--", "true")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_output_goes_on_after_the_end_of_input(kubectl: Kubectl) -> None:
    """v5's message that ends one channel: ``wc`` sees the end, and what follows is printed."""
    done = kubectl("-i", "web-1", "--", "sh", "-c", "wc -c; echo after", input=b"hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"5", b"after"]


def test_every_octet_both_ways(kubectl: Kubectl) -> None:
    data = os.urandom(3_000_000)
    done = kubectl("-i", "web-1", "--", "cat", input=data)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_a_terminal(kubectl: Kubectl) -> None:
    ours, theirs = pty.openpty()
    try:
        done = kubectl(
            "-i", "-t", "web-1", "--", "sh", "-c", "test -t 0 && test -t 1 && echo both; exit 6",
            stdin=theirs, stdout=subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout == b"both\r\n"
    assert done.returncode == 6


def test_a_command_that_cannot_be_started(kubectl: Kubectl) -> None:
    done = kubectl("web-1", "--", "/nowhere/nothing")
    assert done.returncode == 126


def test_spdy_is_declined_and_kubectl_shows_why(kubectl: Kubectl) -> None:
    """UPG-S-15: the words of the 426 reach the person."""
    done = kubectl("web-1", "--", "true", env={"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"})
    assert done.returncode == 1
    assert b"SPDY/3.1 is not spoken here" in done.stderr


def test_the_client_for_python(server: str) -> None:
    """It speaks v4, names the server as its Origin, and sends text as text."""
    if importlib.util.find_spec("kubernetes") is None:
        pytest.skip("the package kubernetes is not installed: pip install kubernetes")
    peer = Path(__file__).parent / "peers" / "kubernetes_client.py"
    done = subprocess.run(
        [sys.executable, str(peer), server], capture_output=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == [
        {"out": "out\n", "err": "err\n", "code": 0},
        {"out": "got grüße\n", "err": "", "code": 3},
    ]
