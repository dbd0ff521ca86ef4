"""HTTP/2: what ``h2c``, a preface and ALPN ``h2`` become, for both ends.

Carries out RFC 9113, the Upgrade of RFC 7540 §3.2, extended CONNECT (RFC 8441) and HPACK
(RFC 7541). Sans-I/O: imports errors, http and upgrade, and nothing that waits or reads a
clock. Priorities are read and ignored (RFC 9113 §5.3), pushed responses are neither made nor
taken.
"""

from switchover.http2.client import ClientConnection
from switchover.http2.codes import ErrorCode, SettingCode
from switchover.http2.events import (
    ConnectionEvent,
    GoAway,
    SettingsReceived,
    StreamEvent,
    StreamReset,
    WindowOpened,
)
from switchover.http2.h2c import h2c_request, h2c_upgrade
from switchover.http2.limits import Limits
from switchover.http2.preface import PREFACE, PrefaceMatch, match_prefix
from switchover.http2.server import ServerConnection
from switchover.http2.settings import Settings

__all__ = [
    "PREFACE",
    "ClientConnection",
    "ConnectionEvent",
    "ErrorCode",
    "GoAway",
    "Limits",
    "PrefaceMatch",
    "ServerConnection",
    "SettingCode",
    "Settings",
    "SettingsReceived",
    "StreamEvent",
    "StreamReset",
    "WindowOpened",
    "h2c_request",
    "h2c_upgrade",
    "match_prefix",
]
