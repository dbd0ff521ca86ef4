"""TLS on the port you already have: both ends of RFC 2817.

The switch happens on a paused transport. No cleartext octet behind the switching request,
or behind the 101, is ever interpreted: with one the connection ends (the injections of
STARTTLS, and the desynchronisation of CVE-2025-49812, begin with such octets).
"""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
from collections.abc import Awaitable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.http1_client import HTTP1ClientProtocol
from switchover.asyncio.offers import ClientUpgrade, known
from switchover.asyncio.switching import Switching
from switchover.asyncio.tls import client_context, harden, start_tls
from switchover.asyncio.tls_inside import HTTP1InsideTLS, remember_server_name
from switchover.errors import LocalProtocolError, TLSSwitchFailed
from switchover.http.client import ClientConnection
from switchover.http.events import Switched
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection
from switchover.http.uri import URL
from switchover.upgrade.client import verify
from switchover.upgrade.registry import ContentRule, Upgrade
from switchover.upgrade.tokens import UpgradeToken

if TYPE_CHECKING:
    from switchover.asyncio.client_pool import ClientPool

__all__ = ["TLSUpgrade", "tls"]

logger = logging.getLogger("switchover.server")

#: RFC 2817 §3.3: the protocol inside the TLS of an upgrade is HTTP/1.1.
_LAYERS = ("HTTP/1.1",)
#: Named in a 426 and in an offer. The version is a label: RFC 8996 leaves TLS 1.2 and later,
#: whatever the token says.
_TOKEN = UpgradeToken("TLS", "1.2")


# The server.


def tls(
    context: ssl_module.SSLContext,
    *,
    required: Sequence[str] = (),
    splice_of_cve_2025_49812_accepted: bool = False,
) -> list[Upgrade]:
    """Let clients switch a cleartext connection to TLS (RFC 2817).

    ``context`` is a server's context; TLS 1.2 becomes its minimum and ``http/1.1`` its only
    ALPN protocol. The paths ``required`` (patterns as in :func:`token`) are served inside
    TLS only, and answer 426 in cleartext. A request with content is never switched, and one
    inside for another host than the client named in its handshake (SNI) is answered 421.

    A server that also speaks TLS from the first octet, with a certificate for the same name,
    lets a man in the middle splice an upgrade in front of a client's own TLS: the client then
    takes the answer to another request for its own (CVE-2025-49812). :class:`Server` refuses
    to listen so, unless ``splice_of_cve_2025_49812_accepted``.
    """
    _prepare(context)
    successor = TLSSuccessor(context, pair_accepted=splice_of_cve_2025_49812_accepted)

    def registration(path: str | None) -> Upgrade:
        return Upgrade(
            token=_TOKEN,
            matcher=_is_tls,
            path=path,
            methods=None,
            # RFC 9931 §7.1; a body must never be read as a ClientHello (TLS-15).
            content=ContentRule.DECLINE,
            early_data_fatal=True,
            answers_inside=True,
            layers_above=_LAYERS,
            required=path is not None,
            # RFC 2817 §3: an upgrade of what is under TLS already makes no sense.
            secure=False,
            extended_connect=False,
            successor=successor,
        )

    return [*(registration(path) for path in required), registration(None)]


def _prepare(context: ssl_module.SSLContext) -> None:
    harden(context)
    # With h2 inside, the "HTTP/1.1" of the 101 would be a lie.
    context.set_alpn_protocols(["http/1.1"])
    remember_server_name(context)


def _is_tls(token: UpgradeToken) -> bool:
    return token.name.lower() == "tls"


class TLSSuccessor:
    """Starts TLS on a connection, and HTTP/1.1 inside it with the answer that is owed."""

    def __init__(self, context: ssl_module.SSLContext, *, pair_accepted: bool) -> None:
        self._context = context
        self._pair_accepted = pair_accepted

    def check_tls_listener(self, context: ssl_module.SSLContext) -> None:
        """Refuse a listener that speaks TLS from the first octet, beside this upgrade."""
        if not self._pair_accepted:
            raise LocalProtocolError(
                "a server with the TLS upgrade does not listen for TLS from the first octet too:"
                " the two together are open to CVE-2025-49812",
                rule="RFC 2817 §8",
            )

    def attach(self, switching: Switching, transport: asyncio.Transport) -> None:
        """Take the connection over; nothing more is read in cleartext."""
        transport.pause_reading()
        loop = asyncio.get_running_loop()
        inside = HTTP1InsideTLS(
            switching.server,
            loop,
            machine=ServerConnection.answering(
                switching.request,
                limits=switching.server.settings.limits,
                date=switching.server.date,
                server_name=switching.server.settings.server_name,
            ),
            chain=(*switching.facts.chain, switching.protocol, *_LAYERS),
        )
        switching.server.enlist(inside, transport)
        switching.server.spawn(self._handshake(switching, transport, inside), loop)

    async def _handshake(
        self, switching: Switching, transport: asyncio.Transport, inside: HTTP1InsideTLS
    ) -> None:
        timeout = switching.server.settings.timeouts.tls_handshake
        try:
            protected = await start_tls(
                transport, inside, self._context, server_side=True, handshake_timeout=timeout
            )
        except (OSError, TimeoutError) as error:
            # RFC 2817 §3.3 and RFC 8446 §6.2: a failed handshake ends the connection.
            logger.info(
                "%s: the TLS handshake after the 101 failed: %s",
                switching.facts.peername,
                error or type(error).__name__,
            )
            switching.server.dismiss(inside)
        except BaseException:
            switching.server.dismiss(inside)
            raise
        else:
            inside.connection_made(protected)


