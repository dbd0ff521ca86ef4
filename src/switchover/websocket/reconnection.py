"""When to connect again, and when to give up (RFC 6455 §7.2.3).

The arithmetic is :class:`Backoff`, what is worth another attempt is :func:`is_transient`, and
:class:`Reconnection` remembers how it has been going. Clock and chance come from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from switchover.errors import RemoteProtocolError, SwitchDeclined, SwitchError
from switchover.http.retry_after import retry_after

__all__ = ["Backoff", "ReconnectPolicy", "Reconnection", "is_transient"]

#: Client errors that say "later", not "never": 408 Request Timeout, 425 Too Early, 429 Too
#: Many Requests (RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4).
_LATER = frozenset({408, 425, 429})
#: Server errors that will be the same next time: Not Implemented, HTTP Version Not Supported.
_NEVER = frozenset({501, 505})


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before connecting again, in seconds.

    The first delay is anything up to ``first``; each later one lies in a range ``factor``
    times as high, until ``longest`` is reached. Every delay is a random one, so that the
    clients of a server that has failed do not come back all at once.
    """

    first: float = 5.0
    factor: float = 2.0
    longest: float = 60.0

    def __post_init__(self) -> None:
        if not (0 <= self.first <= self.longest and self.factor >= 1):
            raise ValueError("a backoff starts between 0 and its longest delay, and grows")

    def delay(self, attempt: int, fraction: float) -> float:
        """Return the delay before attempt ``attempt``, counted from 0.

        ``fraction``, between 0 and 1, is the random part.
        """
        if attempt == 0:
            # RFC 6455 §7.2.3: "the first reconnect attempt SHOULD be delayed by a random
            # amount of time. … A value chosen randomly between 0 and 5 seconds is a
            # reasonable initial delay".
            return fraction * self.first
        # "subsequent reconnect attempts SHOULD be delayed by increasingly longer amounts of
        # time, using a method such as truncated binary exponential backoff."
        highest = min(self.longest, self.first * self._power(attempt))
        lowest = highest / self.factor
        return lowest + fraction * (highest - lowest)

    def _power(self, attempt: int) -> float:
        try:
            return float(self.factor**attempt)
        except OverflowError:
            return math.inf if self.first else 1.0


def is_transient(error: Exception) -> bool:
    """Whether a failed attempt to connect is worth another one.

    It is if the network failed, nobody answered in time, or the server says that it will do
    better later: 408, 425, 429, and 5xx but for 501 and 505. It is not if the server refused
    for good, answered nonsense, or could not prove who it is.
    """
    if isinstance(error, SwitchDeclined) and error.response is not None:
        status = error.response.status
        return status in _LATER or (500 <= status <= 599 and status not in _NEVER)
    if isinstance(error, SwitchError):
        return False
    if isinstance(error, RemoteProtocolError):
        # RFC 9112 §8: an incomplete message. The server went away while it answered.
        return error.rule == "RFC 9112 §8"
    # A certificate that does not verify is a ValueError besides being an OSError.
    return isinstance(error, OSError) and not isinstance(error, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """How long to keep trying. Times are in seconds, ``None`` means for ever."""

    backoff: Backoff = field(default_factory=Backoff)
    #: Says of a failed attempt's error whether there should be another attempt.
    retry: Callable[[Exception], bool] = is_transient
    #: Attempts that fail one after the other.
    max_attempts: int | None = None
    #: From the first of them to the last.
    max_time: float | None = None
    #: A connection that has been open for so long was a good one: the backoff starts anew.
    stable_after: float = 30.0
    #: A server that wants to be left alone for longer is taken at its word.
    max_retry_after: float = 3600.0


class Reconnection:
    """How connecting to one server has been going, and when it is tried next.

    ``clock`` tells the time in seconds from any origin; ``random`` returns a number between 0
    and 1. Tell it what happens (:meth:`opened`, :meth:`ended`, :meth:`failed`), and wait
    ``delay`` seconds before the next attempt.
    """

    def __init__(
        self,
        policy: ReconnectPolicy,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random
        self._round = 0  # of the backoff
        self._failures = 0
        self._good = clock()  # the last time all was well
        self._opened = 0.0
        #: Seconds to wait before the next attempt; none before the first.
        self.delay = 0.0

    def opened(self) -> None:
        """Take note that an attempt succeeded."""
        self._opened = self._clock()
        self._failures = 0

    def ended(self) -> None:
        """Take note that the connection has ended; sets :attr:`delay`."""
        self._good = self._clock()
        if self._good - self._opened >= self._policy.stable_after:
            self._round = 0
        self._wait(0.0)

    def failed(self, error: Exception) -> None:
        """Take note that an attempt failed; sets :attr:`delay`, or raises ``error`` to give up."""
        self._failures += 1
        if not self._policy.retry(error):
            raise error
        response = error.response if isinstance(error, SwitchError) else None
        asked = (retry_after(response) if response is not None else None) or 0.0
        self._wait(asked)
        if asked > self._policy.max_retry_after:
            self._give_up(error, f"the server asks to be left alone for {asked:.0f} s")
        attempts, seconds = self._policy.max_attempts, self._policy.max_time
        if attempts is not None and self._failures >= attempts:
            self._give_up(error, f"gave up after {self._failures} attempts")
        if seconds is not None and self._clock() + self.delay - self._good > seconds:
            self._give_up(error, f"gave up: no connection within {seconds:g} s")

    def _wait(self, at_least: float) -> None:
        backoff = self._policy.backoff.delay(self._round, self._random())
        self.delay = max(backoff, at_least)
        self._round += 1

    def _give_up(self, error: Exception, why: str) -> None:
        error.add_note(why)
        raise error
