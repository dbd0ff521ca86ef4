# cython: nonecheck=True
"""Path patterns: ``/chat``, or ``/udp/{host}/{port}/`` with parameters.

This file runs as it stands, and is compiled as ``_paths_c`` with the C types of
``_paths_c.pxd``. Choose through ``switchover.upgrade.paths``.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from switchover.errors import LocalProtocolError

__all__ = ["PathPattern"]

_parameter = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class PathPattern:
    """A pattern for the path of a request.

    ``{name}`` stands for whatever fills one segment, or part of one, possibly nothing; it
    never crosses a ``/``. Everything else is literal. Paths are compared after percent
    decoding (``/%65cho`` is ``/echo``): an escape must not lead around a resource that
    insists on a switch. Parameters are cut out first and decoded then, as UTF-8 with faulty
    octets replaced, so an encoded ``/`` stays inside its parameter.
    """

    __slots__ = ("_literal", "_regex", "text")

    def __init__(self, text: str) -> None:
        """Raise :class:`LocalProtocolError` for a pattern no path could match."""
        if not text.startswith("/") and text != "*":
            raise LocalProtocolError(f"a path begins with a slash: {text!r}")
        if "?" in text or "#" in text:
            raise LocalProtocolError(f"a path pattern has no query and no fragment: {text!r}")
        self.text = text
        pieces = _parameter.split(text)
        names = pieces[1::2]
        if any(brace in literal for literal in pieces[::2] for brace in "{}"):
            raise LocalProtocolError(f"a parameter is written {{name}}: {text!r}")
        if len(set(names)) != len(names):
            raise LocalProtocolError(f"a parameter appears twice: {text!r}")
        self._literal = unquote(text)
        self._regex = _compile(pieces) if names else None

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters in ``path``, decoded; ``None`` if it does not match."""
        if self._regex is None:
            return {} if path == self._literal or unquote(path) == self._literal else None
        found = self._regex.fullmatch(path)
        if found is None and "%" in path:
            found = self._regex.fullmatch(_decode_unreserved(path))
        if found is not None:
            return {name: unquote(value) for name, value in found.groupdict().items()}
        # An application that decodes before it routes sees this path; so must a requirement.
        found = self._regex.fullmatch(unquote(path)) if "%" in path else None
        return None if found is None else found.groupdict()


def _compile(pieces: list[str]) -> re.Pattern[str]:
    pattern = "".join(
        f"(?P<{piece}>[^/]*)" if index % 2 else re.escape(_decode_unreserved(piece))
        for index, piece in enumerate(pieces)
    )
    return re.compile(pattern)


# RFC 3986 §2.3: unreserved = ALPHA / DIGIT / "-" / "." / "_" / "~"; §6.2.2.2: their escapes
# are equivalent to the characters themselves.
_escaped_unreserved = re.compile(
    r"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])"
)


def _decode_unreserved(path: str) -> str:
    return _escaped_unreserved.sub(lambda found: chr(int(found[0][1:], 16)), path)
