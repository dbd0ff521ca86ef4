"""The mechanism of RFC 9110 §7.8: offer, then select, decline or require, then switch.

Both ends, as functions over values: which requests are offers (:func:`examine`), what a
server can switch to (:class:`Registry` of :class:`Upgrade`), what it decides
(:func:`decide`), what it sends (:func:`switching_response`, :func:`required_response`,
:func:`advertise`), and for the client how to offer (:func:`offering_request`), check
(:func:`verify`) and react to 426 (:class:`UpgradeReaction`). Sections: RFC 9110 §7.6.1,
§7.8, §15.2.2, §15.5.22; RFC 8441 §4–5; RFC 9931 §5, §7. Knows no protocol by name; imports
nothing but ``errors`` and ``http``.
"""

from __future__ import annotations

from switchover.upgrade.client import (
    GiveUp,
    Retry,
    TunnelFirst,
    UpgradeReaction,
    fresh_request,
    may_repeat_unanswered,
    offered_tokens,
    offering_request,
    redirected,
    verify,
)
from switchover.upgrade.decisions import (
    Answer,
    Decision,
    Ordinary,
    Select,
    decide,
    switching_response,
)
from switchover.upgrade.offers import NoOffer, Offer, examine, offered, what_arrived
from switchover.upgrade.paths import PathPattern
from switchover.upgrade.registry import (
    Acceptance,
    Candidate,
    ContentRule,
    Policy,
    Registry,
    Upgrade,
    accept_plainly,
    check_early_data,
    client_order,
    server_order,
)
from switchover.upgrade.responses import advertise, required_response, switching_response_to
from switchover.upgrade.tokens import UpgradeToken

__all__ = [
    "Acceptance",
    "Answer",
    "Candidate",
    "ContentRule",
    "Decision",
    "GiveUp",
    "NoOffer",
    "Offer",
    "Ordinary",
    "PathPattern",
    "Policy",
    "Registry",
    "Retry",
    "Select",
    "TunnelFirst",
    "Upgrade",
    "UpgradeReaction",
    "UpgradeToken",
    "accept_plainly",
    "advertise",
    "check_early_data",
    "client_order",
    "decide",
    "examine",
    "fresh_request",
    "may_repeat_unanswered",
    "offered",
    "offered_tokens",
    "offering_request",
    "redirected",
    "required_response",
    "server_order",
    "switching_response",
    "switching_response_to",
    "verify",
    "what_arrived",
]
