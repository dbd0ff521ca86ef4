"""``switchover connect``: talk to anything that switches, by hand or through pipes."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any

import click

from switchover.asyncio.client import Client
from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.connect import connect as open_websocket
from switchover.asyncio.dialing import Route, default_context
from switchover.asyncio.offers import ClientUpgrade
from switchover.asyncio.tls import client_context
from switchover.asyncio.tls_upgrade import TLSUpgrade
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.websocket import WebSocket
from switchover.cli.running import fail, run
from switchover.cli.terminal import StandardInput, show_exchange, write
from switchover.errors import ConnectionClosed, HandshakeRejected, SwitchError, TunnelError
from switchover.http.fields import Fields

__all__ = ["connect"]

#: Exit codes beside 0 and click's 2 for wrong usage.
FAILED, DECLINED = 1, 3


@click.command()
@click.argument("url")
@click.option(
    "--offer",
    "-o",
    multiple=True,
    metavar="TOKEN",
    help="Offer this protocol instead of a WebSocket; may be repeated, the preferred one first.",
)
@click.option("--header", "-H", multiple=True, metavar="'NAME: VALUE'", help="Add a field.")
@click.option("--method", "-X", default=None, help="The method of the request (default GET).")
@click.option("--data", "-d", default=None, help="Content of the request.")
@click.option("--subprotocol", "-s", multiple=True, help="Offer a WebSocket subprotocol.")
@click.option("--origin", default=None, help="Send this Origin with a WebSocket.")
@click.option("--binary", is_flag=True, help="Send binary WebSocket messages.")
@click.option("--unix", metavar="PATH", default=None, help="Connect to a Unix socket.")
@click.option(
    "--ca",
    type=click.Path(exists=True),
    default=None,
    help="Trust the certificates in this PEM file.",
)
@click.option("--insecure", "-k", is_flag=True, help="Accept any certificate. Dangerous.")
@click.option(
    "--timeout",
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="For everything until the switch.",
)
@click.option(
    "--linger",
    default=0.25,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for WebSocket messages after the end of the input.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the messages of the switch.")
def connect(url: str, offer: tuple[str, ...], **options: Any) -> None:
    """Connect to URL and switch: to a WebSocket (ws, wss), or to what --offer names.

    A WebSocket sends each line of the input as a message and prints each message on a line.
    Any other protocol gets the input octet for octet; the end of the input ends our side, and
    what the server still sends is printed. Exits with 3 if the server declined.
    """
    if not offer and url.lower().startswith("http"):
        fail("name what to switch to with --offer, or give a ws:// or wss:// URL", 2)
    run(_switch(url, offer, options) if offer else _websocket(url, options))


def _fields(lines: tuple[str, ...]) -> Fields:
    fields = Fields()
    for line in lines:
        name, separator, value = line.partition(":")
        if not separator:
            fail(f"a header is written 'NAME: VALUE': {line!r}", 2)
        fields.add(name.strip(), value.strip())
    return fields


def _context(options: dict[str, Any]) -> ssl.SSLContext:
    if not options["insecure"] and options["ca"] is None:
        return default_context()
    context = client_context(options["ca"])
    if options["insecure"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _route(options: dict[str, Any]) -> Route:
    return Route(path=options["unix"], ssl=_context(options))


# WebSocket.


async def _websocket(url: str, options: dict[str, Any]) -> int:
    try:
        ws = await open_websocket(
            url,
            subprotocols=options["subprotocol"],
            origin=options["origin"],
            fields=_fields(options["header"]),
            route=_route(options),
            open_timeout=options["timeout"],
        )
    except HandshakeRejected as error:
        return _explain(error, options)
    if options["verbose"] and ws.request is not None:
        show_exchange(ws.request, ws.response, ("HTTP/1.1", "websocket"))
    if sys.stdin.isatty():
        click.echo("Connected. A line is a message; Ctrl-D closes.", err=True)
    return await _talk(ws, binary=options["binary"], linger=options["linger"])


async def _talk(ws: WebSocket, *, binary: bool, linger: float) -> int:
    stdin = StandardInput(lines=True)
    stdin.start()
    typing = asyncio.ensure_future(_send_lines(ws, stdin, binary=binary, linger=linger))
    try:
        while True:
            message = await ws.recv()
            data = message.encode() if isinstance(message, str) else message
            write(data + b"\n")
    except ConnectionClosed as closed:
        if sys.stdin.isatty() or closed.code not in (1000, 1001, 1005):
            reason = f": {closed.reason}" if closed.reason else ""
            click.echo(f"Closed with {closed.code}{reason}", err=True)
        return 0 if closed.code in (1000, 1001, 1005) else FAILED
    finally:
        typing.cancel()


async def _send_lines(ws: WebSocket, stdin: StandardInput, *, binary: bool, linger: float) -> None:
    while line := await stdin.read():
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        await ws.send(text if binary else text.decode("utf-8", "replace"))
    # The server is asked for a sign of life behind the last message, and given a moment for
    # what it still has to say: whoever gets a Close frame answers with one at once.
    await ws.ping()
    await asyncio.sleep(linger)
    ws.close_nowait(1000)


# Any other protocol.


async def _switch(url: str, offer: tuple[str, ...], options: dict[str, Any]) -> int:
    client = Client(route=_route(options), timeout=options["timeout"])
    try:
        answer = await client.request(
            options["method"] or ("GET" if options["data"] is None else "POST"),
            url,
            fields=_fields(options["header"]),
            content=options["data"],
            offer=[_upgrade(token, options) for token in offer],
        )
        facts = answer.facts
        if options["verbose"]:
            chain = facts.chain if facts is not None and answer.tunnel is not None else ()
            show_exchange(answer.request, answer.switching or answer.response, chain)
        if answer.tunnel is not None:
            return await _pipe(answer.tunnel)
        return await _show_answer(answer, options)
    finally:
        await client.close()


def _upgrade(token: str, options: dict[str, Any]) -> str | ClientUpgrade:
    if token.lower().startswith("tls/"):
        return TLSUpgrade(_context(options), tokens=[token])
    return token


async def _show_answer(answer: ClientResponse, options: dict[str, Any]) -> int:
    facts = answer.facts
    if answer.protocol is not None and facts is not None:
        click.echo(f"* {' → '.join(facts.chain)}", err=True)
        if facts.tls is not None:
            _show_tls(dict(facts.tls))
        write(await answer.read())
        return 0
    wanted = answer.fields.get("upgrade")
    hint = f" It wants: {wanted}." if answer.status == 426 and wanted else ""
    click.echo(f"switchover: the server declined: {answer.status} {answer.reason}.{hint}", err=True)
    write(await answer.read())
    return DECLINED


def _show_tls(tls: dict[str, Any]) -> None:
    click.echo(f"* {tls['version']}, {tls['cipher']}, ALPN {tls['alpn'] or 'none'}", err=True)
    certificate = tls["peer_certificate"]
    if certificate:
        subject = ", ".join("=".join(pair) for part in certificate["subject"] for pair in part)
        click.echo(f"* certificate: {subject}; valid until {certificate['notAfter']}", err=True)
    else:
        click.echo("* certificate: not verified", err=True)


async def _pipe(tunnel: Tunnel) -> int:
    stdin = StandardInput(lines=False)
    stdin.start()
    sending = asyncio.ensure_future(_send_octets(tunnel, stdin))
    try:
        async for data in tunnel:
            write(data)
    except TunnelError as error:
        fail(str(error))
    finally:
        sending.cancel()
    return 0


async def _send_octets(tunnel: Tunnel, stdin: StandardInput) -> None:
    while data := await stdin.read():
        await tunnel.send(data)
    await tunnel.send_eof()


def _explain(error: SwitchError, options: dict[str, Any]) -> int:
    if options["verbose"] and error.request is not None:
        show_exchange(error.request, error.response)
    click.echo(f"switchover: {error}", err=True)
    if error.response is not None and error.response.content:
        click.echo(error.response.content.decode("utf-8", "replace").rstrip(), err=True)
    return DECLINED
