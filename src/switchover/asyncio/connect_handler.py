"""``ConnectHandler``: a server that opens CONNECT tunnels, by a policy.

The destination is judged by name and port before it is looked up, and by address after; the
address that was judged is the one that is dialled (SEC-34). Every refusal ends the
connection (RFC 9931 §8): what follows a CONNECT may be what an untrusted client of the
client wanted to have tunnelled.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.relay import Relay
from switchover.errors import RemoteProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.tunnel.connect import (
    Authority,
    authentication_required,
    read_basic_credentials,
    read_connect,
    refused,
)
from switchover.tunnel.policy import DestinationPolicy, Refusal

__all__ = ["Authenticate", "ConnectHandler", "dial", "look_up", "one_user"]

logger = logging.getLogger("switchover.server")

#: Judges the user and password of a request; may wait.
Authenticate = Callable[[str, str], bool | Awaitable[bool]]


def one_user(user: str, password: str) -> Authenticate:
    """Return an :data:`Authenticate` that knows one user; it compares in constant time."""

    def authenticate(given_user: str, given_password: str) -> bool:
        right_user = hmac.compare_digest(given_user.encode(), user.encode())
        return hmac.compare_digest(given_password.encode(), password.encode()) and right_user

    return authenticate


class ConnectHandler:
    """Opens CONNECT tunnels; give it to :class:`Server` as ``connect``.

    ``policy`` says which destinations are opened: port 443 of public addresses, unless it
    says otherwise. ``authenticate`` is asked about Basic credentials, and everybody is let in
    without it. ``max_tunnels`` are open at once; one more is answered 503. ``dial_timeout``,
    ``drain`` (after the first end of data) and ``idle`` are in seconds.
    """

    def __init__(
        self,
        policy: DestinationPolicy | None = None,
        *,
        authenticate: Authenticate | None = None,
        realm: str = "switchover",
        max_tunnels: int = 1000,
        dial_timeout: float = 10.0,
        drain: float = 30.0,
        idle: float | None = 600.0,
    ) -> None:
        self.policy = policy or DestinationPolicy()
        self._authenticate = authenticate
        self._realm = realm
        self._max_tunnels = max_tunnels
        self._dial_timeout = dial_timeout
        self._drain = drain
        self._idle = idle
        self.relays: set[Relay] = set()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one CONNECT request."""
        refusal = await self._refusal(exchange.request)
        if refusal is not None:
            await self._refuse(exchange, refusal)
            return
        target = read_connect(exchange.request)
        relay = Relay(drain=self._drain, idle=self._idle, on_end=self.relays.discard)
        self.relays.add(relay)
        try:
            async with asyncio.timeout(self._dial_timeout):
                failure = await self._dial(target, relay)
        except TimeoutError:
            failure = refused(504, f"{target} did not answer in time.", error="connection_timeout")
        if failure is not None:
            self.relays.discard(relay)
            await self._refuse(exchange, failure)
            return
        await self._open(exchange, relay)

    async def _refusal(self, request: Request) -> Response | None:
        try:
            target = read_connect(request)
        except RemoteProtocolError as error:
            return refused(error.status, str(error))
        if self._authenticate is not None:
            credentials = read_basic_credentials(request)
            if credentials is None or not await self._known(*credentials):
                return authentication_required(self._realm)
        if len(self.relays) >= self._max_tunnels:
            return refused(503, "Too many tunnels are open.", error="connection_limit_reached")
        judged = self.policy.judge_target(target)
        return None if judged is None else judged.response()

    async def _known(self, user: str, password: str) -> bool:
        assert self._authenticate is not None
        verdict = self._authenticate(user, password)
        return await verdict if inspect.isawaitable(verdict) else verdict

    async def _refuse(self, exchange: Exchange, response: Response) -> None:
        target = ascii(exchange.request.target)[1:-1]
        logger.info("CONNECT %s: refused with %d", target, response.status)
        if exchange.request.version == "2":
            response.fields.remove("Connection")
        await exchange.send_response(response, end=True)

    async def _dial(self, target: Authority, relay: Relay) -> Response | None:
        """Connect ``relay``'s right end to ``target``; return the response if that fails."""
        addresses = self.policy.judge_addresses(await look_up(target))
        if isinstance(addresses, Refusal):
            return addresses.response()
        try:
            await dial(addresses, target.port, relay)
        except OSError as error:
            return refused(502, f"{target}: {error.strerror or error}.", error="connection_refused")
        return None

    async def _open(self, exchange: Exchange, relay: Relay) -> None:
        server = exchange.server
        try:
            # RFC 9110 §9.3.6: 2xx only once the onward connection is up.
            await exchange.switch("CONNECT", Fields(), relay.left)
        except BaseException:
            relay.abort()
            raise
        ended = asyncio.get_running_loop().create_future()

        def on_end(relay: Relay) -> None:
            self.relays.discard(relay)
            server.dismiss(relay.left)
            if not ended.done():
                ended.set_result(None)

        relay.on_end = on_end
        relay.start()
        await ended


async def look_up(target: Authority) -> list[str]:
    """Return the addresses of ``target``, none if there are none."""
    if target.is_address:
        return [target.host]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def dial(addresses: list[str], port: int, relay: Relay) -> None:
    """Connect the right end of ``relay`` to the first of ``addresses`` that answers."""
    loop = asyncio.get_running_loop()
    problem: OSError = ConnectionRefusedError("no address")
    for address in addresses:
        try:
            await loop.create_connection(lambda: relay.right, address, port)
        except OSError as error:
            problem = error
        else:
            return
    raise problem
