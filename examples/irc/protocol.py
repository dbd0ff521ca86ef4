"""The protocol: one message to a line, written as RFC 1459 §2.3 writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE = 512  # octets, CR and LF included

# message = [ ":" source SP ] command *( SP middle ) [ SP ":" trailing ]
_MESSAGE = re.compile(r"(?::(\S+) +)?([A-Za-z]+|[0-9]{3})((?: +[^:\s]\S*)*)(?: +:(.*))? *")


class Fault(Exception):
    """A line that is no message, or a message that makes no line."""


@dataclass(frozen=True, slots=True)
class Message:
    """A command, its parameters, and, from a server, who it comes from."""

    command: str
    params: tuple[str, ...] = ()
    source: str = ""

    @classmethod
    def parse(cls, line: bytes) -> Message:
        """Read a line, its end left out. Raises :class:`Fault`."""
        found = _MESSAGE.fullmatch(line.decode("utf-8", "replace"))
        if found is None or b"\0" in line:
            raise Fault(f"no message: {line[:40]!r}")
        source, command, middle, trailing = found.groups()
        params = middle.split() + ([trailing] if trailing is not None else [])
        return cls(command.upper(), tuple(params), source or "")

    def encode(self) -> bytes:
        """Write the line. Raises :class:`Fault` for what would be read as something else."""
        *middle, last = [self.command, *self.params]
        if middle and (not last or " " in last or last.startswith(":")):
            last = f":{last}"
        words = [f":{self.source}"] if self.source else []
        line = " ".join([*words, *middle, last]).encode() + b"\r\n"
        if len(line) > MAX_LINE or b"\n" in line[:-2] or Message.parse(line[:-2]) != self:
            raise Fault(f"{self.command[:20]} with these words makes no line")
        return line


class Lines:
    """Cuts octets into lines, however they come."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take octets; return the lines that are whole now, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) >= MAX_LINE for line in (*lines, self._rest)):
            raise Fault(f"a line of more than {MAX_LINE} octets")
        return [line.removesuffix(b"\r") for line in lines]
