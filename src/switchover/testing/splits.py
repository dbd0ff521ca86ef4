"""The same octets in every segmentation: events must not depend on where TCP cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from switchover.http.events import Switched
from switchover.testing.pipes import Machine, one_octet

__all__ = ["Replayed", "every_split", "feed", "merged", "replay"]

M = TypeVar("M", bound=Machine)


@dataclass(slots=True)
class Replayed(Generic[M]):
    """What a machine made of octets that came in ``pieces``.

    ``events`` are merged (:func:`merged`), ``sent`` is everything it sent. If it switched,
    ``trailing_data`` is all that came behind the switch: what the event carried, and the
    pieces the machine was not given any more.
    """

    machine: M
    pieces: list[bytes]
    events: list[Any]
    sent: bytes
    trailing_data: bytes


def every_split(octets: bytes) -> Iterator[list[bytes]]:
    """Yield ``octets`` whole, cut once at each place, and one octet at a time."""
    yield [octets] if octets else []
    for place in range(1, len(octets)):
        yield [octets[:place], octets[place:]]
    if len(octets) > 2:
        yield list(one_octet(octets))


def feed(
    machine: M,
    pieces: Iterable[bytes],
    *,
    eof: bool = False,
    react: Callable[[M, Any], None] | None = None,
) -> Replayed[M]:
    """Give ``pieces`` to ``machine``, calling ``react`` with it and each event on the way.

    With ``eof`` the end follows, unless the machine has switched.
    """
    given = list(pieces)
    result = Replayed(machine, given, [], b"", b"")
    switched = _pump(result, react)
    for index, piece in enumerate(given):
        if switched:
            result.trailing_data += b"".join(given[index:])
            break
        machine.receive_data(piece)
        switched = _pump(result, react)
    if eof and not switched:
        machine.receive_eof()
        _pump(result, react)
    result.events = merged(result.events)
    return result


def _pump(result: Replayed[M], react: Callable[[M, Any], None] | None) -> bool:
    """Collect events until the machine has none left; return whether it switched."""
    machine, switched = result.machine, False
    while True:
        events = list(machine.events_received())
        result.sent += b"".join(machine.data_to_send())
        if not events:
            return switched
        for event in events:
            result.events.append(event)
            if isinstance(event, Switched):
                result.trailing_data += event.trailing_data
                switched = True
            if react is not None:
                react(machine, event)


def replay(
    make: Callable[[], M],
    octets: bytes,
    *,
    eof: bool = False,
    react: Callable[[M, Any], None] | None = None,
) -> Iterator[Replayed[M]]:
    """Feed ``octets`` to a new machine from ``make`` for every split of them.

    The first result is that of the whole; the rest should equal it in ``events``, ``sent``
    and ``trailing_data``.
    """
    for pieces in every_split(octets):
        yield feed(make(), pieces, eof=eof, react=react)


def merged(events: Iterable[Any]) -> list[Any]:
    """Join neighbouring events of one type that only carry ``data``; the rest stays.

    Where a stream of octets is cut into such events means nothing. The trailing data of a
    :class:`Switched` is left out: how much of it came with the switch depends on the cut.
    """
    result: list[Any] = []
    for event in events:
        if result and _is_data(event) and type(event) is type(result[-1]):
            result[-1] = type(event)(result[-1].data + event.data)
        elif isinstance(event, Switched):
            result.append(Switched(event.protocol, event.request, event.response, b""))
        else:
            result.append(event)
    return result


def _is_data(event: Any) -> bool:
    return getattr(event, "__match_args__", None) == ("data",)
