"""``switch()``: offer protocols on a connection of its own, and use the one selected."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from switchover.asyncio.client import Client
from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.content import Content
from switchover.asyncio.offers import ClientUpgrade
from switchover.upgrade.tokens import UpgradeToken

__all__ = ["switch"]


class switch:  # used like a function, as ``open`` is
    """Offer protocols to the server of ``url`` and use the one it selects.

    ``offer`` lists upgrade tokens, the preferred one first. The request is a GET without
    content unless ``method`` and ``content`` say otherwise; ``options`` are those of
    :class:`~switchover.Client` and the ``fields`` of the request::

        async with switchover.switch("http://localhost/shout", offer=["shout/1"]) as switched:
            if switched.protocol:                      # "shout/1"; None if declined
                await switched.tunnel.send(b"hello")
            else:
                print(switched.response.status)        # the ordinary answer

    With ``await switch(…)`` the caller closes the result. ``required=True`` raises
    :class:`SwitchDeclined` (:class:`UpgradeRequired` for 426) if the server declines.
    """

    def __init__(
        self,
        url: str,
        *,
        offer: Sequence[str | UpgradeToken | ClientUpgrade],
        method: str = "GET",
        content: Content = None,
        fields: Any = (),
        required: bool = False,
        **options: Any,
    ) -> None:
        self._url = url
        self._offer = offer
        self._method = method
        self._content = content
        self._fields = fields
        self._required = required
        self._client = Client(**options)
        self._answer: ClientResponse | None = None

    def __await__(self) -> Generator[Any, None, ClientResponse]:
        return self._switch().__await__()

    async def _switch(self) -> ClientResponse:
        try:
            answer = await self._client.request(
                self._method,
                self._url,
                fields=self._fields,
                content=self._content,
                offer=self._offer,
            )
            if self._required:
                answer.raise_for_switch()
        except BaseException:
            await self._client.close()
            raise
        if answer.tunnel is not None:
            self._client.pool.release(answer.tunnel)
        elif answer.protocol is None:
            await self._client.close()
        return answer

    async def __aenter__(self) -> ClientResponse:
        self._answer = await self._switch()
        return self._answer

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        tunnel = self._answer.tunnel if self._answer is not None else None
        if tunnel is not None and exc_type is not None:
            tunnel.abort()
        elif tunnel is not None:
            await tunnel.close()
        await self._client.close()
