"""RFC 6455 §7.2.3: when to connect again, and when to give up."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import (
    DeadlineExceeded,
    Disconnected,
    HandshakeRejected,
    InvalidHandshake,
    LocalProtocolError,
    ProxyRefused,
    RemoteProtocolError,
    UpgradeRequired,
)
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.http.retry_after import parse_date, retry_after
from switchover.websocket.reconnection import (
    Backoff,
    Reconnection,
    ReconnectPolicy,
    is_transient,
)

FRACTION = st.floats(0, 1)


def refusal(status: int, *fields: tuple[str, str]) -> HandshakeRejected:
    return HandshakeRejected("no", response=Response(status, Fields(fields)))


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def state(
    policy: ReconnectPolicy | None = None, fraction: float = 0.5
) -> tuple[Reconnection, Clock]:
    clock = Clock()
    policy = policy or ReconnectPolicy()
    return Reconnection(policy, clock=clock, random=lambda: fraction), clock


# The arithmetic.


@given(FRACTION)
def test_the_first_delay_is_any_up_to_five_seconds(fraction: float) -> None:
    """WS-C-13, RFC 6455 §7.2.3: a random first delay between 0 and 5 seconds."""
    assert Backoff().delay(0, fraction) == 5 * fraction


@given(st.integers(1, 3), FRACTION, FRACTION)
def test_later_delays_grow_whatever_chance_says(attempt: int, one: float, other: float) -> None:
    """WS-C-13: increasingly longer delays: each range begins where the one before ended."""
    backoff = Backoff()
    assert backoff.delay(attempt - 1, one) <= backoff.delay(attempt, other)


@given(
    st.floats(0, 100),
    st.floats(1, 10),
    st.floats(100, 1e6),
    st.integers(0, 10_000),
    FRACTION,
)
def test_delays_stay_within_bounds(
    first: float, factor: float, longest: float, attempt: int, fraction: float
) -> None:
    backoff = Backoff(first=first, factor=factor, longest=longest)
    assert 0 <= backoff.delay(attempt, fraction) <= longest * 1.000001
    assert backoff.delay(attempt, 0) <= backoff.delay(attempt + 1, 0) * 1.000001
    assert backoff.delay(attempt, 1) <= backoff.delay(attempt + 1, 1) * 1.000001


def test_chance_is_in_every_delay() -> None:
    """WS-C-13: the clients of a server that failed do not come back all at once."""
    for attempt in range(20):
        assert Backoff().delay(attempt, 0) < Backoff().delay(attempt, 1)


@pytest.mark.parametrize("wrong", [{"first": -1}, {"factor": 0.5}, {"first": 10, "longest": 5}])
def test_a_backoff_that_does_not_grow_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Backoff(**wrong)


# What is worth another attempt.


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        OSError("network unreachable"),
        Disconnected("gone"),
        DeadlineExceeded("opening", 10),
        TimeoutError(),
        RemoteProtocolError("connection ended before the response", rule="RFC 9112 §8"),
        *(refusal(status) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        ProxyRefused("busy", response=Response(503)),
    ],
    ids=repr,
)
def test_worth_another_attempt(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        *(refusal(status) for status in (200, 301, 400, 401, 403, 404, 410, 501, 505, 600)),
        UpgradeRequired("426", response=Response(426)),
        InvalidHandshake("wrong Sec-WebSocket-Accept"),
        RemoteProtocolError("nonsense", rule="RFC 9112 §4"),
        LocalProtocolError("no such scheme"),
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        KeyError("a mistake"),
    ],
    ids=repr,
)
def test_not_worth_another_attempt(error: Exception) -> None:
    assert not is_transient(error)


# How it goes on.


def test_the_first_attempt_is_made_at_once() -> None:
    assert state()[0].delay == 0


def test_failures_spread_the_attempts() -> None:
    """WS-C-13: growing gaps between attempts that fail."""
    reconnection, _ = state()
    delays = []
    for _ in range(6):
        reconnection.failed(ConnectionRefusedError())
        delays.append(reconnection.delay)
    assert delays == [2.5, 7.5, 15, 30, 45, 45]


def test_connections_that_are_dropped_at_once_spread_the_attempts_too() -> None:
    """WS-C-13: a server that drops connections is not asked again in a hurry."""
    reconnection, clock = state()
    delays = []
    for _ in range(4):
        reconnection.opened()
        clock.now += 1
        reconnection.ended()
        delays.append(reconnection.delay)
    assert delays == [2.5, 7.5, 15, 30]


def test_a_connection_that_lasted_starts_the_backoff_anew() -> None:
    reconnection, clock = state()
    for _ in range(3):
        reconnection.failed(ConnectionRefusedError())
    reconnection.opened()
    clock.now += 30
    reconnection.ended()
    assert reconnection.delay == 2.5


def test_what_is_not_worth_it_is_raised_as_it_is() -> None:
    reconnection, _ = state()
    error = refusal(404)
    with pytest.raises(HandshakeRejected) as raised:
        reconnection.failed(error)
    assert raised.value is error


def test_the_caller_says_what_is_worth_it() -> None:
    reconnection, _ = state(ReconnectPolicy(retry=lambda error: isinstance(error, KeyError)))
    reconnection.failed(KeyError())
    with pytest.raises(ConnectionRefusedError):
        reconnection.failed(ConnectionRefusedError())


def test_attempts_have_a_limit_that_success_resets() -> None:
    reconnection, _ = state(ReconnectPolicy(max_attempts=2))
    reconnection.failed(refusal(503))
    reconnection.opened()
    reconnection.failed(refusal(503))
    last = refusal(503)
    with pytest.raises(HandshakeRejected) as raised:
        reconnection.failed(last)
    assert raised.value is last
    assert last.__notes__ == ["gave up after 2 attempts"]


def test_time_has_a_limit() -> None:
    reconnection, clock = state(ReconnectPolicy(max_time=60))

    def keep_failing() -> None:
        while True:
            reconnection.failed(ConnectionRefusedError())
            clock.now += reconnection.delay

    with pytest.raises(ConnectionRefusedError) as raised:
        keep_failing()
    # 2.5, 7.5, 15 and 30 seconds are 55; another 45 would be too many.
    assert clock.now == 1055
    assert raised.value.__notes__ == ["gave up: no connection within 60 s"]


# RFC 9110 §10.2.3: the server says when.

DATE = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Sun, 06 Nov 1994 08:51:37 GMT", 120.0),
        ("Sun Nov  6 08:49:38 1994", 1.0),
        ("Sat, 05 Nov 1994 08:49:37 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("Sun, 31 Feb 1994 08:49:37 GMT", None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 25:49:37 GMT", None),
        ("9" * 13, None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(Response(503, Fields([("Retry-After", value), DATE]))) == seconds


def test_retry_after_a_date_counts_from_the_servers_own_clock() -> None:
    later = ("Retry-After", "Sun, 06 Nov 1994 08:51:37 GMT")
    assert retry_after(Response(503, Fields([later]))) is None
    assert retry_after(Response(503)) is None


def test_the_three_forms_of_a_date() -> None:
    """RFC 9110 §5.6.7: a recipient accepts the obsolete forms too."""
    fixed = parse_date("Sun, 06 Nov 2022 08:49:37 GMT")
    assert fixed is not None
    assert parse_date("Sunday, 06-Nov-22 08:49:37 GMT") == fixed
    assert parse_date("Sun Nov  6 08:49:37 2022") == fixed


def test_a_server_that_asks_for_time_gets_it() -> None:
    reconnection, _ = state()
    reconnection.failed(refusal(429, ("Retry-After", "100")))
    assert reconnection.delay == 100
    reconnection.failed(refusal(503, ("Retry-After", "1")))
    assert reconnection.delay == 7.5


def test_a_server_that_asks_for_too_much_is_left_alone() -> None:
    reconnection, _ = state()
    with pytest.raises(HandshakeRejected) as raised:
        reconnection.failed(refusal(503, ("Retry-After", "86400")))
    assert raised.value.__notes__ == ["the server asks to be left alone for 86400 s"]
