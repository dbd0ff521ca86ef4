"""The opening handshake: how an HTTP exchange becomes a WebSocket (RFC 6455 §4; RFC 8441 §5).

``ServerOpening`` (and :func:`accept`) answers a request, :func:`opening_request` makes one and
:func:`check_response` judges the answer; :func:`redirected` says where a refused client may
try again. All are functions of messages: octets are the business of ``switchover.http``.
"""

from switchover.websocket.opening.client import check_response, extended_request, opening_request
from switchover.websocket.opening.keys import VERSION, Negotiated, accept_value, new_key
from switchover.websocket.opening.redirects import redirected
from switchover.websocket.opening.server import ServerOpening, accept

__all__ = [
    "VERSION",
    "Negotiated",
    "ServerOpening",
    "accept",
    "accept_value",
    "check_response",
    "extended_request",
    "new_key",
    "opening_request",
    "redirected",
]
