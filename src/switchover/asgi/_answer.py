"""Between an exchange and an application: the part that runs for every request.

What an application may send otherwise, and what becomes of its faults, is
:class:`~switchover.asgi.http.HTTPCycle`, which derives from :class:`Answer`. This file is compiled
as ``_answer_c``; the C types stand in ``_answer_c.pxd``. Choose through
:mod:`switchover.asgi.answer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from switchover.asgi import _call as call
from switchover.asgi.types import HeaderList, Message
from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Response

if TYPE_CHECKING:
    from switchover.asgi.upgrade import UpgradeChannel
    from switchover.asyncio.exchange import Exchange

__all__ = ["AT_START", "BODY", "DONE", "HELD", "TRAILERS", "Answer", "response_fields"]

# The states; see the diagram in switchover.asgi.http.
AT_START = 0
HELD = 1
BODY = 2
TRAILERS = 3
DONE = 4

_Lines = list[tuple[bytes, bytes]]


class Answer(call.ApplicationCall):
    """``send`` of an application, for one exchange.

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

    def __init__(self, exchange: Exchange, channel: UpgradeChannel | None) -> None:
        self._exchange: Any = exchange
        self._channel: Any = channel
        self._state = AT_START
        self._start: Any = None  # http.response.start, until it is sent
        self._trailer_lines: _Lines | None = None
        self._content_complete = False
        self._disconnected = False

    # What a derived class decides. What it returns, if anything, is awaited.

    def _begin_other(self, kind: str, message: Message) -> call.Rest | None:
        raise NotImplementedError

    def application_gave_up(self) -> call.Rest | None:
        """End the exchange or the channel: the application has returned."""
        raise NotImplementedError

    def returned(self) -> call.Rest | None:
        """See :class:`~switchover.asgi._call.ApplicationCall`."""
        if self._state == DONE and self._channel is None:
            return None
        return self.application_gave_up()

    def begin_send(self, message: Message) -> call.Rest | None:
        """See :class:`~switchover.asgi._call.ApplicationCall`."""
        kind = message["type"]
        # The two messages of most answers.
        if self._state == AT_START and kind == "http.response.start":
            self._hold(message)
            return None
        if (
            self._state == HELD
            and kind == "http.response.body"
            and self._trailer_lines is None
            and not message.get("more_body", False)
        ):
            start = self._start
            status = start["status"]
            if status != 101 and self._exchange.request.method != "CONNECT":
                # Should the head turn out to be unsendable, the application may answer otherwise.
                self._start, self._state = None, AT_START
                lines, length_given = _checked(start.get("headers", ()))
                data = message.get("body", b"")
                return self._send_whole(status, lines.copy(), data, length_given)
        return self._begin_other(kind, message)

    def _hold(self, message: Message) -> None:
        status = message["status"]
        if status < 200 and status != 101:
            raise LocalProtocolError(
                f"status {status} is interim, not an answer; early hints are sent with"
                " 'http.response.early_hint'",
                rule="RFC 9110 §15.2",
            )
        self._start = message
        self._state = HELD
        if message.get("trailers", False):
            self._trailer_lines = []

    def _send_whole(
        self, status: int, lines: _Lines, data: Any, length_given: bool
    ) -> call.Rest | None:
        """Send an answer whose only piece of content is ``data``."""
        exchange = self._exchange
        content = data if type(data) is bytes else bytes(data)
        self._state = DONE
        if not length_given and status not in (204, 304):
            if content or exchange.request.method != "HEAD":
                lines.append((b"content-length", b"%d" % len(content)))
        response = Response(status, Fields.from_octets(lines), content=content)
        if exchange.try_answer(response):
            return None
        rest: call.Rest = exchange.send_response(response, end=True)
        return rest


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
