"""What a peer may make a connection do, beyond what its settings allow (RFC 9113 §10.5).

The floods of HTTP/2 are made of frames that are legal one by one. Each kind draws on an
:class:`Allowance`: a number at once, and a number a second that it recovers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Allowance", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of an HTTP/2 connection; whoever passes one is told ENHANCE_YOUR_CALM."""

    #: Fields of a section, and trailers (SEC-28); a browser sends some 30.
    field_count: int = 128
    #: Octets of a field section before decoding, over all its frames (SEC-27).
    field_block: int = 64 * 1024
    #: CONTINUATION frames of one field section (SEC-27): 64 KiB take three.
    continuations: int = 16
    #: Interim responses before a final one.
    interim_responses: int = 32
    #: Octets of a request that are read and dropped once it has been answered.
    discarded_content: int = 64 * 1024
    #: Streams that the peer may reset at once and a second (SEC-25, CVE-2023-44487): a browser
    #: that leaves a page resets all that were open on it.
    resets: int = 400
    resets_per_second: float = 40.0
    #: Streams that the peer may make us reset (SEC-26, CVE-2025-8671): peers without faults
    #: cause none but refused streams.
    faults: int = 100
    faults_per_second: float = 10.0
    #: Frames that carry nothing and ask for work: SETTINGS, PING, PRIORITY, empty DATA, small
    #: WINDOW_UPDATE, unknown types, frames on streams that are gone (SEC-29, SEC-30).
    control_frames: int = 1000
    control_frames_per_second: float = 100.0
    #: Entries of one SETTINGS frame (SEC-29); ten are defined.
    settings_entries: int = 32
    #: A WINDOW_UPDATE below this many octets counts as a control frame (SEC-30).
    small_window_update: int = 256
    #: On a stream that is gone, so does a DATA frame below this many octets.
    small_data: int = 1024
    #: Seconds that content may wait for a peer that grants no window (SEC-31).
    stall: float = 60.0


class Allowance:
    """``burst`` units at once, recovered at ``rate`` units a second of ``clock``."""

    __slots__ = ("_clock", "_level", "_stamp", "burst", "rate")

    def __init__(self, burst: int, rate: float, clock: Callable[[], float]) -> None:
        self.burst = burst
        self.rate = rate
        self._clock = clock
        self._level = float(burst)
        self._stamp = clock()

    def take(self) -> bool:
        """Use one unit; ``False`` if there is none left."""
        if self._level < 1.0:
            # The clock is read only here: a peer within its allowance costs no system call.
            now = self._clock()
            recovered = self._level + (now - self._stamp) * self.rate
            self._level = min(float(self.burst), recovered)
            self._stamp = now
            if self._level < 1.0:
                return False
        self._level -= 1.0
        return True
