"""Every exception that switchover raises.

The whole tree::

    SwitchoverError
    ├── ProtocolError                  a rule of a protocol was broken; knows the rule
    │   ├── LocalProtocolError         by the caller: nothing was written
    │   └── RemoteProtocolError        by the peer: knows the status or close code to answer with
    │       └── LimitExceeded          the peer sent more than a limit allows
    ├── SwitchError                    an upgrade did not come about; carries request and response
    │   ├── SwitchDeclined             the peer gave an ordinary final response instead
    │   │   ├── UpgradeRequired        … and it was 426: the resource insists on another protocol
    │   │   ├── HandshakeRejected      … to a WebSocket opening handshake
    │   │   └── ProxyRefused           … to the CONNECT request, by the proxy
    │   ├── InvalidSwitch              the 101 does not fit the offer
    │   │   └── InvalidHandshake       … or fails the WebSocket opening handshake
    │   └── TLSSwitchFailed            the TLS handshake after the 101 failed
    ├── ConnectionClosed               a WebSocket connection has ended
    │   ├── ConnectionClosedOK         with 1000 or 1001 on both sides
    │   └── ConnectionClosedError      any other way
    ├── TunnelError
    │   ├── TunnelClosed               the local end was closed already
    │   └── TunnelBroken               the connection was lost before the peer's end of data
    ├── Disconnected                   the peer left before the exchange was over (also a
    │                                  ConnectionError)
    └── DeadlineExceeded               a time limit passed (also a TimeoutError)

An error names what was seen, the rule it offends (RFC and section) and, where it is
known, the likely cause, so that a person can act on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from switchover.http.messages import Request, Response

__all__ = [
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DeadlineExceeded",
    "Disconnected",
    "HandshakeRejected",
    "InvalidHandshake",
    "InvalidSwitch",
    "LimitExceeded",
    "LocalProtocolError",
    "ProtocolError",
    "ProxyRefused",
    "RemoteProtocolError",
    "SwitchDeclined",
    "SwitchError",
    "SwitchoverError",
    "TLSSwitchFailed",
    "TunnelBroken",
    "TunnelClosed",
    "TunnelError",
    "UpgradeRequired",
]


class SwitchoverError(Exception):
    """Root of everything raised on purpose by switchover."""


class ProtocolError(SwitchoverError):
    """A rule of a protocol was broken.

    ``rule`` is where the rule stands, for example ``"RFC 9112 §6.3"``; it may be empty
    for a policy of this library.
    """

    def __init__(self, message: str, *, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.rule})" if self.rule else message


class LocalProtocolError(ProtocolError):
    """The caller asked for something the protocol forbids. Nothing was written."""


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule.

    ``status`` is the HTTP status a server answers with while it still speaks HTTP;
    ``close_code`` is the WebSocket close code for it.
    """

    def __init__(
        self, message: str, *, rule: str = "", status: int = 400, close_code: int = 1002
    ) -> None:
        super().__init__(message, rule=rule)
        self.status = status
        self.close_code = close_code


class LimitExceeded(RemoteProtocolError):
    """The peer sent more than a configured limit allows."""


class SwitchError(SwitchoverError):
    """An upgrade that was asked for did not come about.

    ``request`` is what was sent, ``response`` what came back (``None`` if nothing did),
    ``rule`` the clause that was broken, ``cause`` the likely reason in plain words.
    """

    def __init__(
        self,
        message: str,
        *,
        request: Request | None = None,
        response: Response | None = None,
        rule: str = "",
        cause: str = "",
    ) -> None:
        super().__init__(message)
        self.request = request
        self.response = response
        self.rule = rule
        self.cause = cause

    def __str__(self) -> str:
        message = super().__str__()
        if self.rule:
            message = f"{message} ({self.rule})"
        return f"{message}: {self.cause}" if self.cause else message


class SwitchDeclined(SwitchError):
    """The peer answered with an ordinary final response instead of switching."""


class UpgradeRequired(SwitchDeclined):
    """The peer answered 426: the resource is served only over another protocol."""


class HandshakeRejected(SwitchDeclined):
    """The server refused a WebSocket opening handshake with an HTTP response."""


class ProxyRefused(SwitchDeclined):
    """The proxy refused the CONNECT request."""


class InvalidSwitch(SwitchError):
    """The peer's 101 does not fit the offer (RFC 9110 §7.8)."""


class InvalidHandshake(InvalidSwitch):
    """The peer's part of the WebSocket opening handshake is wrong (RFC 6455 §4)."""


class TLSSwitchFailed(SwitchError):
    """The TLS handshake that follows the 101 failed (RFC 2817 §3.3)."""


class ConnectionClosed(SwitchoverError):
    """A WebSocket connection has ended.

    ``code`` and ``reason`` are what RFC 6455 §7.1.5 and §7.1.6 define: those of the first
    Close frame received, 1005 if it had no code, 1006 if no Close frame came. ``sent_code``
    and ``sent_reason`` are what this end sent (``None`` if it sent no Close frame).
    """

    def __init__(
        self,
        code: int,
        reason: str = "",
        *,
        sent_code: int | None = None,
        sent_reason: str = "",
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.sent_code = sent_code
        self.sent_reason = sent_reason

    def __str__(self) -> str:
        received = f"received {self.code}" if self.code != 1006 else "no close frame received"
        if self.reason:
            received = f"{received} ({self.reason})"
        if self.sent_code is None:
            return f"{received}; sent none"
        sent = f"sent {self.sent_code}"
        return (
            f"{received}; {sent} ({self.sent_reason})"
            if self.sent_reason
            else f"{received}; {sent}"
        )


class ConnectionClosedOK(ConnectionClosed):
    """The WebSocket connection ended normally (1000 or 1001)."""


class ConnectionClosedError(ConnectionClosed):
    """The WebSocket connection ended with an error code, or without a Close frame."""


class TunnelError(SwitchoverError):
    """Root of the errors of an octet tunnel."""


class TunnelClosed(TunnelError):
    """The local end of the tunnel was closed already."""


class TunnelBroken(TunnelError):
    """The connection was lost before the peer had ended its data."""


class Disconnected(SwitchoverError, ConnectionError):
    """The peer left before the exchange was over. Also an ``OSError``, as ASGI asks."""


class DeadlineExceeded(SwitchoverError, TimeoutError):
    """A time limit passed. ``phase`` says which, ``seconds`` how long it was."""

    def __init__(self, phase: str, seconds: float) -> None:
        super().__init__(f"{phase} took longer than {seconds:g} s")
        self.phase = phase
        self.seconds = seconds
