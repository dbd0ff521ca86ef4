"""``switchover serve``: an ASGI application, or the demonstration server."""

from __future__ import annotations

import importlib
import logging
import os
import ssl
import sys
from typing import Any

import click

from switchover.asgi.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.tls import server_context
from switchover.cli.certificate import make_certificate
from switchover.cli.demonstration import ECHO_LIMIT, Demonstration, echo, shout
from switchover.cli.running import fail, run, stop_signal

__all__ = ["demonstration_server", "serve"]


@click.command()
@click.argument("application", required=False)
@click.option(
    "--bind",
    default="127.0.0.1:8101",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes a free one and prints it.",
)
@click.option("--unix", metavar="PATH", help="Listen on a Unix socket instead.")
@click.option(
    "--tls-bind",
    metavar="HOST:PORT",
    help="Listen for TLS from the first octet too (switches the TLS upgrade off).",
)
@click.option(
    "--tls-upgrade",
    is_flag=True,
    help="Let clients switch from cleartext to TLS (RFC 2817); the demonstration always does.",
)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="PEM file with the certificate (and its chain); without it one is made at start.",
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="PEM file with the private key, if that is not in the certificate's.",
)
@click.option(
    "--app-dir", default=".", show_default=True, metavar="DIR", help="Where to import from."
)
@click.option("--factory", is_flag=True, help="APPLICATION is a function that returns one.")
@click.option(
    "--root-path",
    default="",
    metavar="PATH",
    help="Where a proxy mounts the application (ASGI root_path).",
)
@click.option(
    "--lifespan",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Whether the application is told of startup and shutdown.",
)
@click.option(
    "--proxy-headers",
    "trusted",
    metavar="HOSTS",
    default=None,
    help="Take the client's address from proxies at HOSTS (comma-separated).",
)
@click.option(
    "--http2",
    is_flag=True,
    help="Take HTTP/2 by prior knowledge, too (the demonstration always does).",
)
@click.option("--access-log/--no-access-log", default=False, help="Log each exchange.")
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    help="What goes to standard error.",
    type=click.Choice(["debug", "info", "warning", "error"]),
)
@click.option(
    "--shutdown-timeout",
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="After SIGINT or SIGTERM, how long to wait for what is under way.",
)
def serve(application: str | None, log_level: str, **options: Any) -> None:
    """Serve the ASGI APPLICATION (module:name), or the demonstration server without one.

    Says where it listens, on standard output, once it does. SIGINT and SIGTERM end it in
    order: answers are finished, WebSockets and tunnels are closed in their own way.
    """
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    app = _load(application, options) if application else None
    run(_serve(app, options))


def _load(application: str, options: dict[str, Any]) -> Any:
    sys.path.insert(0, options["app_dir"])
    module_name, _, name = application.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        fail(f"cannot import {module_name!r}: {error}")
    found: Any = module
    for part in (name or "app").split("."):
        found = getattr(found, part, None)
        if found is None:
            fail(f"module {module_name!r} has no {name or 'app'!r}")
    return found() if options["factory"] else found


async def _serve(app: Any, options: dict[str, Any]) -> int:
    tls_from_start = options["tls_bind"] is not None
    if tls_from_start and options["tls_upgrade"]:
        fail("--tls-upgrade beside --tls-bind would be open to CVE-2025-49812", 2)
    needed = tls_from_start or options["tls_upgrade"] or app is None
    context = _tls_context(options, needed=needed)
    if context is None and (tls_from_start or options["tls_upgrade"]):
        fail("TLS needs --certificate, or the 'cryptography' package to make one")
    settings = ServerSettings(
        timeouts=Timeouts(shutdown=options["shutdown_timeout"]),
        access_log=options["access_log"],
        http2_prior_knowledge=app is None or options["http2"],
    )
    if app is None:
        server = demonstration_server(context, settings, tls_from_start=tls_from_start)
    else:
        server = _application_server(app, context, settings, options)
    stopped = stop_signal()  # before the first line: whoever reads it may send a signal
    async with server:
        await _listen(server, context if tls_from_start else None, options)
        await stopped.wait()
        click.echo("Closing …", err=True)
    return 0


def demonstration_server(
    context: ssl.SSLContext | None = None,
    settings: ServerSettings | None = None,
    *,
    tls_from_start: bool = False,
) -> Any:
    """Return the demonstration server, not started yet.

    ``context`` is for TLS: by upgrade, or with ``tls_from_start`` for a listener of its own.
    """
    from switchover.asyncio.http2_upgrade import h2c
    from switchover.asyncio.server import Server as PlainServer
    from switchover.asyncio.tls_upgrade import tls
    from switchover.asyncio.upgrades import token
    from switchover.asyncio.websocket_upgrade import websocket

    demonstration = Demonstration()
    upgrades: list[Any] = [
        websocket(
            echo, path="/echo", subprotocols=["echo.v1", "echo.v2"], max_message_size=ECHO_LIMIT
        ),
        token("shout/1", shout, path="/shout"),
        h2c(),
    ]
    if context is not None and not tls_from_start:
        upgrades.append(tls(context, required=["/secure"]))
    settings = settings or ServerSettings(http2_prior_knowledge=True)
    return PlainServer(demonstration, upgrades, settings=settings, observer=demonstration.observe)


def _application_server(
    app: Any, context: ssl.SSLContext | None, settings: ServerSettings, options: dict[str, Any]
) -> Any:
    from switchover.asyncio.tls_upgrade import tls

    return Server(
        app,
        tls(context) if context is not None and options["tls_upgrade"] else (),
        settings=settings,
        root_path=options["root_path"],
        lifespan=options["lifespan"],
        proxy_headers=options["trusted"].split(",") if options["trusted"] else None,
    )


def _tls_context(options: dict[str, Any], *, needed: bool) -> ssl.SSLContext | None:
    if options["certificate"]:
        context = server_context()
        try:
            context.load_cert_chain(options["certificate"], options["key"])
        except (OSError, ssl.SSLError) as error:
            fail(f"cannot use the certificate: {error}")
        return context
    return make_certificate() if needed else None


async def _listen(server: Any, tls: ssl.SSLContext | None, options: dict[str, Any]) -> None:
    if options["unix"]:
        await server.start(path=options["unix"])
        click.echo(f"Listening on unix:{options['unix']}")
    else:
        await server.start(*_address(options["bind"]))
        host, port = server.addresses[-1][:2]
        click.echo(f"Listening on http://{_host(host)}:{port}/ (process {os.getpid()})")
    if tls is not None:
        tls.set_alpn_protocols(["h2", "http/1.1"])
        await server.start(*_address(options["tls_bind"]), ssl=tls)
        host, port = server.addresses[-1][:2]
        click.echo(f"Listening on https://{_host(host)}:{port}/")
    sys.stdout.flush()


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        fail(f"not an address of the form HOST:PORT: {text!r}", 2)
    return host.strip("[]") or "127.0.0.1", int(port)


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
