"""Kubernetes' exec over WebSocket: the client, and a server's side of it.

``GET /api/v1/namespaces/NAMESPACE/pods/POD/exec?command=…`` opens a WebSocket with the subprotocol
``v5.channel.k8s.io``, or ``v4.channel.k8s.io``, in which standard input has no end of its own.

SPDY/3.1, which older clients send as an upgrade token, is not spoken: it is no protocol that
anything else has spoken since 2016, and Kubernetes itself is leaving it (KEP-4006). Such a
request is answered 426 with ``Upgrade: websocket``; a client in SPDY is not offered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlencode

from switchover.asyncio.connect import connect
from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.asyncio.websocket_upgrade import websocket
from switchover.containers.channels import (
    SUBPROTOCOLS,
    Channel,
    ChannelClosed,
    ChannelData,
    Resize,
    Status,
    close_message,
    data_message,
    read_message,
    resize_message,
)
from switchover.containers.streams import Output, Stream
from switchover.errors import ConnectionClosed, ConnectionClosedOK, RemoteProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.offers import offered
from switchover.upgrade.paths import PathPattern
from switchover.upgrade.registry import Upgrade
from switchover.websocket.origins import SAME_ORIGIN, OriginPolicy

__all__ = ["EXEC_PATH", "PodExec", "PodStreams", "exec_in_pod", "pod_exec"]

logger = logging.getLogger("switchover.containers")

EXEC_PATH = "/api/v1/namespaces/{namespace}/pods/{pod}/exec"
_PIECE = 32 * 1024  # what a message carries at most; receivers have limits
_OUTPUTS = {Channel.STDOUT: Stream.STDOUT, Channel.STDERR: Stream.STDERR}


class _Channels:
    """One end of the channels on a WebSocket."""

    def __init__(self, ws: WebSocket) -> None:
        #: The connection; its ``subprotocol`` says which version is spoken.
        self.ws = ws

    async def _receive(self) -> ChannelData | ChannelClosed | Resize | None:
        """Return what comes next, ``None`` at a normal end; a faulty message ends it all."""
        try:
            message = await self.ws.recv()
            return read_message(message, protocol=self.ws.subprotocol)
        except ConnectionClosedOK:
            return None
        except RemoteProtocolError as error:
            self.ws.fail(error.close_code, str(error)[:120])
            raise

    async def _send(self, channel: Channel, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            await self.ws.send(data_message(channel, data[start : start + _PIECE]))


class PodExec(_Channels):
    """A command in a pod, seen by the client; made by :func:`exec_in_pod`.

    Iterate over it for :class:`Output` until the command has ended; ``status`` is then what
    became of it.
    """

    def __init__(self, ws: WebSocket) -> None:
        super().__init__(ws)
        self.status: Status | None = None

    async def read(self) -> Output | None:
        """Return the next output, ``None`` at the end.

        Raises :class:`RemoteProtocolError` for a faulty message, and
        :class:`ConnectionClosedError` if the connection is lost.
        """
        while (event := await self._receive()) is not None:
            if not isinstance(event, ChannelData) or not event.data:
                continue
            if event.channel is Channel.STATUS:
                self.status = Status.read(event.data)
            elif event.channel in _OUTPUTS:
                return Output(_OUTPUTS[event.channel], event.data)
        return None

    async def __aiter__(self) -> AsyncIterator[Output]:
        """Iterate over the output, until its end."""
        while (output := await self.read()) is not None:
            yield output

    async def send(self, data: bytes) -> None:
        """Send standard input; waits while the peer does not read."""
        await self._send(Channel.STDIN, data)

    async def send_eof(self) -> None:
        """End standard input. Raises :class:`LocalProtocolError` in v4, which cannot."""
        await self.ws.send(close_message(Channel.STDIN, protocol=self.ws.subprotocol))

    async def resize(self, columns: int, rows: int) -> None:
        """Tell the size of the terminal, in characters."""
        await self.ws.send(resize_message(columns, rows))

    async def close(self) -> None:
        """Close the connection; what becomes of the command is the server's to say."""
        await self.ws.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


async def exec_in_pod(
    server: str,
    pod: str,
    command: Sequence[str],
    *,
    namespace: str = "default",
    container: str | None = None,
    stdin: bool = False,
    tty: bool = False,
    subprotocols: Sequence[str] = SUBPROTOCOLS,
    **options: Any,
) -> PodExec:
    """Run ``command`` in ``pod``; ``server`` is the API server's URL, ``https://host:port``.

    ``options`` are those of :func:`~switchover.connect`: ``fields`` for an Authorization,
    ``route`` for a TLS context. Raises what it raises; a
    :class:`HandshakeRejected` carries the server's own words, such as that there is no such pod::

        async with await exec_in_pod("http://127.0.0.1:8001", "web-1", ["cat"], stdin=True) as cat:
            await cat.send(b"hello")
            await cat.send_eof()
            async for output in cat:
                print(output.stream.name, output.data)
            print(cat.status.exit_code)
    """
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/exec"
    wanted = [("stdin", stdin), ("stdout", True), ("stderr", not tty), ("tty", tty)]
    query = [(name, "true") for name, value in wanted if value]
    query += [("container", container)] if container is not None else []
    query += [("command", argument) for argument in command]
    options.setdefault("extensions", ())
    url = f"{server.rstrip('/')}{path}?{urlencode(query)}"
    ws = await connect(url, subprotocols=subprotocols, **options)
    if ws.subprotocol is None:
        await ws.close()
        raise RemoteProtocolError(f"the server speaks none of {', '.join(subprotocols)}")
    return PodExec(ws)


