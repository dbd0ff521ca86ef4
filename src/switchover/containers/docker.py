"""A client of a Docker engine, as far as its switches go: attach and exec.

Both are a POST that offers ``Upgrade: tcp`` (Docker Engine API, "ContainerAttach", "ExecStart").
The engine answers ``101 UPGRADED``, and the connection becomes the container's: what the client
sends is standard input, and its end of data ends standard input, while output goes on. Podman's
Docker-compatible service is spoken to in the same way.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self
from urllib.parse import quote, urlencode

from switchover.asyncio.client import Client
from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.dialing import Route
from switchover.asyncio.tunnel import Tunnel
from switchover.containers.streams import Demultiplexer, Output, Stream
from switchover.errors import (
    DeadlineExceeded,
    LocalProtocolError,
    RemoteProtocolError,
    SwitchDeclined,
    TunnelError,
)

__all__ = ["Attached", "Docker", "Execution"]

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_ANSWER_LIMIT = 1024 * 1024
_REFUSAL_SECONDS = 2.0


class Attached:
    """The streams of a container, or of a command in it.

    Iterate over it for :class:`Output` as it comes; the iteration ends when the container's
    output does. With ``tty`` there is a terminal, and all output is one stream. :meth:`send` is
    standard input, and :meth:`send_eof` its end; output goes on after it.
    """

    def __init__(self, docker: Docker, tunnel: Tunnel, path: str, *, tty: bool) -> None:
        self.tunnel = tunnel
        self.tty = tty
        self._docker = docker
        self._path = path
        self._demultiplexer = Demultiplexer()
        self._ready: deque[Output] = deque()

    async def read(self) -> Output | None:
        """Return the next output, ``None`` at its end.

        Raises :class:`RemoteProtocolError` for what is no frame or ends inside one, and
        :class:`TunnelBroken` if the connection is lost.
        """
        while not self._ready:
            data = await self.tunnel.read()
            if self.tty and data:
                return Output(Stream.STDOUT, data)
            if not data:
                self._demultiplexer.receive_eof()
                return None
            self._demultiplexer.receive_data(data)
            self._ready.extend(self._demultiplexer.events_received())
        return self._ready.popleft()

    async def __aiter__(self) -> AsyncIterator[Output]:
        """Iterate over the output, until its end."""
        while (output := await self.read()) is not None:
            yield output

    async def send(self, data: bytes) -> None:
        """Send standard input; waits while the engine does not read."""
        await self.tunnel.send(data)

    async def send_eof(self) -> None:
        """End standard input: the tunnel's half-close."""
        await self.tunnel.send_eof()

    async def communicate(self, data: bytes = b"") -> tuple[bytes, bytes]:
        """Send ``data`` and its end, and return all of standard output and standard error.

        A command that ends without having read it all is no error. Raises what :meth:`read`
        raises, and :class:`RemoteProtocolError` with the text of an error of the engine.
        """
        sender = asyncio.create_task(self._send_all(data))
        pieces: dict[Stream, list[bytes]] = {stream: [] for stream in Stream}
        try:
            async for output in self:
                pieces[output.stream].append(output.data)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        if pieces[Stream.SYSTEM]:
            text = b"".join(pieces[Stream.SYSTEM]).decode("utf-8", "replace")
            raise RemoteProtocolError(f"the engine reports: {text}")
        return b"".join(pieces[Stream.STDOUT]), b"".join(pieces[Stream.STDERR])

    async def _send_all(self, data: bytes) -> None:
        with suppress(TunnelError):
            await self.send(data)
            await self.send_eof()

    async def resize(self, columns: int, rows: int) -> None:
        """Tell the size of the terminal, in characters."""
        await self._docker.call("POST", f"{self._path}/resize", {"w": columns, "h": rows})

    async def close(self) -> None:
        """Close the connection; the container runs on, a command that was executed may too."""
        await self.tunnel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if exc_type is None:
            await self.close()
        else:
            self.tunnel.abort()


class Execution(Attached):
    """A command that was started in a running container; ``id`` is the engine's name for it."""

    def __init__(self, docker: Docker, tunnel: Tunnel, id: str, *, tty: bool) -> None:
        super().__init__(docker, tunnel, f"/exec/{id}", tty=tty)
        self.id = id

    async def exit_code(self, timeout: float = 10.0) -> int:
        """Return the command's exit code, once the output has ended.

        An engine may close the connection a moment before it takes note of the exit; it is asked
        again for ``timeout`` seconds. Raises :class:`DeadlineExceeded` if the command runs on.
        """
        pause = 0.01
        try:
            async with asyncio.timeout(timeout):
                while (state := await self._docker.call("GET", f"{self._path}/json"))["Running"]:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 0.5)
        except TimeoutError as error:
            raise DeadlineExceeded("waiting for the command's end", timeout) from error
        return int(state["ExitCode"])


