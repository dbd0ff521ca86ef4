"""Extensions of a WebSocket connection: the interface, and how they are agreed (RFC 6455 §9).

An extension changes the payload of data frames and says with a reserved bit that it did.
permessage-deflate (:mod:`switchover.websocket.deflate`) is written against this interface
and has no other way in; a stranger's extension is treated just the same.

What an author writes:

1. a class that derives from :class:`Extension`: the two directions of one connection;
2. a :class:`ServerExtension` (``negotiate``), a :class:`ClientExtension` (``offers`` and
   ``accept``), or one object that is both; it holds the settings and is shared by all
   connections.

The order of agreement is the order of work: what the first extension in the response has
encoded is encoded by the next one (§9.1), and decoding goes the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, TypeAlias

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields

__all__ = [
    "ClientExtension",
    "Extension",
    "Offer",
    "Parameters",
    "ServerExtension",
    "accepted_extensions",
    "extension_offers",
    "format_extension",
    "negotiate",
    "offer_field",
    "parse_extensions",
]

FIELD = "Sec-WebSocket-Extensions"

#: The parameters of an extension in their order. A bare parameter has the value ``None``,
#: which is something else than its absence. A name may occur twice: that is the
#: extension's to judge.
Parameters: TypeAlias = Sequence[tuple[str, str | None]]

#: One member of ``Sec-WebSocket-Extensions``: the extension's name and its parameters.
Offer: TypeAlias = tuple[str, Parameters]


class Extension(Protocol):
    """An extension at work on one connection, for both directions.

    The machine calls ``encode`` and ``decode`` for each data frame (text, binary,
    continuation) in order, and never for control frames (§5.4: they may come in the middle of
    a message and are none of an extension's business). State is therefore kept by message:
    ``first`` and ``final`` say where in its message a frame stands.

    A message may be sent without asking an extension at all; its bits are then 0. So whoever
    decodes must expect messages that are not encoded.
    """

    __slots__ = ()

    #: The name it was negotiated under.
    name: str
    #: The reserved bits it may set, as they stand in a frame's first octet: 0x40 is RSV1,
    #: 0x20 RSV2, 0x10 RSV3. A frame with any other bit fails the connection.
    rsv: int

    def encode(self, data: bytes, *, text: bool, first: bool, final: bool) -> tuple[int, bytes]:
        """Return the reserved bits for this frame, and the payload to send in it."""
        ...

    def decode(
        self, data: bytes, *, rsv: int, first: bool, final: bool, max_size: int | None
    ) -> bytes:
        """Return what ``data``, the payload of a received frame, stands for.

        ``rsv`` are the frame's reserved bits, and ``max_size`` the octets that this message
        may still grow by (``None``: no limit). The limit holds while decoding, not after it:
        nothing larger may ever be in memory.

        Raises :class:`~switchover.errors.RemoteProtocolError`, whose ``close_code`` the
        connection fails with (1007 for payload that cannot be decoded, 1002 for a bit in the
        wrong place), and :class:`~switchover.errors.LimitExceeded` (1009).
        """
        ...

    def idle(self) -> bool:
        """Return whether it has had nothing to do since this was asked last.

        Whoever drives the connection asks from time to time, and calls :meth:`release` if so.
        ``True`` unless overridden.
        """
        return True

    def release(self) -> None:
        """Give back memory that can be made again: the connection has been idle for a while.

        Called between messages only, and again as long as nothing happens. Does nothing unless
        overridden.
        """


class ServerExtension(Protocol):
    """An extension a server is willing to use, with its settings."""

    @property
    def name(self) -> str:
        """The registered name (RFC 6455 §11.4), or one of the author's own."""
        ...

    def negotiate(self, offers: Sequence[Parameters]) -> tuple[Parameters, Extension] | None:
        """Answer a client's offers of this extension, its favourite first.

        Return the parameters of the response and the extension at work, or ``None`` to decline
        all of them. To decline is not to fail: the handshake goes on without the extension.
        """
        ...


class ClientExtension(Protocol):
    """An extension a client offers, with its settings."""

    @property
    def name(self) -> str:
        """The registered name (RFC 6455 §11.4), or one of the author's own."""
        ...

    def offers(self) -> Sequence[Parameters]:
        """Return the sets of parameters to offer, the favourite first; at least one."""
        ...

    def accept(self, parameters: Parameters) -> Extension:
        """Take the server's answer, and return the extension at work.

        Raises :class:`~switchover.errors.RemoteProtocolError` if the answer does not fit any
        of the offers; the handshake fails (RFC 6455 §9.1).
        """
        ...


# RFC 6455 §9.1:
#   Sec-WebSocket-Extensions = extension-list
#   extension-list    = 1#extension
#   extension         = extension-token *( ";" extension-param )
#   extension-token   = registered-token
#   registered-token  = token
#   extension-param   = token [ "=" (token | quoted-string) ]
#       ;When using the quoted-string syntax variant, the value
#       ;after quoted-string unescaping MUST conform to the 'token' ABNF.
# That grammar is RFC 2616's, which allows white space between any two of its parts.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t \x21\x23-\x5B\x5D-\x7E\x80-\xFF]|\\[\t \x21-\x7E\x80-\xFF])*"'
_token = re.compile(_TOKEN)
_name = re.compile(rf"[\t ]*({_TOKEN})[\t ]*(?=[;,]|\Z)")
_parameter = re.compile(
    rf";[\t ]*({_TOKEN})(?:[\t ]*=[\t ]*({_TOKEN}|{_QUOTED}))?[\t ]*(?=[;,]|\Z)"
)
_separator = re.compile(r",[\t ,]*|\Z")
_nothing_yet = re.compile(r"[\t ,]*")
_escaped = re.compile(r"\\(.)", re.DOTALL)

# Browsers send the same one or two values all day; no peer can fill much memory with these.
_REMEMBERED_LENGTH = 256


def parse_extensions(fields: Fields) -> Sequence[Offer]:
    """Return the members of ``Sec-WebSocket-Extensions``, all lines taken together.

    Raises :class:`RemoteProtocolError` if the value does not follow the grammar.
    """
    # RFC 6455 §11.3.2: the field "MAY appear multiple times in an HTTP request (which is
    # logically the same as a single … field that contains all values)". In a response it must
    # not, says the same section, and §4.2.2 says that it may: tolerated.
    values = fields.octets(FIELD)
    if not values:
        return ()
    octets = values[0] if len(values) == 1 else b", ".join(values)
    return _parse_remembered(octets) if len(octets) <= _REMEMBERED_LENGTH else _parse(octets)


def _parse(octets: bytes) -> tuple[Offer, ...]:
    value = octets.decode("latin-1")
    members: list[Offer] = []
    position = _match(_nothing_yet, value, 0).end()
    while position < len(value):
        name = _match(_name, value, position)
        position = name.end()
        parameters: list[tuple[str, str | None]] = []
        while value.startswith(";", position):
            parameter = _match(_parameter, value, position)
            parameters.append((parameter[1], _unquoted(value, parameter[2])))
            position = parameter.end()
        members.append((name[1], tuple(parameters)))
        position = _match(_separator, value, position).end()
    if not members:
        raise _malformed(value, 0)
    return tuple(members)


_parse_remembered = lru_cache(maxsize=64)(_parse)


def _match(pattern: re.Pattern[str], value: str, position: int) -> re.Match[str]:
    found = pattern.match(value, position)
    if found is None:
        raise _malformed(value, position)
    return found


def _unquoted(value: str, text: str | None) -> str | None:
    if text is None or not text.startswith('"'):
        return text
    plain = _escaped.sub(r"\1", text[1:-1])
    # RFC 6455 §9.1: "the value after quoted-string unescaping MUST conform to the 'token'"
    if _token.fullmatch(plain) is None:
        raise _malformed(value, value.index(text))
    return plain


def _malformed(value: str, position: int) -> RemoteProtocolError:
    # RFC 6455 §9.1: "If a value is received by either the client or the server during
    # negotiation that does not conform to the ABNF below, the recipient of such malformed data
    # MUST immediately _Fail the WebSocket Connection_."
    rest = show(value[position:], 40) if position < len(value) else "its end"
    return RemoteProtocolError(
        f"{FIELD} is malformed at {rest} (octet {position})", rule="RFC 6455 §9.1"
    )


def format_extension(name: str, parameters: Parameters) -> str:
    """Return an extension and its parameters as they go into the field.

    Raises :class:`LocalProtocolError` for what the grammar does not allow: an extension is not
    trusted to write the header.
    """
    parts = [name]
    for key, value in parameters:
        parts.append(key if value is None else f"{key}={value}")
        if _token.fullmatch(key) is None or not (value is None or _token.fullmatch(value)):
            raise LocalProtocolError(
                f"not a parameter of an extension: {parts[-1]!r}", rule="RFC 6455 §9.1"
            )
    if _token.fullmatch(name) is None:
        raise LocalProtocolError(f"not the name of an extension: {name!r}", rule="RFC 6455 §9.1")
    return "; ".join(parts)


def negotiate(
    offers: Sequence[Offer], available: Sequence[ServerExtension]
) -> tuple[tuple[Extension, ...], str | None]:
    """Choose a server's extensions: what was agreed, and the field's value (``None``: no field).

    Extensions are taken up in the client's order of preference. One whose reserved bits are
    taken already is declined.
    """
    if not offers or not available:
        return (), None
    agreed: list[Extension] = []
    answers: list[str] = []
    claimed = 0
    # RFC 6455 §9.1: "a server MUST NOT … use an extension that was not requested".
    by_name: dict[str, list[Parameters]] = {}
    for name, parameters in offers:
        by_name.setdefault(name, []).append(parameters)
    for name, wanted in by_name.items():
        for extension in available:
            if extension.name != name:
                continue
            answer = extension.negotiate(list(wanted))
            # RFC 7692 §5: two extensions must not use the same reserved bit.
            if answer is None or answer[1].rsv & claimed:
                continue
            parameters, agreeing = answer
            answers.append(format_extension(name, parameters))
            agreed.append(agreeing)
            claimed |= agreeing.rsv
            break  # RFC 7692 §5: one answer to an extension that was offered several times
    return tuple(agreed), ", ".join(answers) or None


def extension_offers(extensions: Sequence[ClientExtension]) -> list[Offer]:
    """Return what a client that has ``extensions`` offers, in its order.

    Raises :class:`LocalProtocolError` if one name occurs twice: its answers could not be told
    apart (an extension offers several sets of parameters through ``offers``).
    """
    names = [extension.name for extension in extensions]
    if len(set(names)) < len(names):
        raise LocalProtocolError(f"an extension is given twice: {names!r}", rule="RFC 6455 §9.1")
    return [(e.name, parameters) for e in extensions for parameters in e.offers()]


def offer_field(extensions: Sequence[ClientExtension]) -> str | None:
    """Return the value of the client's field, or ``None`` when there is nothing to offer."""
    offers = extension_offers(extensions)
    return ", ".join([format_extension(name, parameters) for name, parameters in offers]) or None


def accepted_extensions(
    fields: Fields, offered: Sequence[ClientExtension]
) -> tuple[Extension, ...]:
    """Return the extensions a server's response has agreed to, in their order of work.

    Raises :class:`RemoteProtocolError` for an answer that does not fit the offer.
    """
    by_name = {extension.name: extension for extension in offered}
    agreed: list[Extension] = []
    claimed = 0
    for name, parameters in parse_extensions(fields):
        # RFC 6455 §4.1: "If the response includes a |Sec-WebSocket-Extensions| header field
        # and this header field indicates the use of an extension that was not present in the
        # client's handshake …, the client MUST _Fail the WebSocket Connection_."
        extension = by_name.pop(name, None)
        if extension is None:
            twice = any(extension.name == name for extension in offered)
            why = "twice" if twice else "though it was not offered"
            raise RemoteProtocolError(f"extension {name} accepted {why}", rule="RFC 6455 §4.1")
        accepted = extension.accept(parameters)
        if accepted.rsv & claimed:
            raise RemoteProtocolError(
                f"extension {name} uses a reserved bit that another one has", rule="RFC 6455 §9.1"
            )
        agreed.append(accepted)
        claimed |= accepted.rsv
    return tuple(agreed)
