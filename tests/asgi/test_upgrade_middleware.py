"""``http.upgrade`` under the middleware of Starlette, and through its routes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi import Request as FastAPIRequest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from switchover.asgi.starlette import (
    ConnectRoute,
    UpgradedConnection,
    UpgradeResponse,
    UpgradeRoute,
    offered_protocols,
)
from switchover.errors import Disconnected

pytestmark = pytest.mark.anyio

ORIGIN = b"Origin: https://page.example\r\n"


def request(*fields: bytes, line: bytes = b"GET /irc HTTP/1.1", offer: bytes = b"irc/6.9") -> bytes:
    lines = [
        line,
        b"Host: example.com",
        b"Accept-Encoding: gzip",
        b"Connection: upgrade",
        b"Upgrade: " + offer,
    ]
    return b"\r\n".join([*lines, *(field.strip() for field in fields)]) + b"\r\n\r\n"


async def shout(request: Request, connection: UpgradedConnection) -> None:
    """Send back in upper case what comes; end our data when the peer has ended its own."""
    async for data in connection:
        await connection.send(data.upper())
    await connection.send_eof()


class Stamp(BaseHTTPMiddleware):
    """What people write: a field in each response."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-stamp"] = "1"
        return response


class Login(BaseHTTPMiddleware):
    """Refuses who has no token."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        if "authorization" not in request.headers:
            return PlainTextResponse("Who are you?", 401)
        response: Response = await call_next(request)
        return response


class Visit(BaseHTTPMiddleware):
    """Writes to the session, so that there is a cookie to set."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        request.session["visits"] = 1
        response: Response = await call_next(request)
        return response


CORS = Middleware(CORSMiddleware, allow_origins=["https://page.example"], allow_credentials=True)
SESSION = Middleware(SessionMiddleware, secret_key="x")
MIDDLEWARE = {
    "none": ([], b"upgrade: irc/6.9"),
    "gzip": ([Middleware(GZipMiddleware, minimum_size=0)], b"upgrade: irc/6.9"),
    "cors": ([CORS], b"access-control-allow-origin: https://page.example"),
    "session": ([SESSION, Middleware(Visit)], b"set-cookie: session="),
    "base": ([Middleware(Stamp)], b"x-stamp: 1"),
    "base-twice": ([Middleware(Stamp), Middleware(Stamp)], b"x-stamp: 1"),
    "host": ([Middleware(TrustedHostMiddleware, allowed_hosts=["example.com"])], b"upgrade"),
    "all": (
        [Middleware(GZipMiddleware, minimum_size=0), CORS, SESSION, Middleware(Stamp)],
        b"x-stamp: 1",
    ),
}  # fmt: skip


def starlette_app(middleware: list[Middleware]) -> Starlette:
    return Starlette(
        routes=[UpgradeRoute("/irc", shout, protocols=["irc/6.9", "irc"])], middleware=middleware
    )


def fastapi_app(middleware: list[Middleware]) -> FastAPI:
    app = FastAPI(middleware=middleware)

    def offered(request: FastAPIRequest) -> list[str]:
        return offered_protocols(request)

    @app.get("/irc")
    async def irc(protocols: list[str] = Depends(offered)) -> Any:  # noqa: B008  # FastAPI's way
        return UpgradeResponse(shout, protocols[0])

    return app


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
@pytest.mark.parametrize("name", MIDDLEWARE)
async def test_switch_under_middleware(serve: Any, connect: Any, make: Any, name: str) -> None:
    """UPG-S-18: the 101 bears what middleware adds, and the octets pass unharmed (pain 16)."""
    middleware, expected = MIDDLEWARE[name]
    client = await connect(await serve(make(middleware)))
    client.write(request(ORIGIN) + b"glued ")
    head = (await client.head()).lower()
    assert head.startswith(b"http/1.1 101 ")
    assert expected in head
    assert b"content-encoding" not in head
    assert await client.exactly(6) == b"GLUED "
    big = b"x" * 300_000
    client.write(big)
    assert await client.exactly(len(big)) == big.upper()
    client.write_eof()
    assert await client.rest() == b""


@pytest.mark.parametrize("name", MIDDLEWARE)
async def test_fault_after_the_switch_sends_nothing(
    serve: Any, connect: Any, name: str, caplog: Any
) -> None:
    """No 500 of a middleware may end up inside the new protocol."""

    async def fail(request: Request, connection: UpgradedConnection) -> None:
        await connection.receive()
        raise ValueError("the secret")

    middleware, _ = MIDDLEWARE[name]
    app = Starlette(
        routes=[UpgradeRoute("/irc", fail, protocols=["irc/6.9"])], middleware=middleware
    )
    client = await connect(await serve(app))
    client.write(request(ORIGIN))
    await client.head()
    with caplog.at_level(logging.ERROR):
        client.write(b"x")
        try:
            rest = await client.rest()
        except ConnectionResetError:
            rest = b""
    assert rest == b""
    assert "the secret" in caplog.text