class Docker:
    """A Docker engine.

    ``address`` is written as in ``DOCKER_HOST``: ``unix:///var/run/docker.sock``,
    ``tcp://host:port``, or an ``http`` or ``https`` URL. ``version``, such as ``"v1.41"``, goes
    before every path; without it the engine speaks its own. ``options`` are those of
    :class:`~switchover.Client`. Every method raises :class:`SwitchDeclined`, with the engine's
    words and its response, when the engine refuses; :class:`OSError` when it is not there::

        async with Docker() as docker:
            async with await docker.exec("box", ["ls", "-l"]) as execution:
                out, err = await execution.communicate()
                print(out.decode(), await execution.exit_code())
    """

    def __init__(
        self, address: str | None = None, *, version: str = "", route: Route | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        base, path = _base(address or os.environ.get("DOCKER_HOST") or DEFAULT_ADDRESS)
        if path is not None:
            route = Route(path=path)
        self._base = f"{base}/{version}" if version else base
        self._client = Client(route=route, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that carry no container's streams."""
        await self._client.close()

    async def attach(
        self,
        container: str,
        *,
        stdin: bool = True,
        stdout: bool = True,
        stderr: bool = True,
        logs: bool = False,
    ) -> Attached:
        """Attach to the streams of ``container``, running or not yet started.

        With ``logs``, what it has said before comes first.
        """
        path = f"/containers/{quote(container, safe='')}"
        tty = bool((await self.call("GET", f"{path}/json"))["Config"]["Tty"])
        wanted = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "logs": logs}
        query = {"stream": 1, **{name: 1 for name, value in wanted.items() if value}}
        tunnel = await self._switch(f"{path}/attach?{urlencode(query)}")
        return Attached(self, tunnel, path, tty=tty)

    async def exec(
        self,
        container: str,
        command: Sequence[str],
        *,
        stdin: bool = True,
        tty: bool = False,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        directory: str = "",
    ) -> Execution:
        """Start ``command`` in ``container``, which is running, and attach to it."""
        if isinstance(command, str):
            raise LocalProtocolError("a command is a list: its name and its arguments")
        wanted = {
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "Cmd": list(command),
            "Env": [f"{name}={value}" for name, value in (environment or {}).items()],
            "User": user,
            "WorkingDir": directory,
        }
        path = f"/containers/{quote(container, safe='')}/exec"
        id = str((await self.call("POST", path, content=wanted))["Id"])
        start = {"Detach": False, "Tty": tty}
        return Execution(self, await self._switch(f"/exec/{id}/start", start), id, tty=tty)

    async def call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, content: Any = None
    ) -> Any:
        """Call the engine's API with JSON ``content``; return what it says, read from JSON."""
        suffix = f"?{urlencode(query)}" if query else ""
        answer = await self._client.request(
            method, f"{self._base}{path}{suffix}", **_json(content, method)
        )
        if answer.status >= 300:
            raise _refused(answer, answer.content)
        return json.loads(answer.content) if answer.content.strip() else None

    async def _switch(self, path: str, content: Any = None) -> Tunnel:
        answer = await self._client.stream(
            "POST", f"{self._base}{path}", offer=["tcp"], **_json(content, "POST")
        )
        if answer.tunnel is None:
            raise _refused(answer, await _words(answer))
        self._client.pool.release(answer.tunnel)  # it is the caller's to end
        return answer.tunnel


def _base(address: str) -> tuple[str, str | None]:
    """Return the URL of an engine's address, and its Unix socket if it has one."""
    scheme, _, rest = address.partition("://")
    if scheme == "unix" and rest:
        return "http://localhost", rest
    if scheme == "tcp" and rest:
        return f"http://{rest.rstrip('/')}", None
    if scheme in ("http", "https") and rest:
        return address.rstrip("/"), None
    raise LocalProtocolError(f"not the address of an engine: {address!r}")


def _json(content: Any, method: str) -> dict[str, Any]:
    if content is None:
        return {"content": b""} if method == "POST" else {}
    fields = {"Content-Type": "application/json"}
    return {"content": json.dumps(content).encode(), "fields": fields}


async def _words(answer: ClientResponse) -> bytes:
    """Read a refusal; an engine that took the connection over without a 101 never ends it."""
    try:
        async with asyncio.timeout(_REFUSAL_SECONDS):
            return await answer.read(_ANSWER_LIMIT)
    except TimeoutError:
        return b"output without a switch, as engines sent it before Upgrade: tcp"


def _refused(answer: ClientResponse, content: bytes) -> SwitchDeclined:
    words = content.decode("utf-8", "replace").strip()
    with suppress(ValueError, TypeError, KeyError):
        words = json.loads(content)["message"]
    answer.response.content = content
    return SwitchDeclined(
        f"the engine answered {answer.status}: {words}",
        request=answer.request,
        response=answer.response,
    )
