"""How a final response is framed, and what it says about the connection (RFC 9112 §6, §9)."""

from __future__ import annotations

from dataclasses import dataclass

from switchover.errors import LocalProtocolError
from switchover.http.body import BodyWriter, given_length
from switchover.http.framing import CHUNKED, UNTIL_CLOSE
from switchover.http.messages import Request, Response

__all__ = ["Answer", "answer_framing", "connection_lines"]

_Lines = list[tuple[bytes, bytes]]

_CHUNKED_LINE = (b"Transfer-Encoding", b"chunked")


@dataclass(slots=True)
class Answer:
    """A response on its way: its field lines, its content, and whether it ends the connection."""

    lines: _Lines
    body: BodyWriter
    persist: bool = True


def answer_framing(request: Request, response: Response, *, end: bool) -> Answer:
    """Decide how ``response`` to ``request`` is framed.

    With ``end``, ``response.content`` is all of the content. Raises ``LocalProtocolError``
    if the framing fields given, or the content, cannot be sent.
    """
    length = given_length(response.fields)
    if response.status in (204, 205):
        return _without_content(response)
    if request.method == "HEAD" or response.status == 304:
        return _head_only(request, response, length)
    if length is None and end:
        length = len(response.content)
        return _checked(_sized(response, length), response, end=end)
    if length is not None and length >= 0:
        return _checked(Answer(list(response.fields.raw), BodyWriter(length)), response, end=end)
    return _open_ended(request, response)


def _checked(answer: Answer, response: Response, *, end: bool) -> Answer:
    """Find wrong content out before the head is written."""
    answer.body.check(response.content)
    if end and not answer.body.exact(response.content):
        raise LocalProtocolError(
            "content is shorter than the announced Content-Length", rule="RFC 9110 §8.6"
        )
    return answer


def _sized(response: Response, length: int) -> Answer:
    lines = [*response.fields.raw, (b"Content-Length", b"%d" % length)]
    return Answer(lines, BodyWriter(length))


def _open_ended(request: Request, response: Response) -> Answer:
    lines = _unframed(response)
    # RFC 9112 §6.1: "A server MUST NOT send a response containing Transfer-Encoding unless
    # the corresponding request indicates HTTP/1.1 (or later minor revisions)."
    if request.version == "1.0":
        return Answer(lines, BodyWriter(UNTIL_CLOSE), persist=False)
    return Answer([*lines, _CHUNKED_LINE], BodyWriter(CHUNKED))


def _without_content(response: Response) -> Answer:
    lines = _unframed(response)
    if response.status == 205:
        # RFC 9110 §15.3.6: "a server MUST NOT generate content in a 205 response"; unlike
        # 204 it still needs framing.
        lines.append((b"Content-Length", b"0"))
    # RFC 9112 §6.1, RFC 9110 §8.6: no Transfer-Encoding and no Content-Length in a 204.
    return Answer(lines, BodyWriter(0, silent=True))


def _head_only(request: Request, response: Response, length: int | None) -> Answer:
    # RFC 9110 §9.3.2: HEAD is answered as GET would be, without the content; §15.4.5: a 304
    # has none. A length that is known is told; Transfer-Encoding would be optional.
    lines = _unframed(response)
    if length is not None and length >= 0:
        lines.append((b"Content-Length", b"%d" % length))
    elif response.content and request.method == "HEAD" and response.status != 304:
        lines.append((b"Content-Length", b"%d" % len(response.content)))
    return Answer(lines, BodyWriter(0, silent=True))


def _unframed(response: Response) -> _Lines:
    framing = (b"content-length", b"transfer-encoding")
    return [line for line in response.fields.raw if line[0].lower() not in framing]


def connection_lines(lines: _Lines, request: Request, *, persist: bool) -> _Lines:
    """Return ``lines`` with the connection option that tells the client what comes next."""
    if not persist:
        return _with_option(lines, b"close")
    # RFC 9112 §9.3: an HTTP/1.0 client that asked to keep the connection wants to be told.
    return _with_option(lines, b"keep-alive") if request.version == "1.0" else lines


def _with_option(lines: _Lines, option: bytes) -> _Lines:
    """Put ``option`` into the Connection field: one line, since some clients read only one."""
    values = [value for name, value in lines if name.lower() == b"connection"]
    members = [member.strip() for value in values for member in value.split(b",")]
    members = [m for m in members if m and m.lower() not in (b"close", b"keep-alive")]
    line = (b"Connection", b", ".join([*members, option]))
    return [*(pair for pair in lines if pair[0].lower() != b"connection"), line]
