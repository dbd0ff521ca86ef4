"""``probe``: what does this server switch to?

It offers one protocol after the other, each on a connection of its own, with the request
that a careful client would send, and says for each what became of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from ssl import SSLContext

from switchover.asyncio.dialing import Route
from switchover.asyncio.tls import client_context
from switchover.diagnose.http2 import ask_in_http2
from switchover.diagnose.recording import Transcript, ask
from switchover.errors import ProtocolError, RemoteProtocolError, SwitchError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.uri import URL, parse_url
from switchover.upgrade.client import offering_request, verify
from switchover.websocket.opening import check_response, opening_request

__all__ = ["Finding", "probe"]

#: Nobody speaks it, so a server must answer as if nothing had been offered.
UNKNOWN_TOKEN = "switchover-probe/1"
# RFC 7540 §3.2.1: SETTINGS_MAX_CONCURRENT_STREAMS 100, SETTINGS_INITIAL_WINDOW_SIZE 65535.
_SETTINGS = "AAMAAABkAAQAAP__"

_Check = Callable[[Request, Response], str]


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one offer.

    ``verdict`` is ``"answers"`` (to a request without an offer), ``"switches"``, ``"speaks"``
    (HTTP/2 from the first octet), ``"declines"`` (an ordinary answer, as if nothing had been
    offered), ``"requires"`` (426), ``"refuses"`` (another error), ``"violates"`` (the answer
    breaks a rule) or ``"silent"``. ``kept`` says whether the connection stayed usable after
    an answer without a switch; a switch leaves it ``None``.
    """

    name: str
    verdict: str
    status: int | None
    protocol: str | None
    kept: bool | None
    detail: str
    transcript: Transcript


def _verifying(alpn: Sequence[str]) -> SSLContext:
    return client_context(alpn=alpn)


async def probe(
    url: str,
    *,
    offers: Sequence[str] = (),
    route: Route | None = None,
    seconds: float = 5.0,
    contexts: Callable[[Sequence[str]], SSLContext] = _verifying,
) -> AsyncIterator[Finding]:
    """Offer each protocol to the server of ``url``; yield a :class:`Finding` for each.

    ``offers`` are further upgrade tokens. ``contexts`` makes the TLS context that offers the
    given protocols by ALPN (by default one that verifies). Raises :class:`LocalProtocolError`
    for a URL or a token that cannot be, :class:`OSError` if the server cannot be reached.
    """
    target = parse_url(url)
    way = route or Route()
    if target.secure:
        way = way.with_context(contexts(["http/1.1"]))
    for name, request, check in _attempts(target, offers):
        transcript = await ask(target, request, way, check=check, seconds=seconds)
        yield _judge(name, request, transcript)
    if target.secure:
        way = way.with_context(contexts(["h2", "http/1.1"]))
    transcript = await ask_in_http2(target, way, seconds=seconds)
    yield _judge_http2("ALPN" if target.secure else "HTTP/2 prior knowledge", target, transcript)


def _attempts(url: URL, offers: Sequence[str]) -> list[tuple[str, Request, _Check | None]]:
    plain = Request(
        "GET",
        url.target,
        Fields([("Host", url.authority), ("Accept", "*/*")]),
        scheme="https" if url.secure else "http",
        authority=url.authority,
    )
    attempts: list[tuple[str, Request, _Check | None]] = [
        ("no offer", plain, None),
        (UNKNOWN_TOKEN, offering_request(plain, [UNKNOWN_TOKEN]), verify),
        ("websocket", opening_request(url), _check_websocket),
        ("h2c", _h2c(plain), verify),
    ]
    if not url.secure:
        options = Request(
            "OPTIONS", "*", plain.fields.copy(), scheme="http", authority=url.authority
        )
        tls = offering_request(options, ["TLS/1.2"])
        attempts.append(("TLS/1.2", tls, _check_tls))
    attempts += [(token, offering_request(plain, [token]), verify) for token in offers]
    return attempts


def _h2c(plain: Request) -> Request:
    fields = plain.fields.copy()
    fields.add("HTTP2-Settings", _SETTINGS)
    request = Request("GET", plain.target, fields, authority=plain.authority)
    return offering_request(request, ["h2c"], options=["HTTP2-Settings"])


def _check_websocket(request: Request, response: Response) -> str:
    try:
        check_response(request, response)
    except SwitchError as error:
        raise RemoteProtocolError(str(error)) from error
    return "websocket"


def _check_tls(request: Request, response: Response) -> str:
    return verify(
        request,
        response,
        layers=("HTTP/1.1",),
        tolerate_missing_option=True,
        tolerate_version_list=True,
    )


def _judge(name: str, request: Request, transcript: Transcript) -> Finding:
    response, error = transcript.response, transcript.error
    status = response.status if response is not None else None
    if transcript.protocol is not None:
        verdict, detail = "switches", _switched_detail(transcript)
    elif error is not None:
        verdict, detail = "violates", _error_detail(error)
    elif response is None:
        verdict, detail = "silent", "no answer came"
    elif "upgrade" not in request.fields:
        verdict, detail = "answers", _advertised(response)
    elif response.status == 426:
        verdict, detail = "requires", _advertised(response) or "426 without an Upgrade field"
    elif response.status in (400, 403, 405, 501, 505):
        verdict, detail = "refuses", _first_line(response)
    else:
        verdict, detail = "declines", _advertised(response)
    kept = None if transcript.protocol is not None else transcript.kept
    return Finding(name, verdict, status, transcript.protocol, kept, detail, transcript)


def _judge_http2(name: str, url: URL, transcript: Transcript) -> Finding:
    status = transcript.response.status if transcript.response is not None else None
    protocol, kept = transcript.protocol, transcript.kept
    if protocol is not None:
        verdict = "speaks"
        detail = "selects h2" if url.secure else ""
    elif url.secure and transcript.alpn != "h2":
        verdict, kept = "declines", True
        detail = f"selects {transcript.alpn}" if transcript.alpn else "selects nothing"
    elif transcript.received.startswith(b"HTTP/1."):
        line = transcript.received.split(b"\r\n", 1)[0].decode("latin-1")
        verdict, detail = "declines", f"answers {line}"
    elif transcript.error is not None:
        verdict, detail = "violates", _error_detail(transcript.error)
    elif transcript.closed:
        verdict, detail = "declines", "closes the connection"
    else:
        verdict, detail = "silent", "no answer came"
    return Finding(name, verdict, status, protocol, kept, detail, transcript)


def _switched_detail(transcript: Transcript) -> str:
    behind = len(transcript.trailing_data)
    return f"{behind} octets came with the 101" if behind else ""


def _error_detail(error: ProtocolError) -> str:
    return str(error)


def _advertised(response: Response) -> str:
    listed = response.fields.get("upgrade")
    return f"lists {listed}" if listed else ""


def _first_line(response: Response) -> str:
    return response.content[:200].decode("utf-8", "replace").strip().partition("\n")[0]
