"""Grammar of HTTP messages: each rule's ABNF, and the regular expression for it.

All patterns work on octets and are meant for ``fullmatch``: text is decoded only after an
element has been delimited (RFC 9112 §2.2). Where a pattern is stricter than the ABNF, the
comment says so and why.
"""

from __future__ import annotations

import re

__all__ = [
    "CHUNK_LINE",
    "CONTENT_LENGTH",
    "FIELD_VALUE",
    "HOST",
    "METHOD",
    "REASON",
    "STATUS",
    "TARGET",
    "TARGET_OCTETS",
    "TOKEN",
    "TOKEN_OCTETS",
    "VALUE_OCTETS",
    "VERSION",
]

# RFC 9110 §5.6.2:
#   token = 1*tchar
#   tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." /
#           "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
TOKEN_OCTETS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# RFC 9110 §9.1:  method = token
METHOD = TOKEN

# RFC 9110 §5.5:
#   field-value    = *field-content
#   field-content  = field-vchar [ 1*( SP / HTAB / field-vchar ) field-vchar ]
#   field-vchar    = VCHAR / obs-text
#   obs-text       = %x80-FF
# (surrounding whitespace is not part of the value and has been cut off before)
VALUE_OCTETS = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
FIELD_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")

# RFC 9112 §4:  reason-phrase = 1*( HTAB / SP / VCHAR / obs-text ), itself optional
REASON = re.compile(rb"[\t -~\x80-\xff]*")

# RFC 9112 §2.3:  HTTP-version = HTTP-name "/" DIGIT "." DIGIT;  HTTP-name = %s"HTTP"
VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")

# RFC 9112 §4:  status-code = 3DIGIT.  RFC 9110 §15 leaves 100–599 as the valid range.
STATUS = re.compile(rb"[1-5][0-9][0-9]")

# RFC 9112 §3.2: a request target holds no whitespace. Octets outside VCHAR and "#" (a
# fragment is never part of a target) are refused; the handful of visible characters that
# RFC 3986 excludes ('"<>\^`{|}') is let through, because browsers send some of them.
TARGET = re.compile(rb"[!-\"$-~]+")
TARGET_OCTETS = bytes(octet for octet in range(0x21, 0x7F) if octet != 0x23)

# RFC 9110 §8.6:  Content-Length = 1*DIGIT. Eighteen digits are what fits a signed
# 64-bit number with certainty: longer ones are refused, so that nothing can overflow.
CONTENT_LENGTH = re.compile(rb"[0-9]{1,18}")

# RFC 9112 §7.1, §7.1.1:
#   chunk-size = 1*HEXDIG
#   chunk-ext  = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
# An extension is not looked into, but it may not hold control characters; a size has at
# most 15 digits (it fits a signed 64-bit number).
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]*;[\t -~\x80-\xff]*)?")

# RFC 9110 §7.2:  Host = uri-host [ ":" port ]
# RFC 3986 §3.2.2:
#   host     = IP-literal / IPv4address / reg-name
#   reg-name = *( unreserved / pct-encoded / sub-delims )
# Without the comma of sub-delims: "a,b" is two Host lines that something has combined.
HOST = re.compile(
    rb"(\[[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})*)(?::([0-9]*))?"
)
