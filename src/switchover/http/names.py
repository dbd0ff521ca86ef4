"""Names of fields in the spellings that clients and servers really send (RFC 9110 §16.3.1).

The table is fixed, so no peer can make it grow, and the messages of all connections share
these few objects.
"""

from __future__ import annotations

__all__ = ["LOWER_NAMES"]

_USUAL = b"""
Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Age Allow ALPN Authorization
Cache-Control Connection Content-Disposition Content-Encoding Content-Language Content-Length
Content-Location Content-Range Content-Type Cookie Date DNT ETag Expect Expires Forwarded Host
HTTP2-Settings If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since Keep-Alive
Last-Modified Link Location Origin Pragma Priority Proxy-Authenticate Proxy-Authorization Range
Referer Retry-After Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode
Sec-Fetch-Site Sec-Fetch-User Sec-WebSocket-Accept Sec-WebSocket-Extensions Sec-WebSocket-Key
Sec-WebSocket-Protocol Sec-WebSocket-Version Server Set-Cookie TE Trailer Transfer-Encoding
Upgrade Upgrade-Insecure-Requests User-Agent Vary Via WWW-Authenticate X-Forwarded-For
X-Forwarded-Host X-Forwarded-Proto X-Real-IP X-Request-ID X-Requested-With
"""

#: From each spelling (as registered, in lower case, with capitals) to the lower case.
LOWER_NAMES: dict[bytes, bytes] = {}
for _name in _USUAL.split():
    _lower = _name.lower()
    for _spelling in (_lower, _name, _name.title()):
        LOWER_NAMES[_spelling] = _lower
