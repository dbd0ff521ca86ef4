"""The ``http.upgrade`` extension: an application takes over the connection.

The specification is ``docs/reference/asgi-upgrade.md``. In short: the application accepts
with an ordinary response whose status is 101 and whose ``upgrade`` field names an offered
protocol, so that every middleware sees, and may amend, a message it knows. The octets then
go through two callables of their own in the scope, so that no middleware sees, drops,
compresses or rejects a message it does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from switchover.asgi.types import Message, UpgradeExtension
from switchover.asyncio.tunnel import Tunnel
from switchover.errors import Disconnected, LocalProtocolError, TunnelError
from switchover.http.fields import Fields
from switchover.http.messages import Response

if TYPE_CHECKING:
    from switchover.asyncio.exchange import Exchange

__all__ = ["EXTENSION_VERSION", "UpgradeChannel", "extension_of"]

EXTENSION_VERSION = "1.0"

_SEND = "http.upgrade.send"
_ABORT = "http.upgrade.abort"

_Mechanism = Literal["upgrade", "connect", "extended-connect"]

# Of an ordinary response, what has no place in the answer that switches.
_NOT_IN_A_SWITCH = (
    "upgrade",
    "connection",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "trailer",
)


class UpgradeChannel:
    """The application's end of a switch that the request allows.

    Made by :meth:`for_exchange`. ``protocols`` are the offered tokens, as text, the client's
    favourite first; empty for a plain CONNECT.
    """

    __slots__ = ("_eof", "_exchange", "_mechanism", "_over", "_sent_eof", "_tunnel", "protocols")

    def __init__(self, exchange: Exchange, mechanism: _Mechanism, protocols: list[str]) -> None:
        self._exchange = exchange
        self._mechanism = mechanism
        self.protocols = protocols
        self._tunnel: Tunnel | None = None
        self._eof = False
        self._sent_eof = False
        self._over = False

    @classmethod
    def for_exchange(cls, exchange: Exchange) -> UpgradeChannel | None:
        """Return a channel if the request allows a switch that an application may make.

        ``websocket`` is not among them: ASGI has a scope of its own for it.
        """
        request = exchange.request
        if exchange.offer is None:
            return cls(exchange, "connect", []) if request.method == "CONNECT" else None
        tokens = exchange.offer.tokens
        protocols = [str(token) for token in tokens if token.name.lower() != "websocket"]
        if not protocols:
            return None
        return cls(exchange, "extended-connect" if request.protocol else "upgrade", protocols)

    @property
    def extension(self) -> UpgradeExtension:
        """What stands in the scope under ``extensions["http.upgrade"]``."""
        return {
            "version": EXTENSION_VERSION,
            "mechanism": self._mechanism,
            "protocols": list(self.protocols),
            "authority": self._exchange.request.authority,
            "receive": self.receive,
            "send": self.send,
        }

    @property
    def switched(self) -> bool:
        """The connection has been switched, and is the application's."""
        return self._tunnel is not None

    async def switch(self, fields: Fields) -> None:
        """Switch to what the application's 101 names.

        Raises:
            LocalProtocolError: it names nothing, several, or what was not offered; nothing
                was written.
        """
        protocol = self._selected(fields)
        kept = fields.copy()
        for name in _NOT_IN_A_SWITCH:
            kept.remove(name)
        exchange = self._exchange
        response = Response(101 if self._mechanism == "upgrade" else 200, kept)
        tunnel = Tunnel(
            protocol,
            exchange.request,
            response,
            facts=exchange.facts,
            on_lost=exchange.server.dismiss,
        )
        await exchange.switch(protocol, kept, tunnel)
        self._tunnel = tunnel

    def _selected(self, fields: Fields) -> str:
        named = fields.members("upgrade")
        if self._mechanism == "connect":
            if named:
                raise LocalProtocolError(
                    f"a plain CONNECT offers no protocol, but the 101 names {named}",
                    rule="RFC 9110 §9.3.6",
                )
            return "CONNECT"
        if len(named) != 1:
            raise LocalProtocolError(
                f"the 101 must name one protocol in its upgrade field, not {len(named)};"
                f" offered: {', '.join(self.protocols)}",
                rule="RFC 9110 §7.8",
            )
        offer = self._exchange.offer
        token = offer.find(named[0]) if offer is not None else None
        # RFC 9110 §7.8: "A server MUST NOT switch to a protocol that was not indicated by the
        # client in the corresponding request's Upgrade header field."
        if token is None or str(token) not in self.protocols:
            raise LocalProtocolError(
                f"the 101 names {named[0]!r}, which was not offered;"
                f" offered: {', '.join(self.protocols)}",
                rule="RFC 9110 §7.8",
            )
        return str(token)

    # What the application calls.

    async def receive(self) -> Message:
        """Return ``http.upgrade.receive`` as octets come, at last ``http.upgrade.disconnect``."""
        tunnel = self._opened()
        if not self._eof and not self._over:
            try:
                data = await tunnel.read()
            except TunnelError:
                self._over = True
            else:
                self._eof = not data
                return {"type": "http.upgrade.receive", "data": data, "more": bool(data)}
        await tunnel.wait_closed()
        self._over = True
        return {"type": "http.upgrade.disconnect", "clean": self._eof and self._sent_eof}

    async def send(self, message: Message) -> None:
        """Take ``http.upgrade.send`` or ``http.upgrade.abort``.

        Raises:
            LocalProtocolError: not switched yet, our end of data sent already, or a message
                of another type.
            Disconnected: the connection has ended (an ``OSError``).
        """
        tunnel = self._opened()
        kind = message["type"]
        if kind == _ABORT:
            self.abort()
            return
        if kind != _SEND:
            raise LocalProtocolError(
                f"message {kind!r} on a switched connection: expected {_SEND!r} or {_ABORT!r}",
                rule="http.upgrade 1.0",
            )
        if self._sent_eof:
            raise LocalProtocolError("this end's data has been ended", rule="http.upgrade 1.0")
        try:
            data = message.get("data", b"")
            if data:
                await tunnel.send(data)
            if not message.get("more", True):
                self._sent_eof = True
                await tunnel.send_eof()
        except TunnelError as error:
            raise Disconnected("the connection has ended") from error

    def _opened(self) -> Tunnel:
        if self._tunnel is None:
            raise LocalProtocolError(
                "the connection has not been switched: first send http.response.start with"
                " status 101, and an empty http.response.body",
                rule="http.upgrade 1.0",
            )
        return self._tunnel

    # What the cycle calls.

    def abort(self) -> None:
        """Cut the connection off."""
        self._over = True
        if self._tunnel is not None:
            self._tunnel.abort()

    async def finish(self) -> None:
        """The application has returned: end our direction, and close in an orderly way."""
        if self._tunnel is not None:
            await self._tunnel.close()

    async def wait_closed(self) -> None:
        """Return when the switched connection has ended."""
        if self._tunnel is not None:
            await self._tunnel.wait_closed()


def extension_of(scope: Any) -> UpgradeExtension | None:
    """Return the scope's ``http.upgrade`` extension, ``None`` where there is none."""
    extensions = scope.get("extensions") or {}
    extension: UpgradeExtension | None = extensions.get("http.upgrade")
    return extension
