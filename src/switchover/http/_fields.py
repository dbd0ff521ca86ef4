"""Fields: the header or trailer section of a message (RFC 9110 §5, §6.3, §6.5).

This file runs as it stands, and is compiled as ``_fields_c`` with the C types of
``_fields_c.pxd``: every message is looked into a dozen times. Choose through
``switchover.http.fields``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast, overload

from switchover.errors import LocalProtocolError
from switchover.http.escaping import show
from switchover.http.grammar import FIELD_VALUE, TOKEN
from switchover.http.lists import connection_options, split_list
from switchover.http.names import LOWER_NAMES

__all__ = ["Fields"]

_Default = TypeVar("_Default")
_Text = str | bytes


class Fields:
    """Field lines in the order they were received or given.

    Names are compared without regard to ASCII case and may repeat. Octets are kept as they
    are; the ``str`` in this interface is ISO-8859-1, one character an octet.

    ``raw`` is the list of (name, value) octets. Read it freely, but change it only through
    the methods: they check names and values, and keep what look-ups go by true.
    """

    __slots__ = ("_names", "raw")

    raw: list[tuple[bytes, bytes]]
    #: The names in lower case, each at the place of its line in ``raw``; made when needed.
    _names: list[bytes] | None

    def __init__(
        self, lines: Iterable[tuple[_Text, _Text]] | Mapping[str, str] | Fields = ()
    ) -> None:
        """Make fields of pairs, a mapping, or other fields.

        Raises ``LocalProtocolError`` for a name that is no token or a value with a
        character that no field value can hold (RFC 9110 §5.1, §5.5; RFC 9112 §11.1).
        """
        self._names = None
        if isinstance(lines, Fields):
            self.raw = list(lines.raw)
            return
        # Asking an abstract class is slow; most give a list.
        mapping = type(lines) is not list and isinstance(lines, Mapping)
        pairs: Any = cast("Mapping[str, str]", lines).items() if mapping else lines
        self.raw = [(_checked_name(name), _checked_value(name, value)) for name, value in pairs]

    @classmethod
    def from_octets(
        cls, lines: list[tuple[bytes, bytes]], names: list[bytes] | None = None
    ) -> Fields:
        """Make fields of lines that a parser has checked already; ``lines`` is kept, not copied.

        ``names`` are those of the lines in lower case, where the parser has them; kept, too.
        """
        return _filled(cls.__new__(cls), lines, names)

    # Looking up.

    def octets(self, name: _Text) -> list[bytes]:
        """Return the value of each line of ``name``, in order, as octets. Do not change it."""
        # A section has a dozen lines: looking along them is faster than making an index, and
        # leaves nothing behind. Common names are shared objects, so it rarely compares octets.
        names = self.names()
        key = _KEYS.get(name)
        if key is None:
            key = _remember(name)
        if key not in names:
            return _NONE
        return [self.raw[place][1] for place in range(len(names)) if names[place] == key]

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: _Default) -> str | _Default: ...
    def get(self, name: str, default: _Default | None = None) -> str | _Default | None:
        """Return all lines of ``name`` joined with ", ", or ``default`` if there is none.

        RFC 9110 §5.3: "A recipient MAY combine multiple field lines within a field section
        that have the same field name into one field line, without changing the semantics".
        """
        values = self.octets(name)
        return _combined(values) if values else default

    def get_all(self, name: str) -> list[str]:
        """Return the value of each line of ``name``, in order."""
        return [value.decode("latin-1") for value in self.octets(name)]

    def members(self, name: str) -> list[str]:
        """Return the members of the list that all lines of ``name`` make together.

        Empty members are left out; commas in quoted strings do not separate. Raises
        ``RemoteProtocolError`` for an unreasonable number of empty members.
        """
        value = self.get(name)
        return [] if value is None else split_list(value)

    def names(self) -> list[bytes]:
        """Return the name of each line, in order, in lower case. Do not change it."""
        names = self._names
        if names is None or len(names) != len(self.raw):
            names = self._names = [_lower(line[0]) for line in self.raw]
        return names

    @property
    def connection_options(self) -> frozenset[str]:
        """The connection options (RFC 9110 §7.6.1), in lower case."""
        values = self.octets("Connection")
        if len(values) == 1:
            return connection_options(values[0])
        return connection_options(b", ".join(values) if values else None)

    def __getitem__(self, name: str) -> str:
        values = self.octets(name)
        if not values:
            raise KeyError(name)
        return _combined(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str | bytes) and bool(self.octets(name))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw)

    def __len__(self) -> int:
        """Return the number of field lines."""
        return len(self.raw)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fields):
            return NotImplemented
        return _comparable(self.raw) == _comparable(other.raw)

    __hash__ = None  # type: ignore[assignment]  # a mutable value, as list has it

    def __repr__(self) -> str:
        return f"Fields({self.raw!r})"

    # Changing.

    def add(self, name: _Text, value: _Text) -> None:
        """Append a line. Raises ``LocalProtocolError`` for an invalid name or value."""
        self.raw.append((_checked_name(name), _checked_value(name, value)))
        self._names = None

    def set(self, name: _Text, value: _Text) -> None:
        """Put one line in the place of all lines of ``name`` (at the place of the first).

        Raises ``LocalProtocolError`` for an invalid name or value.
        """
        line = (_checked_name(name), _checked_value(name, value))
        key = _key(name)
        places = [place for place, (other, _) in enumerate(self.raw) if other.lower() == key]
        if not places:
            self.raw.append(line)
        else:
            kept = [pair for pair in self.raw if pair[0].lower() != key]
            kept.insert(places[0], line)
            self.raw = kept
        self._names = None

    def remove(self, name: _Text) -> None:
        """Take out all lines of ``name``; nothing happens if there are none."""
        key = _key(name)
        self.raw = [pair for pair in self.raw if pair[0].lower() != key]
        self._names = None

    def copy(self) -> Fields:
        """Return fields with the same lines that can be changed independently."""
        return Fields.from_octets(list(self.raw))


_NONE: list[bytes] = []

_LOWER: dict[bytes, bytes] = LOWER_NAMES

#: Names that were looked up, as they are compared. Programs ask for a few dozen.
_KEYS: dict[_Text, bytes] = {}
_MAX_KEYS = 512


def _filled(fields: Fields, lines: list[tuple[bytes, bytes]], names: list[bytes] | None) -> Fields:
    fields.raw = lines
    fields._names = names
    return fields


def _lower(name: bytes) -> bytes:
    return _LOWER.get(name) or name.lower()


def _remember(name: _Text) -> bytes:
    key = _key(name)
    key = _LOWER.get(key, key)
    if len(_KEYS) < _MAX_KEYS:
        _KEYS[name] = key
    return key


def _combined(values: list[bytes]) -> str:
    return (values[0] if len(values) == 1 else b", ".join(values)).decode("latin-1")


def _key(name: _Text) -> bytes:
    # bytes.lower knows ASCII only: str.lower would turn U+212A, the Kelvin sign, into "k".
    return (name.encode("latin-1", "replace") if isinstance(name, str) else name).lower()


def _comparable(lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in lines]


def _octets(text: _Text, what: str) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise LocalProtocolError(
            f"{what} {show(text)} has characters outside ISO-8859-1", rule="RFC 9110 §5.5"
        ) from None


def _checked_name(name: _Text) -> bytes:
    octets = _octets(name, "field name")
    if not TOKEN.fullmatch(octets):
        raise LocalProtocolError(f"invalid field name {show(octets)}", rule="RFC 9110 §5.1")
    return octets


def _checked_value(name: _Text, value: _Text) -> bytes:
    octets = _octets(value, "field value").strip(b" \t")
    if not FIELD_VALUE.fullmatch(octets):
        raise LocalProtocolError(
            f"field {show(name)} has a control character in its value", rule="RFC 9110 §5.5"
        )
    return octets
