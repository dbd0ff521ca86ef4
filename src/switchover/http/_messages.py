# cython: nonecheck=True
"""Requests and responses as values (RFC 9110 §6).

This file runs as it stands, and is compiled as ``_messages_c`` with the C types of
``_messages_c.pxd``. Choose through ``switchover.http.messages``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from switchover.http.fields import Fields
from switchover.http.values import equal, shown

__all__ = ["Request", "Response"]


class Request:
    """The head of a request.

    ``target`` is the request target as it stands in the request line (RFC 9112 §3.2).
    ``version`` is "1.0", "1.1" or "2". ``scheme`` is that of the connection. ``authority``
    is the host, with the port if one is named, that the request is for: from the target if
    that names one, else from Host. ``protocol`` is the ``:protocol`` of an extended CONNECT
    request (RFC 8441 §4), ``None`` in HTTP/1.
    """

    __match_args__ = ("method", "target", "fields", "version", "scheme", "authority", "protocol")
    __slots__ = __match_args__

    method: str
    target: str
    fields: Fields
    version: str
    scheme: str
    authority: str
    protocol: str | None

    def __init__(
        self,
        method: str,
        target: str,
        fields: Fields | None = None,
        version: str = "1.1",
        scheme: str = "http",
        authority: str = "",
        protocol: str | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.fields = Fields() if fields is None else fields
        self.version = version
        self.scheme = scheme
        self.authority = authority
        self.protocol = protocol

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a value that can be changed

    def __repr__(self) -> str:
        return shown(self)

    @property
    def path(self) -> str:
        """The path of the target URI without the query; "*" for the asterisk form.

        Empty for a CONNECT request in authority form, which has no path.
        """
        return self._path_and_query()[0]

    @property
    def query(self) -> str:
        """The query of the target URI without its question mark; empty if there is none."""
        return self._path_and_query()[1]

    def _path_and_query(self) -> tuple[str, str]:
        target = self.target
        if not target.startswith("/"):
            if target == "*":
                return "*", ""
            if self.method == "CONNECT" and self.protocol is None:
                return "", ""
            # absolute-form: scheme "://" authority path-abempty [ "?" query ]
            rest = target.partition("://")[2]
            start = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=-1)
            target = rest[start:] if start >= 0 else ""
        path, _, query = target.partition("?")
        return path or "/", query

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 (Continue) before it sends content."""
        # RFC 9110 §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0
        # request MUST ignore that expectation."
        if self.version == "1.0" or "Expect" not in self.fields:
            return False
        return any(member.lower() == "100-continue" for member in self.fields.members("Expect"))

    @property
    def has_content(self) -> bool:
        """Whether the framing fields announce content: more than nothing, or chunked."""
        fields = self.fields
        if fields.octets("Transfer-Encoding"):
            return True
        return bool(fields.octets("Content-Length")) and bool(fields["Content-Length"].strip("0"))


class Response:
    """The head of a response, and its content where that is known whole.

    ``reason`` is only what stands on the wire; an empty one is written as the usual phrase.
    """

    __match_args__ = ("status", "fields", "reason", "version", "content")
    __slots__ = __match_args__

    status: int
    fields: Fields
    reason: str
    version: str
    content: bytes

    def __init__(
        self,
        status: int,
        fields: Fields | None = None,
        reason: str = "",
        version: str = "1.1",
        content: bytes = b"",
    ) -> None:
        self.status = status
        self.fields = Fields() if fields is None else fields
        self.reason = reason
        self.version = version
        self.content = content

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a value that can be changed

    def __repr__(self) -> str:
        return shown(self)

    @classmethod
    def text(
        cls,
        status: int,
        text: str,
        fields: Iterable[tuple[str, str]] | Mapping[str, str] | Fields = (),
    ) -> Response:
        """Return a complete ``text/plain`` response that a person can read.

        Raises ``LocalProtocolError`` for invalid ``fields``.
        """
        content = text.encode()
        all_fields = Fields(fields)
        all_fields.set("Content-Type", "text/plain; charset=utf-8")
        all_fields.set("Content-Length", str(len(content)))
        return cls(status, all_fields, content=content)
