"""The Proxy-Status field: what went wrong at a proxy, for machines to read (RFC 9209)."""

from __future__ import annotations

import re

from switchover.errors import LocalProtocolError

__all__ = ["ERROR_TYPES", "proxy_status"]

#: Proxy error types of RFC 9209 §2.3 that tunnels come across.
ERROR_TYPES = frozenset(
    {
        "dns_timeout",
        "dns_error",
        "destination_not_found",
        "destination_unavailable",
        "destination_ip_prohibited",
        "destination_ip_unroutable",
        "connection_refused",
        "connection_terminated",
        "connection_timeout",
        "connection_limit_reached",
        "http_request_denied",
        "proxy_configuration_error",
        "proxy_internal_error",
        "proxy_loop_detected",
    }
)

# RFC 8941 §3.3.4:  sf-token = ( ALPHA / "*" ) *( tchar / ":" / "/" )
_sf_token = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")


def proxy_status(
    name: str = "switchover", *, error: str | None = None, details: str | None = None
) -> str:
    """Return the value of Proxy-Status for one proxy, called ``name``.

    ``error`` is a proxy error type, ``details`` a text for people, in ASCII. Raises
    :class:`LocalProtocolError` for what the field cannot hold.
    """
    if not _sf_token.fullmatch(name):
        raise LocalProtocolError(f"not a structured-field token: {name!r}", rule="RFC 9209 §2")
    value = name
    if error is not None:
        if error not in ERROR_TYPES:
            raise LocalProtocolError(f"not a proxy error type: {error!r}", rule="RFC 9209 §2.3")
        value += f"; error={error}"
    if details is not None:
        value += f"; details={_sf_string(details)}"
    return value


def _sf_string(text: str) -> str:
    # RFC 8941 §3.3.3:  sf-string = DQUOTE *chr DQUOTE; visible ASCII and space only.
    if not all(" " <= character <= "~" for character in text):
        raise LocalProtocolError("details are visible ASCII", rule="RFC 8941 §3.3.3")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
