"""The http scope: one request, one answer, between an exchange and an application.

The messages an application may send, and when (``ASGI HTTP 2.5``)::

    START ── http.response.start ──► HELD ── http.response.body ──► BODY ──► (TRAILERS) ──► DONE
                                      └── 101: the connection is switched ──────────────► DONE

In HELD the head has not been written: ASGI has the server wait for the first piece of
content, and until then the application can still fail with an ordinary 500.
"""

from __future__ import annotations

import logging

from switchover.asgi._call import Rest
from switchover.asgi.answer import (
    AT_START,
    BODY,
    DONE,
    HELD,
    TRAILERS,
    Answer,
    response_fields,
)
from switchover.asgi.types import Message, Scope
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Response

__all__ = ["HTTPCycle", "caused_by_disconnect", "illegal_message"]

logger = logging.getLogger("switchover.asgi")

_FAILED = "Internal Server Error: the application failed; the server's log says why.\n"
_NO_ANSWER = "Internal Server Error: the application gave no answer.\n"


_START = "http.response.start"
_BODY = "http.response.body"
_HINT = "http.response.early_hint"
_TRAILERS = "http.response.trailers"

_WHEN = {
    AT_START: "before http.response.start",
    HELD: "before the first http.response.body",
    BODY: "while the response is sent",
    TRAILERS: "after the response's content",
    DONE: "after the response",
}
_LEGAL: dict[int, tuple[str, ...]] = {
    AT_START: (_START, _HINT),
    HELD: (_BODY, _HINT),
    BODY: (_BODY, _HINT),
    TRAILERS: (_TRAILERS,),
    DONE: (),
}


