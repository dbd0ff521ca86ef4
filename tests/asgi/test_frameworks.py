"""FastAPI, Starlette and Django: applications as their tutorials write them, unchanged."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
import django
import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from fastapi import (
    BackgroundTasks,
    FastAPI,
    File,
    Form,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi import Request as FastAPIRequest
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.anyio


def url(server: Any, target: str = "/", scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.port}{target}"


# FastAPI.


class Item(BaseModel):
    name: str
    price: float
    tax: float | None = None


def fastapi_app(log: list[str]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        log.append("startup")
        yield {"model": "loaded"}
        log.append("shutdown")

    app = FastAPI(lifespan=lifespan)

    @app.get("/items/{item_id}")
    async def read_item(item_id: int, q: str | None = None) -> dict[str, Any]:
        return {"item_id": item_id, "q": q}

    @app.post("/items/")
    async def create_item(item: Item) -> Item:
        return item

    @app.post("/login/")
    async def login(username: Annotated[str, Form()], password: Annotated[str, Form()]) -> Any:
        return {"username": username, "length": len(password)}

    @app.post("/files/")
    async def create_file(
        file: Annotated[bytes, File()], upload: UploadFile, token: Annotated[str, Form()]
    ) -> Any:
        content = await upload.read()
        return {"file_size": len(file), "upload": [upload.filename, len(content)], "token": token}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def numbers() -> AsyncIterator[str]:
            for number in range(5):
                yield f"{number}\n"

        return StreamingResponse(numbers(), media_type="text/plain")

    @app.post("/send-notification/{email}")
    async def notify(email: str, tasks: BackgroundTasks) -> dict[str, str]:
        tasks.add_task(log.append, f"notified {email}")
        return {"message": "Notification sent in the background"}

    @app.get("/state")
    async def state(request: FastAPIRequest) -> Any:
        return request.state.model

    @app.get("/sync")
    def in_a_thread() -> str:
        return "from a thread"

    @app.websocket("/ws/{client_id}")
    async def chat(websocket: WebSocket, client_id: int) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(f"#{client_id}: {await websocket.receive_text()}")
        except WebSocketDisconnect as error:
            log.append(f"left {error.code} {error.reason}")

    @app.websocket("/members")
    async def members(websocket: WebSocket) -> None:
        raise WebSocketException(code=1008, reason="members only")

    return app


async def test_fastapi_json_and_validation(serve: Any) -> None:
    server = await serve(fastapi_app([]), lifespan="auto")
    async with aiohttp.ClientSession() as http:
        async with http.get(url(server, "/items/5?q=some%20thing")) as answer:
            assert await answer.json() == {"item_id": 5, "q": "some thing"}
        async with http.get(url(server, "/items/foo")) as answer:
            assert answer.status == 422
        item = {"name": "Foo", "price": 45.2, "tax": None}
        async with http.post(url(server, "/items/"), json=item) as answer:
            assert await answer.json() == item
        async with http.get(url(server, "/sync")) as answer:
            assert await answer.json() == "from a thread"
        async with http.get(url(server, "/openapi.json")) as answer:
            assert "/items/{item_id}" in (await answer.json())["paths"]
        async with http.get(url(server, "/nothing")) as answer:
            assert answer.status == 404


async def test_fastapi_forms_and_uploads(serve: Any) -> None:
    server = await serve(fastapi_app([]), lifespan="auto")
    async with aiohttp.ClientSession() as http:
        form = {"username": "ann", "password": "secret"}
        async with http.post(url(server, "/login/"), data=form) as answer:
            assert await answer.json() == {"username": "ann", "length": 6}
        data = aiohttp.FormData({"token": "t"})
        data.add_field("file", b"x" * 1000, filename="a.bin")
        data.add_field("upload", io.BytesIO(b"y" * 3_000_000), filename="b.bin")
        async with http.post(url(server, "/files/"), data=data) as answer:
            assert await answer.json() == {
                "file_size": 1000,
                "upload": ["b.bin", 3_000_000],
                "token": "t",
            }


async def test_fastapi_streaming_background_and_lifespan(serve: Any) -> None:
    log: list[str] = []
    server = await serve(fastapi_app(log), lifespan="auto")
    assert log == ["startup"]
    async with aiohttp.ClientSession() as http:
        async with http.get(url(server, "/stream")) as answer:
            assert await answer.text() == "0\n1\n2\n3\n4\n"
        async with http.post(url(server, "/send-notification/a@b.c")) as answer:
            assert (await answer.json())["message"].startswith("Notification sent")
        async with http.get(url(server, "/state")) as answer:
            assert await answer.json() == "loaded"
    await server.close()
    assert log == ["startup", "notified a@b.c", "shutdown"]


async def test_fastapi_websocket(serve: Any) -> None:
    log: list[str] = []
    server = await serve(fastapi_app(log), lifespan="auto")
    async with dial(url(server, "/ws/7", "ws"), proxy=None) as ws:
        await ws.send("hello")
        assert await ws.recv() == "#7: hello"
        await ws.close(4001, "bye")
    await server.close()
    assert "left 4001 bye" in log


async def test_fastapi_websocket_refusals(serve: Any) -> None:
    server = await serve(fastapi_app([]), lifespan="auto")
    for target in ("/members", "/nothing", "/ws/not-a-number"):
        with pytest.raises(InvalidStatus) as caught:
            async with dial(url(server, target, "ws"), proxy=None):
                pass
        assert caught.value.response.status_code == 403


# Starlette.


class Echo(WebSocketEndpoint):
    encoding = "json"

    async def on_receive(self, websocket: Any, data: Any) -> None:
        await websocket.send_json({"echo": data})

    async def on_disconnect(self, websocket: Any, close_code: int) -> None:
        websocket.app.state.closed.append(close_code)


async def test_starlette_tutorial(serve: Any, tmp_path: Any) -> None:
    (tmp_path / "page.html").write_text("<h1>static</h1>")
    (tmp_path / "big.bin").write_bytes(b"z" * 1_000_000)

    async def home(request: Request) -> JSONResponse:
        return JSONResponse({"hello": request.path_params.get("name", "world")})

    async def download(request: Request) -> FileResponse:
        return FileResponse(tmp_path / "big.bin")

    async def later(request: Request) -> PlainTextResponse:
        task = BackgroundTask(request.app.state.closed.append, "task")
        return PlainTextResponse("soon", background=task)

    app = Starlette(
        routes=[
            Route("/", home),
            Route("/hello/{name}", home),
            Route("/download", download),
            Route("/later", later),
            Mount("/static", StaticFiles(directory=tmp_path)),
            WebSocketRoute("/ws", Echo),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=10)],
    )
    app.state.closed = []
    server = await serve(app, lifespan="auto")
    async with aiohttp.ClientSession() as http:
        async with http.get(url(server, "/hello/w%C3%B6rld")) as answer:
            assert await answer.json() == {"hello": "wörld"}
        async with http.get(url(server, "/download")) as answer:
            assert await answer.read() == b"z" * 1_000_000
        async with http.get(url(server, "/download"), headers={"Range": "bytes=0-9"}) as answer:
            assert (answer.status, await answer.read()) == (206, b"z" * 10)
        async with http.get(url(server, "/static/page.html")) as answer:
            tag = answer.headers["etag"]
            assert await answer.text() == "<h1>static</h1>"
        none_match = {"If-None-Match": tag}
        async with http.get(url(server, "/static/page.html"), headers=none_match) as answer:
            assert answer.status == 304
        async with http.head(url(server, "/download")) as answer:
            assert answer.headers["content-length"] == "1000000"
        async with http.get(url(server, "/later")) as answer:
            assert await answer.text() == "soon"
        async with http.delete(url(server, "/")) as answer:
            assert answer.status == 405
    async with dial(url(server, "/ws", "ws"), proxy=None) as ws:
        await ws.send('{"a": [1, 2]}')
        assert await ws.recv() == '{"echo":{"a":[1,2]}}'
    await server.close()
    # The background task and the end of the WebSocket have no order.
    assert sorted(map(str, app.state.closed)) == ["1000", "task"]


async def test_websocket_denial_response_of_starlette(serve: Any) -> None:
    async def refuse(websocket: Any) -> None:
        await websocket.send_denial_response(JSONResponse({"who": "are you"}, status_code=401))

    server = await serve(Starlette(routes=[WebSocketRoute("/", refuse)]))
    with pytest.raises(InvalidStatus) as caught:
        async with dial(url(server, "/", "ws"), proxy=None):
            pass
    assert caught.value.response.status_code == 401
    assert caught.value.response.body == b'{"who":"are you"}'


async def test_client_that_leaves_amid_the_upload_is_noticed(serve: Any, connect: Any) -> None:
    seen: list[type[BaseException]] = []
    done = asyncio.Event()

    async def upload(request: Request) -> PlainTextResponse:
        try:
            async for _ in request.stream():
                pass
        except ClientDisconnect as error:
            seen.append(type(error))
            raise
        finally:
            done.set()
        return PlainTextResponse("all here")

    server = await serve(Starlette(routes=[Route("/", upload, methods=["POST"])]))
    client = await connect(server)
    client.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\npart")
    await asyncio.sleep(0.05)
    client.reset()
    await asyncio.wait_for(done.wait(), 5)
    assert seen == [ClientDisconnect]


async def test_client_that_leaves_amid_the_answer_stops_it(serve: Any, connect: Any) -> None:
    """ASGI 2.4: Starlette relies on the OSError to end the generator."""
    ended = asyncio.Event()

    async def endless(request: Request) -> Any:
        async def numbers() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 10_000
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return StreamingResponse(numbers())

    server = await serve(Starlette(routes=[Route("/", endless)]))
    client = await connect(server)
    client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.head()
    client.reset()
    await asyncio.wait_for(ended.wait(), 5)


async def test_slow_reader_holds_the_answer_up(serve: Any, connect: Any) -> None:
    """Backpressure: the generator is not asked for more than the client takes."""
    made = 0

    async def numbers() -> AsyncIterator[bytes]:
        nonlocal made
        while made < 1000:
            made += 1
            yield b"x" * 65536

    async def endpoint(request: Request) -> Any:
        return StreamingResponse(numbers(), headers={"content-length": str(1000 * 65536)})

    server = await serve(Starlette(routes=[Route("/", endpoint)]))
    client = await connect(server)
    client.writer.transport.pause_reading()
    client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    before = -1
    while before != made or not made:
        before = made
        await asyncio.sleep(0.05)
    assert made < 1000
    client.writer.transport.resume_reading()
    assert len((await client.response())[1]) == 1000 * 65536


@pytest.mark.parametrize("token", ["h2c", "foo/1", "websocket"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_post_with_an_unsupported_upgrade_keeps_its_content(
    serve: Any, connect: Any, token: str, framing: str
) -> None:
    """UPG-S-17, UPG-S-18 (pain 1): what every Java client sends to FastAPI."""
    server = await serve(fastapi_app([]), lifespan="auto")
    client = await connect(server)
    content = b'{"name":"Foo","price":45.2}'
    if framing == "length":
        framed, field = content, b"Content-Length: %d" % len(content)
    else:
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
        field = b"Transfer-Encoding: chunked"
    post = (
        b"POST /items/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + token.encode() + b"\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n" + field + b"\r\n\r\n" + framed
    )
    client.write(post[:100])
    await asyncio.sleep(0)
    client.write(post[100:] + post)
    for _ in range(2):
        head, answer = await client.response()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert answer == b'{"name":"Foo","price":45.2,"tax":null}'


# Django.


async def django_index(request: Any) -> HttpResponse:
    return HttpResponse(f"Hello, {request.GET.get('who', 'world')}. {request.get_host()}")


async def django_meta(request: Any) -> JsonResponse:
    meta = {k: v for k, v in request.META.items() if k.startswith(("HTTP_X", "REMOTE", "SERVER"))}
    return JsonResponse({"meta": meta, "path": request.path, "root": request.META["SCRIPT_NAME"]})


def django_form(request: Any) -> JsonResponse:
    upload = request.FILES.get("upload")
    return JsonResponse({"name": request.POST["name"], "size": upload.size if upload else None})


async def django_stream(request: Any) -> StreamingHttpResponse:
    async def numbers() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number},"

    return StreamingHttpResponse(numbers())


class DjangoURLs:
    urlpatterns = (
        path("", django_index),
        path("meta/", django_meta),
        path("form/", django_form),
        path("stream/", django_stream),
    )


@pytest.fixture(scope="module")
def django_app() -> ASGIHandler:
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"], DEBUG=False, ROOT_URLCONF=DjangoURLs, SECRET_KEY="x",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        )  # fmt: skip
        django.setup(set_prefix=False)
    return ASGIHandler()


async def test_django_views(serve: Any, django_app: ASGIHandler) -> None:
    server = await serve(django_app, lifespan="auto")
    async with aiohttp.ClientSession() as http:
        async with http.get(url(server, "/?who=Ann")) as answer:
            assert await answer.text() == f"Hello, Ann. 127.0.0.1:{server.port}"
        async with http.get(url(server, "/stream/")) as answer:
            assert await answer.text() == "0,1,2,"
        data = aiohttp.FormData({"name": "file"})
        data.add_field("upload", b"x" * 100_000, filename="a.bin")
        async with http.post(url(server, "/form/"), data=data) as answer:
            assert await answer.json() == {"name": "file", "size": 100_000}
        async with http.get(url(server, "/nothing/")) as answer:
            assert answer.status == 404


async def test_django_does_not_take_underscores_for_hyphens(
    serve: Any, connect: Any, django_app: ASGIHandler
) -> None:
    """SEC-40, RFC 9110 §17.10: X_Real_IP must not pass for X-Real-IP in request.META."""
    client = await connect(await serve(django_app, lifespan="auto"))
    client.write(
        b"GET /meta/ HTTP/1.1\r\nHost: x\r\nX-Real-IP: 192.0.2.1\r\nX_Real_IP: 127.0.0.1\r\n\r\n"
    )
    assert b'"HTTP_X_REAL_IP": "192.0.2.1"' in (await client.response())[1]


async def test_django_under_a_root_path(serve: Any, django_app: ASGIHandler) -> None:
    server = await serve(django_app, lifespan="auto", root_path="/app")
    async with aiohttp.ClientSession() as http, http.get(url(server, "/meta/")) as answer:
        told = await answer.json()
    assert (told["path"], told["root"]) == ("/app/meta/", "/app")
    assert told["meta"]["REMOTE_ADDR"] == "127.0.0.1"


async def test_django_websocket_by_the_tutorials_of_channels_free_applications(
    serve: Any, django_app: ASGIHandler
) -> None:
    """The usual asgi.py without Channels: Django for http, a function for websocket."""

    async def websocket_application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            event = await receive()
            if event["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            elif event["type"] == "websocket.disconnect":
                break
            elif event["text"] == "ping":
                await send({"type": "websocket.send", "text": "pong!"})

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await django_app(scope, receive, send)
        elif scope["type"] == "websocket":
            await websocket_application(scope, receive, send)
        else:
            raise NotImplementedError(f"Unknown scope type {scope['type']}")

    server = await serve(application, lifespan="auto")
    async with dial(url(server, "/", "ws"), proxy=None) as ws:
        await ws.send("ping")
        assert await ws.recv() == "pong!"
    async with aiohttp.ClientSession() as http, http.get(url(server, "/")) as answer:
        assert (await answer.text()).startswith("Hello, world.")
    with pytest.raises(ConnectionClosed):
        await ws.recv()
