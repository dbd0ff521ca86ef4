"""permessage-deflate: settings and negotiation (RFC 7692 §5, §7.1).

Four parameters, two for each direction. What a parameter in an offer asks for and what the
same one in a response promises differ; the functions below go through RFC 7692 §7.1 one
parameter at a time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.escaping import show
from switchover.websocket.deflate_coding import DeflateCoding, Direction, Workshop
from switchover.websocket.deflate_engines import (
    MIN_COMPRESSING_BITS,
    brief_engine,
    compressing_engine,
    inflating_engine,
)
from switchover.websocket.extensions import Extension, Parameters

__all__ = ["PermessageDeflate"]

_SERVER_TAKEOVER = "server_no_context_takeover"
_CLIENT_TAKEOVER = "client_no_context_takeover"
_SERVER_BITS = "server_max_window_bits"
_CLIENT_BITS = "client_max_window_bits"
_NAMES = (_SERVER_TAKEOVER, _CLIENT_TAKEOVER, _SERVER_BITS, _CLIENT_BITS)

# RFC 7692 §7.1.2.1: "The value of the parameter is a decimal integer without leading zeroes
# between 8 and 15, inclusive".
_bits = re.compile(r"[89]|1[0-5]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PermessageDeflate:
    """Compression of messages, for servers and clients; made once, used for all connections.

    On the wire:

    ``server_no_context_takeover``, ``client_no_context_takeover``
        compress each message for itself. Costs ratio; saves memory between messages, and
        keeps one message from being guessed at by the length of another.
    ``server_max_window_bits``, ``client_max_window_bits``
        the largest window of either end's messages, as a power of two: 8 to 15. No end can
        compress for 8: a server set so, or asked so, declines. A client with
        ``client_max_window_bits=None`` does not tell the server that it may set one.
    ``fallback``
        a client also offers, as its second choice, the extension without demands on the
        server. Otherwise a server that cannot meet them declines.

    Here only:

    ``level``
        1 (fast) to 9 (small); ``None`` is what suits the engine.
    ``mem_level``
        1 to 9: memory of zlib's compressor, some 2 ** (9 + mem_level) octets. One that has
        seen only short messages is content with 5.
    ``threshold``
        messages of fewer octets are sent uncompressed.
    ``engine``
        "isal", "zlib-ng" or "zlib"; ``None`` is what suits the messages, of those installed.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int | None = 15
    fallback: bool = False
    level: int | None = None
    mem_level: int = 8
    threshold: int = 64
    engine: str | None = None
    name: str = field(init=False, default="permessage-deflate")
    _shop: Workshop = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise :class:`LocalProtocolError` for settings that do not exist."""
        client_bits = 15 if self.client_max_window_bits is None else self.client_max_window_bits
        for what, value, least, most in (
            (_SERVER_BITS, self.server_max_window_bits, 8, 15),
            (_CLIENT_BITS, client_bits, 8, 15),
            ("level", 1 if self.level is None else self.level, 1, 9),
            ("mem_level", self.mem_level, 1, 9),
            ("threshold", self.threshold, 0, sys.maxsize),
        ):
            if not least <= value <= most:
                raise LocalProtocolError(f"{what} is {value}, not from {least} to {most}")
        shop = Workshop(
            compressing_engine(self.engine),
            brief_engine(self.engine),
            inflating_engine(self.engine),
            self.level,
            self.mem_level,
            self.threshold,
        )
        object.__setattr__(self, "_shop", shop)

    # The server.

    def negotiate(self, offers: Sequence[Parameters]) -> tuple[Parameters, Extension] | None:
        """Answer the first offer that can be met, or decline them all with ``None``."""
        # RFC 7692 §5: "the client may offer multiple PMCE choices to the server", and the
        # server takes them in the client's order of preference.
        for offer in offers:
            answer = _answer(self, tuple(offer))
            if answer is not None:
                parameters, server, client = answer
                return parameters, DeflateCoding(self._shop, send=server, receive=client)
        return None

    # The client.

    def offers(self) -> Sequence[Parameters]:
        """Return what a client with these settings offers.

        Raises :class:`LocalProtocolError` for a window that it could not compress for.
        """
        own_bits = self.client_max_window_bits
        if own_bits is not None and own_bits < MIN_COMPRESSING_BITS:
            raise LocalProtocolError(
                f"a client cannot compress for {_CLIENT_BITS}={own_bits}", rule="RFC 7692 §7.1.2.2"
            )
        demands: list[tuple[str, str | None]] = []
        if self.server_no_context_takeover:
            demands.append((_SERVER_TAKEOVER, None))
        if self.server_max_window_bits < 15:
            demands.append((_SERVER_BITS, str(self.server_max_window_bits)))
        about_itself: list[tuple[str, str | None]] = []
        if self.client_no_context_takeover:
            about_itself.append((_CLIENT_TAKEOVER, None))
        if own_bits is not None:
            about_itself.append((_CLIENT_BITS, None if own_bits == 15 else str(own_bits)))
        if demands and self.fallback:
            return [(*demands, *about_itself), tuple(about_itself)]
        return [(*demands, *about_itself)]

    def accept(self, parameters: Parameters) -> Extension:
        """Take a server's response.

        Raises :class:`RemoteProtocolError` if it answers none of :meth:`offers`.
        """
        response = _read_response(parameters)
        # RFC 7692 §7.1.1.1: "A server accepts an extension negotiation offer that includes the
        # "server_no_context_takeover" extension parameter by including [it] in the
        # corresponding extension negotiation response".
        demanding = not self.fallback  # the second choice demands nothing
        if demanding and self.server_no_context_takeover and _SERVER_TAKEOVER not in response:
            raise _bad_response(f"{_SERVER_TAKEOVER} was asked for, and not granted")
        # §7.1.2.1: "… by including the "server_max_window_bits" extension parameter in the
        # response … with the same or smaller value as the offer."
        server_bits = int(response.get(_SERVER_BITS) or 15)
        if demanding and server_bits > self.server_max_window_bits:
            most = self.server_max_window_bits
            raise _bad_response(f"{_SERVER_BITS} is {server_bits}, and {most} was the most")
        client_bits = self._accepted_client_bits(response)
        return DeflateCoding(
            self._shop,
            # §7.1.1.2: in a response "client_no_context_takeover" binds the client, asked for
            # or not; in an offer it is a hint that the client is free to act on.
            send=Direction(
                client_bits,
                not (self.client_no_context_takeover or _CLIENT_TAKEOVER in response),
            ),
            receive=Direction(server_bits, _SERVER_TAKEOVER not in response),
        )

    def _accepted_client_bits(self, response: dict[str, str | None]) -> int:
        own_bits = self.client_max_window_bits
        if _CLIENT_BITS not in response:
            return own_bits or 15
        # RFC 7692 §7.1.2.2: "If a received extension negotiation offer doesn't have the
        # "client_max_window_bits" extension parameter, the corresponding extension negotiation
        # response to the offer MUST NOT include [it]."
        if own_bits is None:
            raise _bad_response(f"{_CLIENT_BITS} was not offered")
        client_bits = int(response[_CLIENT_BITS] or 0)
        # "… with a value equal to or smaller than the value in the offer."
        if client_bits > own_bits:
            raise _bad_response(f"{_CLIENT_BITS} is {client_bits}, and {own_bits} was the most")
        return client_bits


@lru_cache(maxsize=64)
def _answer(
    settings: PermessageDeflate, parameters: Parameters
) -> tuple[Parameters, Direction, Direction] | None:
    """Answer one offer: the parameters of the response, the server's and the client's messages.

    Clients all send the same few offers, hence remembered.
    """
    # RFC 7692 §7: "A server MUST decline an extension negotiation offer for this extension if
    # any of the following conditions are met": an undefined parameter, an invalid value, a
    # repeated name, parameters "the server doesn't support".
    try:
        offer = _read(parameters, bare_client_bits=True)
    except RemoteProtocolError:
        return None
    # §7.1.2.1: an offer of "server_max_window_bits" is answered with the same or less.
    server_bits = min(int(offer.get(_SERVER_BITS) or 15), settings.server_max_window_bits)
    if server_bits < MIN_COMPRESSING_BITS:
        return None
    server_takeover = not (settings.server_no_context_takeover or _SERVER_TAKEOVER in offer)
    client_takeover = not (settings.client_no_context_takeover or _CLIENT_TAKEOVER in offer)
    # §7.1.2.2: the client's window can be limited only if it said that it knows how. If it
    # did not, it may use the largest; that can always be inflated, whatever is set here.
    client_bits = 15
    if _CLIENT_BITS in offer:
        wanted = settings.client_max_window_bits or 15
        client_bits = min(int(offer[_CLIENT_BITS] or 15), wanted)
    response: list[tuple[str, str | None]] = []
    if not server_takeover:
        response.append((_SERVER_TAKEOVER, None))
    if not client_takeover:
        response.append((_CLIENT_TAKEOVER, None))
    if _SERVER_BITS in offer or server_bits < 15:
        response.append((_SERVER_BITS, str(server_bits)))
    if client_bits < 15:
        response.append((_CLIENT_BITS, str(client_bits)))
    return (
        tuple(response),
        Direction(server_bits, server_takeover),
        Direction(client_bits, client_takeover),
    )


def _read_response(parameters: Parameters) -> dict[str, str | None]:
    # RFC 7692 §7: "A client MUST _Fail the WebSocket Connection_ if the peer server accepted
    # an extension negotiation offer for this extension with an extension negotiation response
    # meeting any of the following conditions": the same four.
    return _read(parameters, bare_client_bits=False)


def _read(parameters: Parameters, *, bare_client_bits: bool) -> dict[str, str | None]:
    """Return the parameters by name; raise for any that is unknown, repeated or malformed."""
    known: dict[str, str | None] = {}
    for name, value in parameters:
        if name not in _NAMES or name in known:
            raise _bad_response(f"{'repeated' if name in known else 'unknown'} {show(name)}")
        if name in (_SERVER_TAKEOVER, _CLIENT_TAKEOVER):
            valid = value is None
        elif value is None:
            valid = bare_client_bits and name == _CLIENT_BITS
        else:
            valid = _bits.fullmatch(value) is not None
        if not valid:
            shown = "without a value" if value is None else f"with the value {show(value)}"
            raise _bad_response(f"{name} {shown}")
        known[name] = value
    return known


def _bad_response(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"permessage-deflate: {text}", rule="RFC 7692 §7.1")
