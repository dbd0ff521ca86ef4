"""What connect-udp and connect-tcp share: a request to a template, capsules behind the 101.

RFC 9298 §3.2 to §3.5; draft-ietf-httpbis-connect-tcp asks for the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from switchover.errors import RemoteProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.uri import parse_url
from switchover.tunnel.capsules import (
    CAPSULE_PROTOCOL,
    check_capsule_request,
    check_capsule_response,
)
from switchover.tunnel.policy import DestinationPolicy
from switchover.tunnel.templates import ProxyTemplate
from switchover.upgrade.client import offering_request, verify
from switchover.upgrade.registry import Acceptance, Upgrade
from switchover.upgrade.tokens import UpgradeToken

__all__ = ["check_templated_response", "templated_request", "templated_upgrade"]


def templated_request(
    template: ProxyTemplate, token: str, host: str, port: int, *, fields: Fields | None = None
) -> Request:
    """Return the HTTP/1.1 request that asks the proxy of ``template`` for a destination.

    Raises :class:`LocalProtocolError` if the destination is none; nothing is sent then.
    """
    url = parse_url(template.expand(host, port))
    # RFC 9298 §3.2: method GET; "a single Host header field containing the origin of the
    # UDP proxy"; Connection: Upgrade; Upgrade: connect-udp.
    lines = Fields([("Host", url.authority)])
    for name, value in fields or ():
        lines.add(name, value)
    # RFC 9297 §3.4: endpoints that use capsules SHOULD send Capsule-Protocol.
    lines.set(*CAPSULE_PROTOCOL)
    request = Request("GET", url.target, lines, authority=url.authority)
    return offering_request(request, [token])


def check_templated_response(request: Request, response: Response, token: str) -> str:
    """Return ``token`` if ``response`` is exactly what opens such a tunnel.

    Raises :class:`RemoteProtocolError` for anything else, any final status included: the
    connection (over HTTP/2 the stream) is to be aborted then.
    """
    # RFC 9298 §3.3: 101, "a single Upgrade header field with a value of" the token, and the
    # rules for capsules; "If any of these requirements are not met by the response, the
    # client MUST treat this proxying attempt as failed and abort the connection."
    protocol = verify(request, response)
    check_capsule_response(response)
    if len(response.fields.get_all("upgrade")) > 1:
        raise RemoteProtocolError("more than one Upgrade field in the 101", rule="RFC 9298 §3.3")
    if not UpgradeToken.parse(protocol).matches(UpgradeToken.parse(token)):
        raise RemoteProtocolError(f"{protocol} is not {token}", rule="RFC 9298 §3.3")
    return protocol


def templated_upgrade(
    template: ProxyTemplate,
    token: str,
    *,
    policy: DestinationPolicy,
    successor: Any = None,
    authorize: Callable[[Request], Response | None] | None = None,
) -> Upgrade:
    """Return the registration of a proxy resource.

    ``authorize`` may answer a request instead (401, say) before its target is looked at. The
    state of the acceptance is the :class:`Authority` asked for, allowed by ``policy`` as far
    as that can be said without its addresses: resolve it, ask
    :meth:`DestinationPolicy.judge_addresses`, and dial, before the 101 is sent.
    """

    def prepare(request: Request, offered: UpgradeToken) -> Acceptance | Response:
        check_capsule_request(request)
        refusal = authorize(request) if authorize is not None else None
        if refusal is not None:
            return refusal
        target = template.read(request)
        verdict = policy.judge_target(target)
        if verdict is not None:
            return verdict.response(close=False)
        return Acceptance(Fields([CAPSULE_PROTOCOL]), state=target)

    return Upgrade(
        token=UpgradeToken.parse(token),
        predicate=template.matches,
        prepare=prepare,
        misfit=_misfit,
        required=True,
        successor=successor,
    )


def _misfit(request: Request, reason: str) -> Response | None:
    """Answer what was meant as a proxy request, and is not quite one; else ask for Upgrade."""
    # RFC 9298 §3.2: "A UDP proxying request that does not conform to these requirements
    # represents a malformed request", and the server answers with an error, 400 by default.
    meant = request.method != "GET" or "upgrade" in request.fields
    if not meant and "capsule-protocol" not in request.fields:
        return None
    return Response.text(400, f"This is no proxy request: {reason}.\n")
