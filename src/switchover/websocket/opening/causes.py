"""Why an opening handshake is likely to have failed: a sentence for the person who reads it."""

from __future__ import annotations

from switchover.errors import RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.messages import Request, Response
from switchover.websocket.opening.keys import VERSION

__all__ = ["likely_cause"]

_STRIPPED = (
    "the request was taken for an ordinary one: nothing speaks WebSocket at this address, or a"
    " proxy in front removed Upgrade and Connection"
)

_BY_STATUS = {
    400: "the server found fault with the handshake; its answer may say what",
    401: "the server wants credentials: send an Authorization or Cookie field",
    404: "there is nothing at this path; compare it with the server's routes",
    405: "the resource does not take GET, so it is no WebSocket",
    407: "the proxy wants credentials",
    429: "the server limits how often one may connect",
    501: "the server does not speak WebSocket over this version of HTTP",
    502: "a proxy in front had no proper answer from the server behind it",
    503: "the server is overloaded, starting or shutting down",
    504: "a proxy in front had no answer from the server behind it in time",
}


def likely_cause(request: Request, response: Response) -> str:
    """Return the likely cause of a failure, empty where there is nothing to say."""
    status = response.status
    if status == 101:
        return _cause_of_bad_switch(response)
    if status == 426:
        return _cause_of_426(response)
    if 300 <= status <= 399:
        location = response.fields.get("location")
        where = "without saying where" if location is None else f"to {show(location, 200)}"
        return f"the server redirects {where}; redirects are followed only on request"
    if status == 403:
        return _cause_of_403(request)
    if 200 <= status <= 299:
        return _STRIPPED
    return _BY_STATUS.get(status, "")


def _cause_of_bad_switch(response: Response) -> str:
    if "sec-websocket-accept" not in response.fields:
        return "whatever answered 101 did not read the request as a WebSocket handshake"
    return "the server, or a proxy on the way, does not follow RFC 6455"


def _cause_of_403(request: Request) -> str:
    origin = request.fields.get("origin")
    if origin is None:
        return "the server refuses this client; it may want an Origin field or credentials"
    return f"the server refuses this client; its Origin, {show(origin, 200)}, may not be allowed"


def _cause_of_426(response: Response) -> str:
    try:
        versions = response.fields.members("sec-websocket-version")
    except RemoteProtocolError:
        versions = []
    # RFC 6455 §4.4: a client that speaks one of the listed versions may try again with it.
    if versions and VERSION not in versions:
        listed = show(", ".join(versions), 80)
        return f"the server speaks WebSocket version {listed}, and this client {VERSION}"
    upgrade = response.fields.get("upgrade", "")
    if "websocket" not in upgrade.lower():
        return f"the server insists on another protocol: {show(upgrade)}"
    return "Upgrade and Connection did not reach the server: a proxy in front removed them"
