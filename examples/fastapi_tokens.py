"""A FastAPI application that takes two upgrade tokens, under the middleware that people use.

::

    cd examples && switchover serve fastapi_tokens:app

``/irc`` is the hall of ``irc/``, for ``irc/6.9``. ``/count`` takes ``tcp``: it counts the octets
that come, and knows from the session how often somebody has been here. Compression, CORS and
sessions see the 101 as the response that it is, and nothing of what follows.
"""

from __future__ import annotations

import os
import secrets
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from irc.hall import Hall
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware

from switchover.asgi.starlette import (
    UpgradedConnection,
    UpgradeResponse,
    UpgradeRoute,
    offered_protocols,
)

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=100)
app.add_middleware(CORSMiddleware, allow_origins=["https://page.example"], allow_credentials=True)
app.add_middleware(
    SessionMiddleware, secret_key=os.environ.get("SESSION_KEY") or secrets.token_hex(32)
)

hall = Hall()


async def irc(request: Request, connection: UpgradedConnection) -> None:
    """The same hall, by way of ASGI."""
    await hall.serve(connection)


# A path that is nothing else: who offers no irc/6.9 is told so, with 426.
app.router.routes.append(UpgradeRoute("/irc", irc, protocols=["irc/6.9"]))


def visits(request: Request) -> int:
    """Count this visit in the session."""
    count = int(request.session.get("visits", 0)) + 1
    request.session["visits"] = count
    return count


@app.get("/count")
async def count(request: Request, number: Annotated[int, Depends(visits)]) -> Response:
    """An ordinary route, with dependencies: it decides whether to switch."""
    if "tcp" not in offered_protocols(request):
        raise HTTPException(426, "offer tcp", {"Upgrade": "tcp", "Connection": "upgrade"})

    async def counting(request: Request, connection: UpgradedConnection) -> None:
        await connection.send(f"visit {number}\n".encode())
        total = 0
        async for data in connection:
            total += len(data)
        # The client has ended its data; ours goes on.
        await connection.send(f"{total} octets\n".encode())

    return UpgradeResponse(counting, "tcp")


@app.get("/")
async def about() -> dict[str, str]:
    """What the same application says in HTTP, compressed if the client likes."""
    return {
        "/irc": "irc/6.9",
        "/count": "tcp",
        "padding": "so that there is something to gain " * 9,
    }
