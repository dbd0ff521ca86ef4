"""The http scope: one request, one answer, between an exchange and an application.

The messages an application may send, and when (``ASGI HTTP 2.5``)::

    START ── http.response.start ──► HELD ── http.response.body ──► BODY ──► (TRAILERS) ──► DONE
                                      └── 101: the connection is switched ──────────────► DONE

In HELD the head has not been written: ASGI has the server wait for the first piece of
content, and until then the application can still fail with an ordinary 500.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

from switchover.asgi.types import Application, HeaderList, Message, Scope
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Response

if TYPE_CHECKING:
    from switchover.asgi.upgrade import UpgradeChannel
    from switchover.asyncio.exchange import Exchange

__all__ = ["HTTPCycle", "caused_by_disconnect", "illegal_message", "response_fields"]

logger = logging.getLogger("switchover.asgi")

_FAILED = "Internal Server Error: the application failed; the server's log says why.\n"
_NO_ANSWER = "Internal Server Error: the application gave no answer.\n"


_Lines = list[tuple[bytes, bytes]]


class _State(Enum):
    START = "before http.response.start"
    HELD = "before the first http.response.body"
    BODY = "while the response is sent"
    TRAILERS = "after the response's content"
    DONE = "after the response"


# Looked up for every message; members of an enumeration are slow to come by.
_AT_START, _HELD, _DONE = _State.START, _State.HELD, _State.DONE

_START = "http.response.start"
_BODY = "http.response.body"
_HINT = "http.response.early_hint"
_TRAILERS = "http.response.trailers"

_LEGAL = {
    _State.START: (_START, _HINT),
    _State.HELD: (_BODY, _HINT),
    _State.BODY: (_BODY, _HINT),
    _State.TRAILERS: (_TRAILERS,),
    _State.DONE: (),
}


class HTTPCycle:
    """Runs the application for one exchange.

    ``channel`` is the application's end of ``http.upgrade`` where the request allows a
    switch, else ``None``.
    """

    __slots__ = (
        "_channel",
        "_content_complete",
        "_disconnected",
        "_exchange",
        "_start",
        "_state",
        "_trailer_lines",
    )

    def __init__(self, exchange: Exchange, channel: UpgradeChannel | None = None) -> None:
        self._exchange = exchange
        self._channel = channel
        self._state = _AT_START
        self._start: Message = {}
        self._trailer_lines: list[tuple[bytes, bytes]] | None = None
        self._content_complete = False
        self._disconnected = False

    async def run(self, app: Application, scope: Scope) -> None:
        """Call the application, and answer for it if it does not."""
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001  # logged there, and answered for
            await self._application_failed(error)
        else:
            if self._state is not _DONE or self._channel is not None:
                await self._application_returned()

    # What the application calls.

    async def receive(self) -> Message:
        """Return the next ``http.request``, then, once it is so, ``http.disconnect``."""
        exchange = self._exchange
        if not self._content_complete and self._state is not _State.DONE:
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

    async def send(self, message: Message) -> None:
        """Take a message from the application.

        Raises:
            LocalProtocolError: the message is not legal now; nothing was written.
            Disconnected: the client has left (an ``OSError``, as ASGI 2.4 asks).
        """
        kind = message["type"]
        state = self._state
        # The two messages of most answers.
        if kind == _START and state is _AT_START:
            self._hold(message)
            return
        if kind == _BODY and state is _HELD and self._trailer_lines is None:
            data = message.get("body", b"")
            if type(data) is not bytes:
                data = bytes(data)
            more = message.get("more_body", False)
            start = self._start
            status = start["status"]
            if more or status == 101 or self._exchange.request.method == "CONNECT":
                await self._send_head(data, more=more)
                return
            # As in _send_head, for most answers.
            self._start, self._state = {}, _AT_START
            lines, length_given = _checked(start.get("headers", ()))
            await self._send_whole(status, lines.copy(), data, length_given=length_given)
            return
        if state is _State.DONE:
            # ASGI: after the last body message "any further messages on the channel will
            # be ignored". A second response is worth a word, though.
            if kind == _START:
                logger.warning("the application sent a second response; it is ignored")
            return
        if kind not in _LEGAL[state]:
            raise illegal_message(kind, state.value, _LEGAL[state])
        if kind == _BODY:
            await self._send_body(message)
        elif kind == _HINT:
            await self._send_hint(message)
        else:
            await self._send_trailers(message)

    # Sending.

    def _hold(self, message: Message) -> None:
        status = message["status"]
        if status < 200 and status != 101:
            raise LocalProtocolError(
                f"status {status} is interim, not an answer; early hints are sent with {_HINT!r}",
                rule="RFC 9110 §15.2",
            )
        self._start = message
        self._state = _HELD
        if message.get("trailers", False):
            self._trailer_lines = []

    async def _send_hint(self, message: Message) -> None:
        if self._state is _State.BODY:
            return  # too late for an interim response; the extension lets a server ignore it
        links = [(b"link", link) for link in message.get("links", ())]
        await self._exchange.send_interim(Response(103, Fields(links)))

    async def _send_body(self, message: Message) -> None:
        data = message.get("body", b"")
        if type(data) is not bytes:
            data = bytes(data)
        more = message.get("more_body", False)
        if self._state is _HELD:
            await self._send_head(data, more=more)
        elif data:
            await self._exchange.send_content(data)
        if more or self._state is _DONE:
            return
        if self._trailer_lines is not None:
            self._state = _State.TRAILERS
            return
        self._state = _State.DONE
        await self._exchange.send_end()

    async def _send_head(self, data: bytes, *, more: bool) -> None:
        start, self._start = self._start, {}
        # Should the head turn out to be unsendable, the application may answer otherwise.
        self._state = _AT_START
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
            self._state = _State.BODY
            await self._exchange.send_response(Response(status, fields))
            if data:
                await self._exchange.send_content(data)
            return
        await self._send_whole(status, fields.raw, data, length_given="content-length" in fields)

    def _send_whole(
        self, status: int, lines: _Lines, data: bytes, *, length_given: bool
    ) -> Awaitable[None]:
        """Send an answer whose only piece of content is ``data``."""
        self._state = _DONE
        if not length_given and status not in (204, 304):
            if data or self._exchange.request.method != "HEAD":
                lines.append((b"content-length", b"%d" % len(data)))
        response = Response(status, Fields.from_octets(lines), content=data)
        return self._exchange.send_response(response, end=True)

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
        self._state = _State.DONE

    async def _refuse_accidental_tunnel(self, status: int) -> None:
        # RFC 9110 §9.3.6: "Any 2xx (Successful) response indicates that the sender (and all
        # inbound proxies) will switch to tunnel mode". An application that means it says 101.
        logger.error("the application answered CONNECT with %d, which would be a tunnel", status)
        text = "Not Implemented: this resource does not make tunnels.\n"
        self._state = _State.DONE
        close = () if self._exchange.request.version == "2" else [("Connection", "close")]
        await self._exchange.send_response(Response.text(501, text, close), end=True)

    async def _send_trailers(self, message: Message) -> None:
        lines = self._trailer_lines
        assert lines is not None
        lines.extend(message.get("headers", ()))
        if not message.get("more_trailers", False):
            self._state = _State.DONE
            await self._exchange.send_end(self._wanted_trailers(lines))

    def _wanted_trailers(self, lines: list[tuple[bytes, bytes]]) -> Fields | None:
        # ASGI: "The ASGI server will only send the trailing headers in case the client has
        # sent the TE: trailers header in the request." (RFC 9110 §6.5.1)
        members = self._exchange.request.fields.members("TE")
        wanted = any(member.lower() == "trailers" for member in members)
        return Fields(lines) if wanted and lines else None

    # The application's end.

    async def _application_failed(self, error: Exception) -> None:
        if self._left(error):
            logger.info("the application stopped when the client had left: %r", error)
            return
        request = self._exchange.request
        logger.error(
            "%s %s: the application failed", request.method, ascii(request.path)[1:-1],
            exc_info=error,
        )  # fmt: skip
        if self._channel is not None and self._channel.switched:
            self._channel.abort()
        else:
            await self._answer_instead(_FAILED)

    async def _application_returned(self) -> None:
        if self._channel is not None and self._channel.switched:
            await self._channel.finish()
        elif self._state is not _DONE and not self._disconnected:
            logger.error("the application returned %s", self._state.value)
            await self._answer_instead(_NO_ANSWER)

    async def _answer_instead(self, text: str) -> None:
        """Answer 500 where nothing has been written; else break off what has."""
        if self._exchange.response_complete:
            return
        if self._exchange.response_started:
            self._exchange.abort()
            return
        self._state = _State.DONE
        try:
            await self._exchange.send_response(Response.text(500, text), end=True)
        except Disconnected:
            logger.debug("the client left before it was told of the failure")

    def _left(self, error: Exception) -> bool:
        return self._disconnected or caused_by_disconnect(error)


def response_fields(headers: HeaderList) -> Fields:
    """Return an application's response headers as checked fields.

    ``transfer-encoding`` is left out: ASGI leaves the framing to the server. Where
    ``upgrade`` is present without it, the connection option is added.
    """
    return Fields.from_octets(_checked(headers)[0].copy())


#: Headers that have been checked, as fields, and whether a length is among them: most
#: applications send the same few again and again.
_known: dict[tuple[Any, ...], tuple[_Lines, bool]] = {}
_MAX_KNOWN = 64
#: Longer ones are not remembered, and neither is what is meant for one client alone.
_MAX_OCTETS = 512


def _checked(headers: HeaderList) -> tuple[_Lines, bool]:
    """Return the lines that :func:`response_fields` makes, and whether they have a length.

    The list is not to be changed.
    """
    key: tuple[Any, ...] = tuple(headers)
    try:
        known = _known.get(key)
    except TypeError:  # lists in the place of pairs: they cannot be compared so
        return _check(key)
    if known is None:
        known = _check(key)
        lines = known[0]
        size = sum([len(name) + len(value) for name, value in lines])
        if size <= _MAX_OCTETS and all([name.lower() != b"set-cookie" for name, _ in lines]):
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[key] = known
    return known


def _check(headers: Iterable[Any]) -> tuple[_Lines, bool]:
    fields = Fields([line for line in headers if line[0].lower() != b"transfer-encoding"])
    if "upgrade" in fields and "upgrade" not in fields.connection_options:
        # RFC 9110 §7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option"
        fields.add(b"connection", b"upgrade")
    return fields.raw, "content-length" in fields


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