class HTTPCycle(Answer):
    """Runs the application for one exchange; the plain parts are in :class:`Answer`."""

    __slots__ = ()

    # What the application calls.

    async def receive(self) -> Message:
        """Return the next ``http.request``, then, once it is so, ``http.disconnect``."""
        exchange = self._exchange
        if not self._content_complete and self._state != DONE:
            try:
                data = await exchange.receive_content()
            except Disconnected:
                self._disconnected = True
                return {"type": "http.disconnect"}
            self._content_complete = not data
            return {"type": "http.request", "body": data, "more_body": bool(data)}
        if self._channel is not None and self._channel.switched:
            await self._channel.wait_closed()
        else:
            await exchange.wait_disconnected()
        return {"type": "http.disconnect"}

    def _begin_other(self, kind: str, message: Message) -> Rest | None:
        state = self._state
        if state == DONE:
            # ASGI: after the last body message "any further messages on the channel will
            # be ignored". A second response is worth a word, though.
            if kind == _START:
                logger.warning("the application sent a second response; it is ignored")
            return None
        if kind not in _LEGAL[state]:
            raise illegal_message(kind, _WHEN[state], _LEGAL[state])
        if kind == _BODY:
            return self._send_body(message)
        if kind == _HINT:
            return self._send_hint(message)
        return self._send_trailers(message)

    # Sending.

    async def _send_hint(self, message: Message) -> None:
        if self._state == BODY:
            return  # too late for an interim response; the extension lets a server ignore it
        links = [(b"link", link) for link in message.get("links", ())]
        await self._exchange.send_interim(Response(103, Fields(links)))

    async def _send_body(self, message: Message) -> None:
        data = message.get("body", b"")
        if type(data) is not bytes:
            data = bytes(data)
        more = message.get("more_body", False)
        if self._state == HELD:
            await self._send_head(data, more=more)
        elif data:
            await self._exchange.send_content(data)
        if more or self._state == DONE:
            return
        if self._trailer_lines is not None:
            self._state = TRAILERS
            return
        self._state = DONE
        await self._exchange.send_end()

    async def _send_head(self, data: bytes, *, more: bool) -> None:
        start, self._start = self._start, None
        self._state = AT_START  # see begin_send()
        status = start["status"]
        fields = response_fields(start.get("headers", ()))
        if status == 101:
            await self._switch(fields, data, more=more)
            return
        if 200 <= status < 300 and self._exchange.request.method == "CONNECT":
            await self._refuse_accidental_tunnel(status)
            return
        if self._exchange.request.method == "CONNECT" and self._exchange.request.version != "2":
            # RFC 9931 §8: what follows a refused CONNECT may be the tunnel's first octets, and
            # must not be taken for a request.
            fields.set(b"connection", b"close")
        if more or self._trailer_lines is not None:
            self._state = BODY
            await self._exchange.send_response(Response(status, fields))
            if data:
                await self._exchange.send_content(data)
            return
        rest = self._send_whole(status, fields.raw, data, "content-length" in fields)
        if rest is not None:
            await rest

    async def _switch(self, fields: Fields, data: bytes, *, more: bool) -> None:
        if self._channel is None:
            raise LocalProtocolError(
                "status 101, but the request offers nothing that this server lets an application"
                " switch to: scope['extensions'] has no 'http.upgrade'",
                rule="RFC 9110 §7.8",
            )
        # A middleware that compresses makes octets even of nothing, and says so.
        if more or (data and "content-encoding" not in fields):
            # RFC 9110 §15.2: "A 1xx response … cannot contain content or trailers."
            raise LocalProtocolError(
                "a 101 has no content: send one empty http.response.body, then use the channel"
                " of scope['extensions']['http.upgrade']",
                rule="RFC 9110 §15.2",
            )
        await self._channel.switch(fields)
        self._content_complete = True
        self._state = DONE

    async def _refuse_accidental_tunnel(self, status: int) -> None:
        # RFC 9110 §9.3.6: "Any 2xx (Successful) response indicates that the sender (and all
        # inbound proxies) will switch to tunnel mode". An application that means it says 101.
        logger.error("the application answered CONNECT with %d, which would be a tunnel", status)
        text = "Not Implemented: this resource does not make tunnels.\n"
        self._state = DONE
        close = () if self._exchange.request.version == "2" else [("Connection", "close")]
        await self._exchange.send_response(Response.text(501, text, close), end=True)

    async def _send_trailers(self, message: Message) -> None:
        lines = self._trailer_lines
        assert lines is not None
        lines.extend(message.get("headers", ()))
        if not message.get("more_trailers", False):
            self._state = DONE
            await self._exchange.send_end(self._wanted_trailers(lines))

    def _wanted_trailers(self, lines: list[tuple[bytes, bytes]]) -> Fields | None:
        # ASGI: "The ASGI server will only send the trailing headers in case the client has
        # sent the TE: trailers header in the request." (RFC 9110 §6.5.1)
        members = self._exchange.request.fields.members("TE")
        wanted = any(member.lower() == "trailers" for member in members)
        return Fields(lines) if wanted and lines else None

    # The application's end.

    def application_failed(self, error: Exception, scope: Scope) -> Rest | None:
        """Log ``error``, and answer 500 in the application's place, or break off."""
        if self._disconnected or caused_by_disconnect(error):
            logger.info("the application stopped when the client had left: %r", error)
            return None
        request = self._exchange.request
        logger.error(
            "%s %s: the application failed", request.method, ascii(request.path)[1:-1],
            exc_info=error,
        )  # fmt: skip
        if self._channel is not None and self._channel.switched:
            self._channel.abort()
            return None
        return self._answer_instead(_FAILED)

    def application_gave_up(self) -> Rest | None:
        """End the channel; answer 500 for an application that has not, and log it."""
        if self._channel is not None and self._channel.switched:
            finishing: Rest = self._channel.finish()
            return finishing
        if self._state == DONE or self._disconnected:
            return None
        logger.error("the application returned %s", _WHEN[self._state])
        return self._answer_instead(_NO_ANSWER)

    async def _answer_instead(self, text: str) -> None:
        """Answer 500 where nothing has been written; else break off what has."""
        if self._exchange.response_complete:
            return
        if self._exchange.response_started:
            self._exchange.abort()
            return
        self._state = DONE
        try:
            await self._exchange.send_response(Response.text(500, text), end=True)
        except Disconnected:
            logger.debug("the client left before it was told of the failure")


def illegal_message(kind: str, when: str, legal: tuple[str, ...]) -> LocalProtocolError:
    """Return the error for a message that does not fit; it lists those that would."""
    expected = " or ".join(repr(name) for name in legal) or "nothing"
    return LocalProtocolError(f"message {kind!r} {when}: expected {expected}", rule="ASGI 3.0")


def caused_by_disconnect(error: BaseException | None) -> bool:
    """Whether an application's error is only the echo of the client's leaving.

    Frameworks wrap what ``send`` raised (Starlette's ``ClientDisconnect``).
    """
    seen = 0
    while error is not None and seen < 16:
        if isinstance(error, Disconnected):
            return True
        error = error.__cause__ or error.__context__
        seen += 1
    return False