async def test_middleware_can_refuse(serve: Any, connect: Any) -> None:
    """UPG-S-21, RFC 9110 §7.8: authentication comes before the switch."""
    client = await connect(await serve(starlette_app([Middleware(Login)])))
    client.write(request())
    head, content = await client.response()
    assert head.startswith(b"HTTP/1.1 401 ")
    assert content == b"Who are you?"
    client.write(request(b"Authorization: Bearer x"))
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")


async def test_route_selects_by_its_own_order(serve: Any, connect: Any) -> None:
    client = await connect(await serve(starlette_app([])))
    client.write(request(offer=b"IRC, other, irc/6.9"))
    assert b"upgrade: irc/6.9\r\n" in (await client.head()).lower()


async def test_route_answers_426_with_its_list(serve: Any, connect: Any) -> None:
    """UPG-S-15, RFC 9110 §15.5.22."""
    client = await connect(await serve(starlette_app([])))
    client.write(request(offer=b"other/1"))
    head, content = await client.response()
    assert head.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nupgrade: irc/6.9, irc\r\n" in head.lower()
    assert b"\r\nconnection: upgrade\r\n" in head.lower()
    assert b"irc/6.9" in content


async def test_route_can_serve_those_who_offer_nothing(serve: Any, connect: Any) -> None:
    async def page(request: Request) -> Response:
        return PlainTextResponse(f"{await request.body()!r}")

    route = UpgradeRoute("/irc", shout, protocols=["irc/6.9"], otherwise=page)
    client = await connect(await serve(Starlette(routes=[route])))
    client.write(request(b"Content-Length: 2", line=b"POST /irc HTTP/1.1", offer=b"h2c") + b"hi")
    assert (await client.response())[1] == b"b'hi'"


async def test_plain_response_with_a_background_task_is_enough(serve: Any, connect: Any) -> None:
    """The specification needs no adapter: an ordinary 101, and the callables of the scope."""

    async def endpoint(request: Request) -> Response:
        upgrade = request.scope["extensions"]["http.upgrade"]

        async def talk() -> None:
            message = await upgrade["receive"]()
            await upgrade["send"]({"type": "http.upgrade.send", "data": message["data"][::-1]})

        headers = {"upgrade": upgrade["protocols"][0]}
        return Response(status_code=101, headers=headers, background=BackgroundTask(talk))

    app = Starlette(routes=[Route("/irc", endpoint)], middleware=[Middleware(Stamp)])
    client = await connect(await serve(app))
    client.write(request() + b"abc")
    await client.head()
    assert await client.rest() == b"cba"


async def test_response_without_an_offer_explains_itself(
    serve: Any, connect: Any, caplog: Any
) -> None:
    """Pain 16: the error says that the server or a middleware withholds the extension."""

    async def endpoint(request: Request) -> Response:
        return UpgradeResponse(shout, "irc/6.9")

    client = await connect(await serve(Starlette(routes=[Route("/", endpoint)])))
    client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 500 ")
    assert "or a middleware that builds its own scope" in caplog.text


async def test_connect_route(serve: Any, connect: Any) -> None:
    app = Starlette(routes=[ConnectRoute(shout, allowed=lambda target: target == "in:443")])
    server = await serve(app, connect="app")
    client = await connect(server)
    client.write(b"CONNECT in:443 HTTP/1.1\r\nHost: in:443\r\n\r\nabc")
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert await client.exactly(3) == b"ABC"
    other = await connect(server)
    other.write(b"CONNECT out:443 HTTP/1.1\r\nHost: out:443\r\n\r\n")
    assert (await other.response())[0].startswith(b"HTTP/1.1 403 ")


async def test_lost_connection_raises_in_the_handler(serve: Any, connect: Any) -> None:
    seen: list[BaseException] = []
    done = asyncio.Event()

    async def handler(request: Request, connection: UpgradedConnection) -> None:
        for call in (connection.receive(), connection.send(b"x")):
            try:
                await call
            except Disconnected as error:
                seen.append(error)
        done.set()

    route = UpgradeRoute("/irc", handler, protocols=["irc/6.9"])
    client = await connect(await serve(Starlette(routes=[route])))
    client.write(request())
    await client.head()
    client.reset()
    await asyncio.wait_for(done.wait(), 5)
    assert len(seen) == 2