# The client.


class TLSUpgrade(ClientUpgrade):
    """Offers TLS on a cleartext connection; HTTP/1.1 goes on inside (RFC 2817 §3.1).

    ``context`` is the client's context (by default the one of the client's route, or one that
    verifies); ``server_hostname`` replaces the host of the URL, which the certificate must
    name. ``tokens`` are what is offered.

    The 101 of cupsd, the server most often met, names no upgrade option in Connection and
    lists several versions. Both are tolerated, for TLS only: the handshake that follows
    proves the peer's intention, and its identity.
    """

    def __init__(
        self,
        context: ssl_module.SSLContext | None = None,
        *,
        tokens: Sequence[str] = ("TLS/1.2",),
        server_hostname: str | None = None,
        handshake_timeout: float | None = 10.0,
    ) -> None:
        self.tokens = tuple(str(UpgradeToken.parse(token)) for token in tokens)
        self._context = context
        self._server_hostname = server_hostname
        self._timeout = handshake_timeout

    def check(self, request: Request, response: Response) -> str:
        return verify(
            request,
            response,
            layers=_LAYERS,
            tolerate_missing_option=True,
            tolerate_version_list=True,
        )

    def switched(
        self, event: Switched, driver: HTTP1ClientProtocol, pool: ClientPool, url: URL
    ) -> Awaitable[ClientResponse]:
        driver.transport.pause_reading()
        return self._handshake(event, driver, pool, url)

    async def _handshake(
        self, event: Switched, driver: HTTP1ClientProtocol, pool: ClientPool, url: URL
    ) -> ClientResponse:
        transport = driver.transport
        if event.trailing_data:
            transport.abort()
            raise _failed(event, "the server sent octets in cleartext behind its 101")
        inside = HTTP1ClientProtocol(
            machine=ClientConnection.awaiting(event.request, limits=pool.limits),
            chain=(*driver.facts.chain, *_LAYERS),
        )
        try:
            protected = await start_tls(
                transport,
                inside,
                self._context or pool.route.ssl or default_upgrade_context(),
                server_side=False,
                server_hostname=self._server_hostname or pool.route.server_hostname or url.host,
                handshake_timeout=self._timeout,
            )
        except (OSError, TimeoutError) as error:
            raise _failed(event, str(error) or type(error).__name__) from error
        _check_alpn(event, protected)
        inside.requests = 1
        inside.connection_made(protected)
        pool.keep_account(inside)
        # RFC 2817 §3.3: the first thing inside is the answer to the request that asked.
        answer = await inside.response()
        if isinstance(answer, Switched):  # nothing was offered inside
            inside.abort()
            raise _failed(event, "the answer inside TLS is another 101")
        return ClientResponse(
            event.request,
            answer,
            pool.borrow(url, inside, protected=True),
            protocol=event.protocol,
        )


def _failed(event: Switched, cause: str) -> TLSSwitchFailed:
    return TLSSwitchFailed(
        "the connection could not be switched to TLS",
        request=event.request,
        response=event.response,
        rule="RFC 2817 §3.3",
        cause=cause,
    )


def _check_alpn(event: Switched, protected: asyncio.Transport) -> None:
    """Fail unless ALPN agrees with the 101, which said that HTTP/1.1 is inside."""
    selected = protected.get_extra_info("ssl_object").selected_alpn_protocol()
    if selected not in (None, "http/1.1"):
        protected.abort()
        raise _failed(event, f"ALPN selected {selected}, where the 101 named HTTP/1.1")


@cache
def default_upgrade_context() -> ssl_module.SSLContext:
    """Return a context that verifies, with TLS 1.2 at least and no ALPN but ``http/1.1``."""
    return client_context()


def _known_tls(token: UpgradeToken) -> ClientUpgrade:
    return TLSUpgrade(tokens=(str(token),))


known["tls"] = _known_tls
