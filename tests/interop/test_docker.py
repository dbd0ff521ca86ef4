"""Docker: the real command line against an engine of ours, our client against real engines.

The engine is ``examples/docker_engine.py``, whose containers are processes; the real one is
podman's Docker-compatible service, with an image made here of busybox. Each skips, and says so,
where something is missing.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from switchover.containers import Docker, Output, Stream
from switchover.errors import SwitchDeclined

pytestmark = pytest.mark.interop

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "docker_engine.py"
Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def unix_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the engine listens beside its port."""
    return tmp_path_factory.mktemp("engine") / "docker.sock"


@pytest.fixture(scope="session")
def engine(start: Callable[..., Any], unix_path: Path) -> str:
    """The address of our engine."""
    program = start(sys.executable, str(EXAMPLE), "--port", "0", "--unix", str(unix_path))
    return f"tcp://127.0.0.1:{program.port}"


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, engine: str, unix_path: Path) -> str:
    """Our engine's address, on TCP and on a Unix socket."""
    return engine if request.param == "tcp" else f"unix://{unix_path}"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No configuration of the machine's in between."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def command_line(program: Callable[[str], str], home: Path) -> Callable[[str], Run]:
    """``command_line(address)("run", …)`` runs docker."""
    executable = program("docker")

    def at(address: str) -> Run:
        def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
            if "stdin" not in options and "input" not in options:
                options["stdin"] = subprocess.DEVNULL
            return subprocess.run(
                [executable, *arguments],
                env={**os.environ, "DOCKER_HOST": address, "HOME": str(home)},
                capture_output=True,
                timeout=50,
                check=False,
                **options,
            )

        return run

    return at


@pytest.fixture
def docker(command_line: Callable[[str], Run], address: str) -> Run:
    """Docker's command line at our engine."""
    return command_line(address)


