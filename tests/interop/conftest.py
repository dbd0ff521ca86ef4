"""Real peers: started on ports of the kernel's choice, ended by process, skipped where missing.

A peer is a program under ``peers/`` that prints ``ready PORT``. What is not a Python package (node,
its packages, curl) may be absent; the test then skips and says what to install.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from switchover.asyncio.tls import client_context

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).parent / "peers"
START_SECONDS = 30
ANNOUNCED = re.compile(r"(?:ready |Listening on http://127\.0\.0\.1:)(\d+)\D")


def surroundings() -> dict[str, str]:
    """Our source before what is installed; no proxy of the machine's in between."""
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {**kept, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


class Program:
    """A server in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            env=surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self.port = self._announced()

    def _announced(self) -> int:
        assert self._process.stdout is not None
        stream, said = self._process.stdout.fileno(), b""
        while select.select([stream], [], [], START_SECONDS)[0]:
            piece = os.read(stream, 4096)
            said += piece
            if found := ANNOUNCED.search(said.decode(errors="replace")):
                return int(found[1])
            if not piece:
                break
        errors = self.errors()
        self.stop()
        pytest.fail(f"{self._process.args} did not start: {errors}")

    def errors(self) -> str:
        """What it has written to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def stop(self) -> None:
        """End it; by force if it does not go within five seconds."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                try:
                    self._process.wait(5)
                except subprocess.TimeoutExpired:
                    continue
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Program]]:
    """Start a server once for the session: ``start("node", "ws_server.js").port``."""
    running: dict[tuple[str, ...], Program] = {}

    def start(*command: str) -> Program:
        if command not in running:
            running[command] = Program(list(command))
        return running[command]

    yield start
    for program in running.values():
        program.stop()


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether somebody listens there in time."""
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


@pytest.fixture(scope="session")
def daemon() -> Iterator[Callable[[Callable[[int], list[str]]], int]]:
    """Start a server that is told its port, for the session: ``daemon(command)``.

    ``command`` gets a free port, and is asked again with another if somebody took that one.
    """
    running: list[subprocess.Popen[bytes]] = []

    def start_daemon(command: Callable[[int], list[str]]) -> int:
        told = b""
        for _ in range(3):
            port = free_port()
            with tempfile.TemporaryFile() as log:
                process = subprocess.Popen(
                    command(port), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
                if accepts(port, process):
                    running.append(process)
                    return port
                process.kill()
                process.wait()
                log.seek(0)
                told = log.read()
        pytest.fail(f"{process.args} did not start: {told.decode(errors='replace')}")

    yield start_daemon
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def demonstration(start: Callable[..., Program]) -> str:
    """``HOST:PORT`` of ``switchover serve``, the demonstration server."""
    command = (sys.executable, "-m", "switchover", "serve", "--bind", "127.0.0.1:0")
    return f"127.0.0.1:{start(*command).port}"


@pytest.fixture(scope="session")
def tls_demonstration() -> Iterator[str]:
    """``HOST:PORT`` where the demonstration server speaks TLS from the first octet."""
    command = [sys.executable, "-m", "switchover", "serve", "--bind", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--tls-bind", "127.0.0.1:0"],
        env=surroundings(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"https://(127\.0\.0\.1:\d+)", line):
                yield found[1]
                return
        pytest.fail("the server named no TLS port")
    finally:
        process.terminate()
        process.wait(15)
        process.stdout.close()


@pytest.fixture(scope="session")
def python_peer(start: Callable[..., Program]) -> Callable[..., str]:
    """Start ``peers/NAME.py`` and return its ``HOST:PORT``."""

    def start_peer(name: str, *arguments: str) -> str:
        command = (sys.executable, str(PEERS / f"{name}.py"), *arguments)
        return f"127.0.0.1:{start(*command).port}"

    return start_peer


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of an installed program, or a skip that names it."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed (.ci/apt-packages.txt lists the packages)")
        return found

    return find


@pytest.fixture(scope="session")
def node(program: Callable[[str], str]) -> Callable[..., list[str]]:
    """The command that runs ``peers/NAME.js``, if node has the packages that it requires."""
    interpreter = program("node")

    def command(name: str, *arguments: str, packages: tuple[str, ...] = ()) -> list[str]:
        for package in packages:
            probe = [interpreter, "-e", f"require.resolve({package!r})"]
            if subprocess.run(probe, cwd=PEERS, capture_output=True, check=False).returncode:
                pytest.skip(
                    f"node package {package} is not installed: install tests/interop/package.json "
                    "somewhere and let NODE_PATH name its node_modules"
                )
        return [interpreter, str(PEERS / f"{name}.js"), *arguments]

    return command


@pytest.fixture(scope="session")
def node_peer(start: Callable[..., Program], node: Callable[..., list[str]]) -> Callable[..., str]:
    """Start ``peers/NAME.js`` and return its ``HOST:PORT``."""

    def start_peer(name: str, *arguments: str, packages: tuple[str, ...] = ()) -> str:
        return f"127.0.0.1:{start(*node(name, *arguments, packages=packages)).port}"

    return start_peer


@pytest.fixture(scope="session")
def node_says(node: Callable[..., list[str]]) -> Callable[..., Any]:
    """Run ``peers/NAME.js`` to its end and return the JSON it prints."""

    def run(name: str, *arguments: str, packages: tuple[str, ...] = ()) -> Any:
        command = node(name, *arguments, packages=packages)
        done = subprocess.run(
            command, env=surroundings(), capture_output=True, text=True, timeout=40, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate for localhost: ``both.pem``, and apart."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "certificate.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(secret)
    (folder / "both.pem").write_bytes(pem + secret)
    return folder


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    """A client's context that trusts the certificate for localhost, and nothing else."""
    return client_context(certificate / "certificate.pem")
