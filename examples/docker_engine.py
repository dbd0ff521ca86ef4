"""A small Docker engine whose containers are processes of this machine.

The real docker command line runs against it::

    python examples/docker_engine.py --port 2375
    DOCKER_HOST=tcp://127.0.0.1:2375 docker run --rm -i any cat

It shows what attach and exec need of a server: a token, ``tcp``; one request that has content
before it switches; and tunnels whose directions end one by one. Isolation is none of its
business: whoever reaches the port runs commands as you. Keep it on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from processes import Process

import switchover
from switchover.asyncio.server import Server
from switchover.containers import Output, Stream, frame

API = "1.50"
RAW, MULTIPLEXED = "raw", "multiplexed"
CANNOT_START = 127


class Refused(Exception):
    """An answer in the engine's form of an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Run:
    """A command and whoever is attached to it: of a container, or executed in one."""

    command: list[str]
    tty: bool = False
    stdin: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    directory: str | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(32))
    process: Process | None = None
    listeners: dict[switchover.Tunnel, set[Stream]] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    exit_code: int = 0
    columns: int = 80
    rows: int = 24

    @property
    def running(self) -> bool:
        return self.started.is_set() and not self.exited.is_set()

    async def start(self) -> asyncio.Task[None]:
        """Start the process; the task that is returned carries its output until it ends."""
        self.exited.clear()
        try:
            self.process = await Process.start(
                self.command,
                tty=self.tty,
                environment=self.environment,
                directory=self.directory,
            )
        except OSError as error:
            self.exit_code = CANNOT_START
            self.exited.set()
            raise Refused(400, f"exec: {error}") from error
        self.process.resize(self.columns, self.rows)
        task = asyncio.create_task(self._carry(self.process))
        self.started.set()
        return task

    async def _carry(self, process: Process) -> None:
        if not self.stdin:
            await process.send_eof()
        async for output in process.output():
            for tunnel, wanted in list(self.listeners.items()):
                await self._tell(tunnel, wanted, output)
        self.exit_code = await process.wait()
        self.exited.set()
        self.started.clear()

    async def _tell(self, tunnel: switchover.Tunnel, wanted: set[Stream], output: Output) -> None:
        if output.stream not in wanted:
            return
        try:
            await tunnel.send(output.data if self.tty else frame(output.stream, output.data))
        except switchover.TunnelError:
            self.listeners.pop(tunnel, None)  # gone; the command runs on

    async def attach(self, tunnel: switchover.Tunnel, wanted: set[Stream]) -> None:
        """Let ``tunnel`` be the command's streams, until its output has ended."""
        self.listeners[tunnel] = wanted
        reader = asyncio.create_task(self._read(tunnel, stdin=Stream.STDIN in wanted))
        try:
            await self.exited.wait()
        finally:
            self.listeners.pop(tunnel, None)
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    async def _read(self, tunnel: switchover.Tunnel, *, stdin: bool) -> None:
        await self.started.wait()
        assert self.process is not None
        with suppress(switchover.TunnelError):
            async for data in tunnel:
                if stdin and self.stdin:
                    await self.process.send(data)
            # The client's half-close: it has no more input, and goes on reading.
            if stdin and self.stdin:
                await self.process.send_eof()

    def resize(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        if self.process is not None and self.running:
            self.process.resize(columns, rows)


@dataclass
class Container(Run):
    """A container: a command with a name."""

    name: str = ""
    image: str = ""
    remove: bool = False

    def described(self) -> dict[str, Any]:
        state = {
            "Status": "running" if self.running else "exited",
            "Running": self.running,
            "Paused": False,
            "Restarting": False,
            "Dead": False,
            "ExitCode": self.exit_code,
            "Pid": self.process.pid if self.process and self.running else 0,
        }
        config = {
            "Tty": self.tty,
            "OpenStdin": self.stdin,
            "StdinOnce": self.stdin,
            "Image": self.image,
            "Cmd": self.command,
        }
        host = {"AutoRemove": self.remove, "LogConfig": {"Type": "none"}}
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Image": self.image,
            "State": state,
            "Config": config,
            "HostConfig": host,
        }