class PodStreams(_Channels):
    """A command that a client wants, seen by the server: what, and its streams."""

    def __init__(self, ws: WebSocket, parameters: dict[str, str]) -> None:
        super().__init__(ws)
        assert ws.request is not None
        query = parse_qs(ws.request.query, keep_blank_values=True)
        #: The path's ``namespace`` and ``pod``.
        self.namespace = parameters["namespace"]
        self.pod = parameters["pod"]
        self.command = query.get("command", [])
        self.container = query.get("container", [None])[0]
        self.stdin, self.stdout, self.stderr, self.tty = (
            query.get(name, [""])[0].lower() in ("1", "true")
            for name in ("stdin", "stdout", "stderr", "tty")
        )
        self._stdin_ended = False

    async def read(self) -> bytes | Resize | None:
        """Return standard input as it comes, ``b""`` at its end, or a terminal's new size.

        ``None``: the client has gone. In v4 there is no other end than that.
        """
        while True:
            try:
                event = await self._receive()
            except ConnectionClosed:
                return None
            if event is None or isinstance(event, Resize):
                return event
            if event.channel is not Channel.STDIN or self._stdin_ended:
                continue
            if isinstance(event, ChannelClosed):
                self._stdin_ended = True
                return b""
            if event.data:
                return event.data

    async def send(self, output: Output) -> None:
        """Send output; waits while the client does not read."""
        channel = Channel.STDERR if output.stream is Stream.STDERR else Channel.STDOUT
        await self._send(channel, output.data)

    async def end(self, status: Status) -> None:
        """Say what became of the command, and close the connection."""
        await self.ws.send(data_message(Channel.STATUS, status.text()))
        await self.ws.close()


#: Runs a command for a client, and returns its exit code.
PodHandler = Callable[[PodStreams], Awaitable[int]]


def pod_exec(
    handler: PodHandler,
    *,
    path: str = EXEC_PATH,
    accept: Callable[[Request], Response | None] | None = None,
    subprotocols: Sequence[str] = SUBPROTOCOLS,
    origins: OriginPolicy | Iterable[str] = SAME_ORIGIN,
    settings: WebSocketSettings | None = None,
) -> Upgrade:
    """Register ``handler`` for commands in pods; it returns the command's exit code.

    ``path`` has the parameters ``namespace`` and ``pod``. ``accept(request)`` may refuse with
    a response, which the client shows; ``origins`` are web pages that may connect (the server's
    own: some clients that are no browsers name it as theirs).
    When the handler raises, the client learns that the server failed, and not why.
    """
    pattern = PathPattern(path)

    async def run(ws: WebSocket) -> None:
        assert ws.request is not None
        streams = PodStreams(ws, pattern.match(ws.request.path) or {})
        try:
            status = Status(await handler(streams))
        except ConnectionClosed:
            return
        except RemoteProtocolError as error:
            logger.info("%s: %s", streams.pod, error)
            return
        except Exception:
            logger.exception("the command of %s failed", streams.pod)
            status = Status(None, "internal error")
        await streams.end(status)

    def consider(request: Request, content: bytes) -> Response | Fields | None:
        listed = set(request.fields.members("sec-websocket-protocol"))
        if not listed.intersection(subprotocols):
            return _refusal(400, f"the subprotocols spoken here are {', '.join(subprotocols)}")
        return accept(request) if accept is not None else None

    upgrade = websocket(
        run,
        path=path,
        subprotocols=subprotocols,
        origins=origins,
        extensions=(),
        accept=consider,
        settings=settings,
    )
    return replace(upgrade, misfit=_Misfit(upgrade.misfit))


_SPDY_WORDS = (
    "SPDY/3.1 is not spoken here, commands are executed over WebSocket (v5.channel.k8s.io,"
    " v4.channel.k8s.io), as kubectl does from 1.31 on unless"
    " KUBECTL_REMOTE_COMMAND_WEBSOCKETS is false"
)


class _Misfit:
    """Answers who comes without a WebSocket, and those with SPDY in words of their own."""

    def __init__(self, otherwise: Callable[[Request, str], Response | None] | None) -> None:
        self._otherwise = otherwise

    def __call__(self, request: Request, reason: str) -> Response | None:
        offer = offered(request)
        if offer is not None and any(token.name.lower() == "spdy" for token in offer.tokens):
            # RFC 9110 §15.5.22: "the server refuses to perform the request using the current
            # protocol but might be willing to do so after the client upgrades to a different
            # protocol". SPDY comes by POST; the switch to WebSocket is a GET.
            return _refusal(426, _SPDY_WORDS, ("Upgrade", "websocket"), ("Connection", "Upgrade"))
        return self._otherwise(request, reason) if self._otherwise is not None else None


def _refusal(status: int, words: str, *fields: tuple[str, str]) -> Response:
    """Return a response in the form of Kubernetes' own, the only one whose words kubectl shows."""
    said = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": words,
        "code": status,
    }
    content = json.dumps(said).encode()
    framing = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    return Response(status, Fields([*fields, *framing]), content=content)
