"""What reads octets into a buffer that it names itself: the drivers' side of reading.

This file is compiled as ``_receiver_c``; the C types stand in ``_receiver_c.pxd``. It is what
:class:`asyncio.BufferedProtocol` is, callable in C: a transport of ours that finds a
:class:`Receiver` above it reads without a call of Python. What derives from it in one build
derives from that build's; nothing else chooses.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Receiver"]


class Receiver:
    """Names the place to read to, and takes what has been read there."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> Any:
        """Return where the transport is to read to."""
        return self._space()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the transport has read: so many octets of the latest buffer."""
        self._filled(nbytes)

    def _space(self) -> Any:
        raise NotImplementedError

    def _filled(self, nbytes: int) -> None:
        raise NotImplementedError
