"""Which library deflates and inflates: one seam, three engines.

zlib is always there; zlib-ng and isal are used where they are installed. They differ in speed
by up to five times and hardly in size; ``docs/decisions/0020-deflate-engine.md`` and ``0024``
have the figures behind the order of preference. All three produce and read the same format, so
the two directions of a connection may use different ones, and a connection may change.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from switchover.errors import LocalProtocolError

__all__ = [
    "ENGINES",
    "MIN_COMPRESSING_BITS",
    "Compressor",
    "Engine",
    "Inflater",
    "brief_engine",
    "compressing_engine",
    "engine",
    "inflating_engine",
]

#: The smallest window that can be compressed for, as a power of two. No engine makes raw
#: DEFLATE for 256 octets: zlib and isal refuse, and older zlibs took 512 silently.
MIN_COMPRESSING_BITS = 9

#: The names of the engines, as ``PermessageDeflate`` takes them.
ENGINES = ("isal", "zlib-ng", "zlib")

_COMPRESSING: Sequence[str] = ("isal", "zlib-ng", "zlib")
_INFLATING: Sequence[str] = ("zlib-ng", "isal", "zlib")

_MODULES = {"zlib": "zlib", "zlib-ng": "zlib_ng.zlib_ng", "isal": "isal.isal_zlib"}

# The level an engine gets when none is asked for: where its curve of time against size bends.
_LEVELS = {"zlib": 3, "zlib-ng": 3, "isal": 2}


class Compressor(Protocol):
    """What ``compressobj`` of each engine returns."""

    def compress(self, data: bytes, /) -> bytes:
        """Take in data, and return what of the output is ready."""
        ...

    def flush(self, mode: int, /) -> bytes:
        """Return the rest of the output; ``mode`` is that of :data:`Engine.sync_flush`."""
        ...


class Inflater(Protocol):
    """What ``decompressobj`` of each engine returns."""

    @property
    def eof(self) -> bool:
        """Whether a block with the final bit has ended the stream."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What followed the end of the stream."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most ``max_length`` octets (0: no limit)."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """One library behind the seam. ``error`` is what it raises for broken data."""

    name: str
    error: type[Exception]
    sync_flush: int
    _module: Any

    def compressor(self, level: int | None, window_bits: int, mem_level: int) -> Compressor:
        """Return a compressor of raw DEFLATE; ``level`` is 1 to 9, ``None`` the engine's own."""
        chosen = _LEVELS[self.name] if level is None else level
        if self.name == "isal":
            chosen = min(chosen, 3)  # it has no more, and its third is of use for the patient
        made: Compressor = self._module.compressobj(chosen, zlib.DEFLATED, -window_bits, mem_level)
        return made

    def inflater(self, window_bits: int, history: bytes = b"") -> Inflater:
        """Return an inflater of raw DEFLATE that may refer back into ``history``."""
        # A larger window than agreed is always safe, and isal has none of 256 octets.
        bits = -max(window_bits, MIN_COMPRESSING_BITS)
        make = self._module.decompressobj
        made: Inflater = make(bits, zdict=history) if history else make(bits)
        return made


@cache
def engine(name: str) -> Engine:
    """Return the engine called ``name``.

    Raises :class:`LocalProtocolError` if there is none of that name, or it is not installed.
    """
    if name not in _MODULES:
        raise LocalProtocolError(f"no deflate engine {name!r}; there are {', '.join(ENGINES)}")
    try:
        module = importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise LocalProtocolError(f"deflate engine {name!r} is not installed: {error}") from error
    return Engine(name, module.error, module.Z_SYNC_FLUSH, module)


@cache
def compressing_engine(name: str | None = None) -> Engine:
    """Return the engine to compress with: ``name``, or the best one that is installed."""
    return engine(name) if name is not None else _first(_COMPRESSING)


@cache
def brief_engine(name: str | None = None) -> Engine | None:
    """Return the engine to compress short messages with, if it is another one for long ones.

    ``name`` is the engine that was asked for, and is used for all of them then.
    """
    if name is not None or compressing_engine().name == "zlib":
        return None
    return engine("zlib")


@cache
def inflating_engine(name: str | None = None) -> Engine:
    """Return the engine to inflate with: ``name``, or the best one that is installed."""
    return engine(name) if name is not None else _first(_INFLATING)


def _first(names: Sequence[str]) -> Engine:
    for name in names[:-1]:
        try:
            return engine(name)
        except LocalProtocolError:
            continue
    return engine("zlib")