@pytest.fixture
def box(docker: Run) -> Iterator[str]:
    """A container that sleeps, to execute commands in."""
    name = f"box{time.monotonic_ns()}"
    done = docker("run", "-d", "--name", name, "any", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    yield name
    docker("rm", "-f", name)


# docker run


def test_run_output_errors_and_exit_code(docker: Run) -> None:
    """Attach comes before start: nothing that is said first is lost."""
    done = docker("run", "--rm", "any", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


def test_run_output_goes_on_after_the_end_of_input(docker: Run) -> None:
    """docker shuts its half when its input ends, and prints what comes after."""
    done = docker("run", "--rm", "-i", "any", "sh", "-c", "wc -c; echo after", input=b"hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"5", b"after"]


def test_run_every_octet_both_ways(docker: Run) -> None:
    data = os.urandom(3_000_000)
    done = docker("run", "--rm", "-i", "any", "cat", input=data)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_run_what_cannot_be_started(docker: Run) -> None:
    done = docker("run", "--rm", "any", "/nowhere/nothing")
    assert done.returncode != 0
    assert b"No such file" in done.stderr


# docker exec


def test_exec_output_errors_and_exit_code(docker: Run, box: str) -> None:
    """UPG-S-11: JSON as content of the switching request, and none of it in the tunnel."""
    done = docker("exec", box, "sh", "-c", "echo out; echo err >&2; exit 4")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 4)


def test_exec_input_is_what_was_sent_and_nothing_else(docker: Run, box: str) -> None:
    """UPG-S-11: the first octet of the tunnel is the first of standard input."""
    done = docker("exec", "-i", box, "cat", input=b"{first}")
    assert (done.stdout, done.returncode) == (b"{first}", 0)


def test_exec_every_octet_both_ways(docker: Run, box: str) -> None:
    data = os.urandom(3_000_000)
    done = docker("exec", "-i", box, "cat", input=data)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_exec_both_streams_whole(docker: Run, box: str) -> None:
    script = "head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2"
    done = docker("exec", box, "sh", "-c", script)
    assert (len(done.stdout), len(done.stderr)) == (300_000, 200_000)


def test_exec_of_what_is_not_there(docker: Run, box: str) -> None:
    assert docker("exec", box, "nothing-of-the-kind").returncode == 127
    done = docker("exec", "nobody", "true")
    assert done.returncode == 1
    assert b"No such container: nobody" in done.stderr


# docker exec -it, docker run -it: on a terminal


class Terminal:
    """A program on a terminal of its own, and a person who types."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 33, 111, 0, 0))
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.seen = b""

    def type(self, data: bytes) -> None:
        os.write(self._ours, data)

    def until(self, wanted: bytes, seconds: float = 20) -> None:
        """Read until ``wanted`` has been seen."""
        deadline = time.monotonic() + seconds
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._ours], [], [], left)[0]:
                pytest.fail(f"{wanted!r} did not come: {self.seen!r}")
            try:
                self.seen += os.read(self._ours, 65536)
            except OSError:
                break
        assert wanted in self.seen, self.seen

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        try:
            while select.select([self._ours], [], [], 20)[0] and (
                data := os.read(self._ours, 65536)
            ):
                self.seen += data
        except OSError:
            pass  # EIO: nobody has the terminal open any more
        return self._process.wait(20)

    def close(self) -> None:
        """End the program, whatever it is doing."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        os.close(self._ours)


@pytest.fixture
def terminal(
    program: Callable[[str], str], address: str, home: Path
) -> Iterator[Callable[..., Terminal]]:
    """Run docker on a terminal."""
    executable = program("docker")
    environment = {**os.environ, "DOCKER_HOST": address, "HOME": str(home), "TERM": "xterm"}
    opened: list[Terminal] = []

    def run(*arguments: str) -> Terminal:
        opened.append(Terminal([executable, *arguments], environment))
        return opened[-1]

    yield run
    for each in opened:
        each.close()


def test_exec_on_a_terminal(terminal: Callable[..., Terminal], box: str) -> None:
    """Raw mode: a prompt without a line end, an echo, no frame anywhere."""
    shell = terminal("exec", "-it", "-e", "PS1=ready> ", box, "sh")
    shell.until(b"ready> ")
    shell.type(b"test -t 0 && echo on a term$((1))nal\r")
    shell.until(b"on a term1nal\r\n")
    shell.type(b"exit 7\r")
    assert shell.end() == 7
    assert b"\x01\x00\x00\x00\x00" not in shell.seen


def test_an_interrupt_is_an_octet(terminal: Callable[..., Terminal], box: str) -> None:
    """Ctrl-C becomes a signal at the far terminal, not here."""
    script = 'trap "echo caught; exit 9" INT; echo begun; while :; do sleep 0.05; done'
    shell = terminal("exec", "-it", box, "sh", "-c", script)
    shell.until(b"begun")
    shell.type(b"\x03")
    shell.until(b"caught")
    assert shell.end() == 9


def test_the_terminals_size_is_told(terminal: Callable[..., Terminal], box: str) -> None:
    shell = terminal("exec", "-it", box, "sh", "-c", "read wait; stty size")
    shell.type(b"\r")
    shell.until(b"33 111")
    assert shell.end() == 0


def test_run_on_a_terminal_with_every_octet(terminal: Callable[..., Terminal]) -> None:
    """Octets above ASCII and control characters pass as they are (from 255 down: Ctrl-P Ctrl-Q, in
    this order, would detach)."""
    script = (
        "stty raw -echo; echo ready; head -c 256 | od -An -v -tu1 | tr -s '\\r\\n ' ' '; exit 5"
    )
    shell = terminal("run", "--rm", "-it", "any", "sh", "-c", script)
    shell.until(b"ready")
    shell.type(bytes(reversed(range(256))))
    assert shell.end() == 5
    numbers = shell.seen.partition(b"ready")[2].split()
    assert [int(number) for number in numbers] == list(reversed(range(256)))


# docker attach


def test_attach_every_octet_and_the_half_close(docker: Run) -> None:
    name = f"attach{time.monotonic_ns()}"
    script = "cat; echo; echo after the end"
    docker("run", "-d", "-i", "--name", name, "any", "sh", "-c", script)
    data = os.urandom(500_000)
    done = docker("attach", name, input=data)
    docker("rm", "-f", name)
    assert done.stdout == data + b"\nafter the end\n"
    assert done.returncode == 0, done.stderr


def test_attach_to_nobody(docker: Run) -> None:
    done = docker("attach", "nobody")
    assert done.returncode == 1
    assert b"No such container" in done.stderr


# Our client: against our engine, and against podman.


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of podman's service, with a container ``box`` that sleeps."""
    missing = [name for name in ("podman", "runc", "conmon") if shutil.which(name) is None]
    busybox = shutil.which("busybox")
    if missing or busybox is None or os.geteuid() != 0:
        what = ", ".join([*missing, *([] if busybox else ["busybox-static"])])
        pytest.skip(f"no podman service: {what or 'root'} is missing (.ci/apt-packages.txt)")
    folder = tmp_path_factory.mktemp("podman")
    service = PodmanService(folder, busybox)
    try:
        problem = service.start()
        if problem:
            pytest.skip(f"podman runs no containers here: {problem}")
        yield f"unix://{service.socket}"
    finally:
        service.stop()


class PodmanService:
    """podman's Docker-compatible service, everything of it in one folder.

    runc, as crun wants cgroups of version 2; no network; limits that need not be raised.
    """

    def __init__(self, folder: Path, busybox: str) -> None:
        self._folder = folder
        self._busybox = busybox
        self.socket = folder / "podman.sock"
        self._podman = [
            "podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"),
            "--tmpdir", str(folder / "tmp"),
            "--storage-driver", "vfs", "--events-backend", "file",
            "--cgroup-manager", "cgroupfs", "--runtime", "runc",
        ]  # fmt: skip
        self._service: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it; return what is wrong, or nothing."""
        image = self._folder / "image.tar"
        with tarfile.open(image, "w") as archive:
            archive.add(self._busybox, "bin/busybox")
            for name in ("sh", "cat", "sleep", "wc", "head", "stty"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        limits = [
            "--network",
            "none",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ]
        steps = [
            ["import", str(image), "local/busybox"],
            ["run", "-d", "--name", "box", *limits, "local/busybox", "/bin/sleep", "1000"],
        ]
        for step in steps:
            done = subprocess.run(
                [*self._podman, *step], capture_output=True, text=True, timeout=50, check=False
            )
            if done.returncode:
                return done.stderr.strip()[-300:]
        self._service = subprocess.Popen(
            [*self._podman, "system", "service", "-t", "0", f"unix://{self.socket}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            if time.monotonic() > deadline or self._service.poll() is not None:
                return "the service did not open its socket"
            time.sleep(0.05)
        return ""

    def stop(self) -> None:
        """End the containers, the service, and what watches over the containers."""
        clean = [*self._podman, "rm", "-f", "-a", "-t", "0"]
        subprocess.run(clean, capture_output=True, timeout=50, check=False)
        if self._service is not None:
            self._service.terminate()
            self._service.wait(10)
        for entry in Path("/proc").glob("[0-9]*/cmdline"):  # conmon lingers for five minutes
            with suppress(OSError):
                words = entry.read_bytes()
                if words.startswith(b"/usr/bin/conmon\0") and str(self._folder).encode() in words:
                    os.kill(int(entry.parent.name), signal.SIGKILL)


@pytest.fixture(params=["ours", "podman"])
def any_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """An engine's address, with a container ``box``."""
    if request.param == "podman":
        yield request.getfixturevalue("podman")
        return
    address: str = request.getfixturevalue("engine")
    asyncio.run(_make_box(address))
    yield address


async def _make_box(address: str) -> None:
    async with Docker(address) as docker:
        with suppress(SwitchDeclined):  # it is there already
            wanted = {"Image": "any", "Cmd": ["sleep", "1000"]}
            made = await docker.call("POST", "/containers/create", {"name": "box"}, wanted)
            await docker.call("POST", f"/containers/{made['Id']}/start")


@pytest.mark.anyio
class TestOurClient:
    """exec and attach, as :class:`Docker` does them."""

    async def test_exec(self, any_engine: str) -> None:
        """UPG-C-03: JSON first, then the switch."""
        async with Docker(any_engine) as docker:
            command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
            async with await docker.exec("box", command) as execution:
                assert await execution.communicate() == (b"out\n", b"err\n")
                assert await execution.exit_code() == 3

    async def test_every_octet_and_the_half_close(self, any_engine: str) -> None:
        data = os.urandom(1_000_000)
        async with Docker(any_engine) as docker:
            async with await docker.exec("box", ["sh", "-c", "cat; echo after >&2"]) as execution:
                out, err = await execution.communicate(data)
                assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
                assert err == b"after\n"
                assert await execution.exit_code() == 0

    async def test_exec_on_a_terminal(self, any_engine: str) -> None:
        async with Docker(any_engine) as docker:
            script = "stty -echo; echo ready; read line; echo got $line; exit 5"
            async with await docker.exec("box", ["sh", "-c", script], tty=True) as execution:
                said = b""
                while b"ready\r\n" not in said:
                    output = await execution.read()
                    assert output is not None
                    said += output.data
                await execution.send(b"a line\n")
                rest = [output async for output in execution]
                assert b"".join(output.data for output in rest) == b"got a line\r\n"
                assert await execution.exit_code() == 5

    async def test_many_at_once(self, any_engine: str) -> None:
        async def run(docker: Docker, number: int) -> bytes:
            async with await docker.exec("box", ["cat"]) as execution:
                return (await execution.communicate(str(number).encode() * 1000))[0]

        async with Docker(any_engine) as docker:
            answers = await asyncio.gather(*(run(docker, number) for number in range(4)))
        assert answers == [str(number).encode() * 1000 for number in range(4)]

    async def test_refused(self, any_engine: str) -> None:
        """UPG-C-09"""
        async with Docker(any_engine) as docker:
            with pytest.raises(SwitchDeclined, match="404"):
                await docker.exec("nobody", ["true"])

    async def test_attach_before_start(self, any_engine: str) -> None:
        """Nothing is lost of what is said first, nor of what is said after the end of input."""
        limits = [{"Name": name, "Soft": 1024, "Hard": 1024} for name in ("nofile", "nproc")]
        wanted = {
            "Image": "local/busybox",
            "Cmd": ["sh", "-c", "echo first; cat; echo last >&2"],
            "OpenStdin": True,
            "StdinOnce": True,
            "HostConfig": {"NetworkMode": "none", "Ulimits": limits},
        }
        async with Docker(any_engine) as docker:
            made = await docker.call("POST", "/containers/create", content=wanted)
            async with await docker.attach(made["Id"]) as attached:
                await docker.call("POST", f"/containers/{made['Id']}/start")
                assert not attached.tty
                assert await attached.read() == Output(Stream.STDOUT, b"first\n")
                assert await attached.communicate(b"hello") == (b"hello", b"last\n")