class Engine:
    """The containers, and the API on them."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.executions: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def upgrades(self) -> list[switchover.Upgrade]:
        """Return what the engine switches to: ``tcp``, at two places, with and without version."""
        made = []
        for prefix in ("", "/{version}"):
            for path, handler in (
                ("/containers/{id}/attach", _attached),
                ("/exec/{id}/start", _executed),
            ):
                made.append(self._upgrade(prefix + path, handler))
        return made

    def _upgrade(
        self, path: str, handler: Callable[[Engine, switchover.Tunnel], Awaitable[None]]
    ) -> switchover.Upgrade:
        async def switched(tunnel: switchover.Tunnel) -> None:
            await handler(self, tunnel)

        def accept(
            request: switchover.Request, content: bytes
        ) -> switchover.Fields | switchover.Response:
            try:
                run = self.run_for(request.path)
            except Refused as refused:
                return _error(refused)
            kind = RAW if run.tty else MULTIPLEXED
            return switchover.Fields([("Content-Type", f"application/vnd.docker.{kind}-stream")])

        return switchover.token(
            "tcp",
            switched,
            path=path,
            methods={"POST"},
            # exec's request says in JSON how to start; it is read as HTTP, before the switch.
            content=switchover.ContentRule.READ,
            content_limit=64 * 1024,
            accept=accept,
            extended_connect=False,
        )

    def run_for(self, path: str) -> Run:
        """Return the container, or the execution, that ``path`` names."""
        *_, kind, id, _ = path.split("/")
        if kind == "containers":
            return self.container(id)
        if id in self.executions:
            return self.executions[id]
        raise Refused(404, f"No such exec instance: {id}")

    def container(self, id: str) -> Container:
        for container in self.containers.values():
            if container.name == id or (len(id) >= 4 and container.id.startswith(id)):
                return container
        raise Refused(404, f"No such container: {id}")

    async def start(self, run: Run) -> None:
        """Start ``run``, and remember the task that carries its output."""
        task = await run.start()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def answer(self, exchange: switchover.Exchange) -> None:
        """Answer a request of the API."""
        path = re.sub(r"^/v[0-9.]+(?=/)", "", exchange.request.path)
        try:
            for method, pattern, route in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and method == exchange.request.method:
                    await route(self, exchange, *found.groups())
                    return
            raise Refused(404, f"{exchange.request.method} {path} is not implemented here")
        except Refused as refused:
            await exchange.send_response(_error(refused), end=True)

    def close(self) -> None:
        """Kill what runs."""
        for run in [*self.containers.values(), *self.executions.values()]:
            if run.process is not None and run.running:
                run.process.kill()


# The switches.


async def _attached(engine: Engine, tunnel: switchover.Tunnel) -> None:
    container = engine.run_for(tunnel.request.path)
    query = parse_qs(tunnel.request.query)
    wanted = {s for s in Stream if query.get(s.name.lower(), ["0"])[0] in ("1", "true")}
    await container.attach(tunnel, wanted)


async def _executed(engine: Engine, tunnel: switchover.Tunnel) -> None:
    run = engine.run_for(tunnel.request.path)
    # The tunnel listens before the command can say anything.
    run.listeners[tunnel] = set(Stream)
    try:
        await engine.start(run)
    except Refused as refused:
        text = f"{refused}\r\n".encode()
        await tunnel.send(text if run.tty else frame(Stream.STDERR, text))
        return
    await run.attach(tunnel, set(Stream))


# The API: as much of it as the command line asks for.


async def ping(engine: Engine, exchange: switchover.Exchange) -> None:
    fields = {"Api-Version": API, "Ostype": "linux", "Content-Type": "text/plain"}
    content = b"" if exchange.request.method == "HEAD" else b"OK"
    response = switchover.Response(
        200, switchover.Fields({**fields, "Content-Length": "2"}), content=content
    )
    await exchange.send_response(response, end=True)


async def create(engine: Engine, exchange: switchover.Exchange) -> None:
    wanted = await _content(exchange)
    name = parse_qs(exchange.request.query).get("name", [secrets.token_hex(4)])[0]
    if any(container.name == name for container in engine.containers.values()):
        raise Refused(409, f"The container name {name!r} is already in use")
    command = [*(wanted.get("Entrypoint") or []), *(wanted.get("Cmd") or [])]
    if not command:
        raise Refused(400, "no command specified")
    container = Container(
        command,
        tty=bool(wanted.get("Tty")),
        stdin=bool(wanted.get("OpenStdin")),
        environment=_environment(wanted),
        directory=wanted.get("WorkingDir") or None,
        name=name,
        image=wanted.get("Image", ""),
        remove=bool((wanted.get("HostConfig") or {}).get("AutoRemove")),
    )
    engine.containers[container.id] = container
    await _say(exchange, {"Id": container.id, "Warnings": []}, 201)


async def start(engine: Engine, exchange: switchover.Exchange, id: str) -> None:
    container = engine.container(id)
    if container.running:
        await _say(exchange, None, 304)
        return
    await engine.start(container)
    await _say(exchange, None, 204)


async def inspect(engine: Engine, exchange: switchover.Exchange, id: str) -> None:
    await _say(exchange, engine.container(id).described())


async def wait(engine: Engine, exchange: switchover.Exchange, id: str) -> None:
    """Answer at once that there will be an answer, and with the exit code when there is one."""
    container = engine.container(id)
    await exchange.send_response(
        switchover.Response(200, switchover.Fields({"Content-Type": "application/json"}))
    )
    await container.exited.wait()
    if container.remove:
        engine.containers.pop(container.id, None)
    await exchange.send_content(json.dumps({"StatusCode": container.exit_code}).encode())
    await exchange.send_end()


async def kill(engine: Engine, exchange: switchover.Exchange, id: str) -> None:
    container = engine.container(id)
    if container.process is None or not container.running:
        raise Refused(409, f"container {id} is not running")
    name = parse_qs(exchange.request.query).get("signal", ["KILL"])[0]
    number = int(name) if name.isdecimal() else signal.Signals[f"SIG{name.removeprefix('SIG')}"]
    container.process.kill(number)
    await _say(exchange, None, 204)


async def resize(engine: Engine, exchange: switchover.Exchange) -> None:
    query = parse_qs(exchange.request.query)
    engine.run_for(exchange.request.path).resize(int(query["w"][0]), int(query["h"][0]))
    await _say(exchange, None, 200)


async def remove(engine: Engine, exchange: switchover.Exchange, id: str) -> None:
    container = engine.container(id)
    if container.running and container.process is not None:
        container.process.kill()
        await container.exited.wait()
    engine.containers.pop(container.id, None)
    await _say(exchange, None, 204)


async def prepare(engine: Engine, exchange: switchover.Exchange, id: str) -> None:
    container = engine.container(id)
    if not container.running:
        raise Refused(409, f"container {id} is not running")
    wanted = await _content(exchange)
    run = Run(
        wanted.get("Cmd") or [],
        tty=bool(wanted.get("Tty")),
        stdin=bool(wanted.get("AttachStdin")),
        environment=_environment(wanted),
        directory=wanted.get("WorkingDir") or container.directory,
    )
    engine.executions[run.id] = run
    await _say(exchange, {"Id": run.id}, 201)


async def execute(engine: Engine, exchange: switchover.Exchange, id: str) -> None:
    """Start a command that nobody wants to watch; who does, comes with an offer."""
    if not (await _content(exchange)).get("Detach"):
        raise Refused(400, "offer the switch: Connection: Upgrade, Upgrade: tcp")
    await engine.start(engine.run_for(exchange.request.path))
    await _say(exchange, None, 200)


async def examine(engine: Engine, exchange: switchover.Exchange, id: str) -> None:
    run = engine.run_for(exchange.request.path)
    said = {"ID": id, "Running": run.running, "ExitCode": run.exit_code}
    await _say(exchange, {**said, "Pid": run.process.pid if run.process else 0})


ROUTES: list[tuple[str, str, Callable[..., Awaitable[None]]]] = [
    ("HEAD", r"/_ping", ping),
    ("GET", r"/_ping", ping),
    ("POST", r"/containers/create", create),
    ("POST", r"/containers/([^/]+)/start", start),
    ("GET", r"/containers/([^/]+)/json", inspect),
    ("POST", r"/containers/([^/]+)/wait", wait),
    ("POST", r"/containers/([^/]+)/kill", kill),
    ("POST", r"/containers/[^/]+/resize", resize),
    ("DELETE", r"/containers/([^/]+)", remove),
    ("POST", r"/containers/([^/]+)/exec", prepare),
    ("POST", r"/exec/([^/]+)/start", execute),
    ("POST", r"/exec/[^/]+/resize", resize),
    ("GET", r"/exec/([^/]+)/json", examine),
]


async def _content(exchange: switchover.Exchange) -> dict[str, Any]:
    content = b""
    while piece := await exchange.receive_content():
        content += piece
    try:
        read = json.loads(content or b"{}")
    except ValueError as error:
        raise Refused(400, f"the content is no JSON: {error}") from error
    if not isinstance(read, dict):
        raise Refused(400, "the content is no JSON object")
    return read


async def _say(exchange: switchover.Exchange, said: Any, status: int = 200) -> None:
    content = b"" if said is None else json.dumps(said).encode()
    fields = {"Content-Type": "application/json"}
    if status not in (204, 304):
        fields["Content-Length"] = str(len(content))
    response = switchover.Response(status, switchover.Fields(fields), content=content)
    await exchange.send_response(response, end=True)


def _error(refused: Refused) -> switchover.Response:
    content = json.dumps({"message": str(refused)}).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    return switchover.Response(refused.status, switchover.Fields(fields), content=content)


def _environment(wanted: dict[str, Any]) -> dict[str, str]:
    lines = [line.partition("=") for line in wanted.get("Env") or []]
    return {name: value for name, _, value in lines}


async def serve(port: int, path: str | None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    engine = Engine()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = Server(engine.answer, engine.upgrades())
    await server.start("127.0.0.1", port)
    if path is not None:
        await server.start(path=path)
    print(f"ready {server.port} ", flush=True)
    await stopped.wait()
    engine.close()
    await server.close(1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=2375)
    parser.add_argument("--unix", help="listen on this path, too")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.unix))
