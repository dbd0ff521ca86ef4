"""HPACK: field sections in octets (RFC 7541).

This file is the source of two builds: it runs as it is, and compiled as ``_hpack_c``
(types in ``_hpack_c.pxd``). Plain functions over octets: no policy but the limits it is given.
The file is longer than others because it is compiled as one: calls inside it are C calls.
"""

from __future__ import annotations

from switchover.http2.hpack_tables import EOS, HUFFMAN_CODES, HUFFMAN_LENGTHS, STATIC_TABLE

__all__ = ["Decoder", "Encoder", "HPACKError", "huffman_decode", "huffman_encode"]

#: RFC 7541 §4.1: "The size of an entry is the sum of its name's length in octets …, its
#: value's length in octets, and 32."
ENTRY_OVERHEAD = 32

#: RFC 9113 §6.5.2: the initial value of SETTINGS_HEADER_TABLE_SIZE. Neither our decoder nor
#: our encoder uses a larger table.
TABLE_SIZE = 4096

#: No integer of a field section has reason to be larger: a section is bounded far below it.
_LARGEST_INTEGER = 1 << 28

_STATIC_COUNT = 61

#: Blocks of so many octets, and so many of them, are remembered with their lines: clients ask
#: again and again with the same few, and what they decode to is bounded by the list size.
_REMEMBERED_OCTETS = 128
_REMEMBERED = 16


class HPACKError(Exception):
    """A field section cannot be decoded; the decoder's state is lost with it."""


class Decoder:
    """Decodes the field sections of one direction of a connection, in order.

    ``max_list_size`` bounds what a decoded section may come to (counted as RFC 9113 §6.5.2
    counts it: 32 octets a line added), ``max_fields`` the number of its lines. A section
    over a limit is still decoded to its end, so that the table stays in step, but kept no
    longer.
    """

    def __init__(self, max_list_size: int, max_fields: int) -> None:
        self.max_list_size = max_list_size
        self.max_fields = max_fields
        # The newest entry is the last: dynamic index i is entries[-i].
        self._entries: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._capacity = TABLE_SIZE
        self._position = 0
        #: The block was one that is remembered: the list returned is the same as before.
        self.repeated = False
        # Short blocks that mean the same as long as the table is as it is, and their lines.
        self._known: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._changed = False

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]] | None:
        """Return the field lines of ``block``, or ``None`` if they exceed a limit.

        Equal blocks may give one and the same list: it must not be changed. Raises
        :class:`HPACKError` if the octets are not a field section.
        """
        known = self._known.get(block)
        if known is not None:
            self.repeated = True
            return known
        self.repeated = False
        self._changed = False
        lines = self._decode(block)
        if lines is not None and not self._changed and len(block) <= _REMEMBERED_OCTETS:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = lines
        return lines

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]] | None:
        lines: list[tuple[bytes, bytes]] = []
        size = 0
        count = 0
        may_resize = True
        end = len(block)
        self._position = 0
        while self._position < end:
            octet = block[self._position]
            if octet >= 0x80:
                line = self._entry(self._integer(block, 0x7F))
            elif octet >= 0x40:
                line = self._literal(block, 0x3F)
                self._add(line)
            elif octet >= 0x20:
                # RFC 7541 §4.2: "This dynamic table size update MUST occur at the beginning
                # of the first header block following the change".
                if not may_resize:
                    raise HPACKError("a table size update stands behind a field line")
                self._resize(self._integer(block, 0x1F))
                continue
            else:
                line = self._literal(block, 0x0F)
            may_resize = False
            count += 1
            size += len(line[0]) + len(line[1]) + ENTRY_OVERHEAD
            if size <= self.max_list_size and count <= self.max_fields:
                lines.append(line)
        if size > self.max_list_size or count > self.max_fields:
            return None
        return lines

    def _integer(self, block: bytes, mask: int) -> int:
        # RFC 7541 §5.1
        position = self._position
        value = block[position] & mask
        position += 1
        if value == mask:
            shift = 0
            end = len(block)
            while True:
                if position >= end:
                    raise HPACKError("the field section ends within an integer")
                octet = block[position]
                position += 1
                # RFC 7541 §5.1: "Integer encodings that exceed implementation limits -- in
                # value or octet length -- MUST be treated as decoding errors."
                if shift > 21:
                    raise HPACKError("an integer has too many octets")
                value += (octet & 0x7F) << shift
                shift += 7
                if octet < 0x80:
                    break
            if value > _LARGEST_INTEGER:
                raise HPACKError("an integer is too large")
        self._position = position
        return value

    def _string(self, block: bytes) -> bytes:
        # RFC 7541 §5.2
        if self._position >= len(block):
            raise HPACKError("the field section ends before a string")
        packed = block[self._position] >= 0x80
        length = self._integer(block, 0x7F)
        start = self._position
        end = start + length
        if end > len(block):
            raise HPACKError("the field section ends within a string")
        self._position = end
        octets = block[start:end]
        return _unpack(octets) if packed else octets

    def _literal(self, block: bytes, mask: int) -> tuple[bytes, bytes]:
        # RFC 7541 §6.2
        index = self._integer(block, mask)
        name = self._entry(index)[0] if index else self._string(block)
        return name, self._string(block)

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        # RFC 7541 §6.1: "The index value of 0 is not used. It MUST be treated as a decoding
        # error"; §2.3.3 says the same of an index past the end of the table.
        if index <= _STATIC_COUNT:
            if index == 0:
                raise HPACKError("index 0 is not used")
            return STATIC_TABLE[index]
        index -= _STATIC_COUNT
        entries = self._entries
        if index > len(entries):
            raise HPACKError(f"no entry has the index {index + _STATIC_COUNT}")
        return entries[len(entries) - index]

    def _add(self, line: tuple[bytes, bytes]) -> None:
        size = len(line[0]) + len(line[1]) + ENTRY_OVERHEAD
        self._changed = True
        self._known.clear()
        self._evict(self._capacity - size)
        # RFC 7541 §4.4: an entry larger than the table empties it, and "is not an error".
        if size <= self._capacity:
            self._entries.append(line)
            self._size += size

    def _resize(self, capacity: int) -> None:
        # RFC 7541 §6.3: "The new maximum size MUST be lower than or equal to the limit
        # determined by the protocol using HPACK."
        if capacity > TABLE_SIZE:
            raise HPACKError(f"a table of {capacity} octets is larger than we allow")
        self._capacity = capacity
        self._changed = True
        self._known.clear()
        self._evict(capacity)

    def _evict(self, capacity: int) -> None:
        dropped = 0
        while self._size > capacity and dropped < len(self._entries):
            name, value = self._entries[dropped]
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD
            dropped += 1
        if dropped:
            del self._entries[:dropped]


#: Values that change with every message are not worth a place in the table, and secrets must
#: not be put where they can be probed (RFC 7541 §7.1.3).
_UNINDEXED = frozenset(
    {b":path", b"content-length", b"etag", b"last-modified", b"location", b"age", b"set-cookie"}
)
_SECRET = frozenset({b"authorization", b"proxy-authorization", b"set-cookie", b"cookie"})


class Encoder:
    """Encodes the field sections of one direction of a connection, in order."""

    def __init__(self) -> None:
        # From a line, or a name, to the number of the insertion that made its entry.
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self._entries: list[tuple[bytes, bytes]] = []
        self._inserted = 0
        self._size = 0
        self._capacity = TABLE_SIZE
        self._resized: list[int] = []
        #: Grows whenever a section encoded before could mean something else now.
        self.changes = 0

    def resize(self, capacity: int) -> None:
        """Obey the peer's SETTINGS_HEADER_TABLE_SIZE; the next section says so.

        ``capacity`` is in octets; more than 4096 of them are left unused.
        """
        capacity = min(capacity, TABLE_SIZE)
        if capacity == self._capacity and not self._resized:
            return
        # RFC 7541 §4.2: with several changes, "the smallest maximum table size that occurs in
        # that interval MUST be signaled", then the last.
        smallest = min(self._resized[0], capacity) if self._resized else capacity
        self._resized = [smallest, capacity] if smallest < capacity else [capacity]
        self._capacity = capacity
        self.changes += 1
        self._evict(smallest)

    def encode(self, lines: list[tuple[bytes, bytes]]) -> bytes:
        """Return the octets of the field section with ``lines``; names are in lower case."""
        return self._encode(lines)

    def _encode(self, lines: list[tuple[bytes, bytes]]) -> bytes:
        out = bytearray()
        if self._resized:
            for capacity in self._resized:
                _put_integer(out, capacity, 0x1F, 0x20)
            self._resized = []
            self.changes += 1
        for line in lines:
            index = _STATIC_LINES.get(line, 0)
            if index == 0:
                number = self._numbers.get(line, 0)
                if number:
                    index = _STATIC_COUNT + 1 + self._inserted - number
            if index:
                _put_integer(out, index, 0x7F, 0x80)
            else:
                self._put_literal(out, line)
        return bytes(out)

    def _put_literal(self, out: bytearray, line: tuple[bytes, bytes]) -> None:
        name, value = line
        index = _STATIC_NAMES.get(name, 0)
        size = len(name) + len(value) + ENTRY_OVERHEAD
        if name in _SECRET:
            _put_integer(out, index, 0x0F, 0x10)
        elif name in _UNINDEXED or size > self._capacity // 2:
            _put_integer(out, index, 0x0F, 0x00)
        else:
            _put_integer(out, index, 0x3F, 0x40)
            self._add(line, size)
        if index == 0:
            _put_string(out, name)
        _put_string(out, value)

    def _add(self, line: tuple[bytes, bytes], size: int) -> None:
        self.changes += 1
        self._evict(self._capacity - size)
        self._entries.append(line)
        self._size += size
        self._inserted += 1
        self._numbers[line] = self._inserted

    def _evict(self, capacity: int) -> None:
        dropped = 0
        while self._size > capacity and dropped < len(self._entries):
            line = self._entries[dropped]
            self._size -= len(line[0]) + len(line[1]) + ENTRY_OVERHEAD
            del self._numbers[line]
            dropped += 1
        if dropped:
            del self._entries[:dropped]


def _put_integer(out: bytearray, value: int, mask: int, pattern: int) -> None:
    # RFC 7541 §5.1
    if value < mask:
        out.append(pattern | value)
        return
    out.append(pattern | mask)
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_string(out: bytearray, octets: bytes) -> None:
    packed = _pack(octets)
    if len(packed) < len(octets):
        _put_integer(out, len(packed), 0x7F, 0x80)
        out += packed
    else:
        _put_integer(out, len(octets), 0x7F, 0x00)
        out += octets


def huffman_encode(octets: bytes) -> bytes:
    """Return ``octets`` in the Huffman code of RFC 7541 §5.2, padded with ones."""
    return _pack(octets)


def _pack(octets: bytes) -> bytes:
    out = bytearray()
    pending = 0
    bits = 0
    for octet in octets:
        pending = (pending << HUFFMAN_LENGTHS[octet]) | HUFFMAN_CODES[octet]
        bits += HUFFMAN_LENGTHS[octet]
        while bits >= 8:
            bits -= 8
            out.append(pending >> bits)
            pending &= (1 << bits) - 1
    if bits:
        out.append((pending << (8 - bits)) | (0xFF >> bits))
    return bytes(out)


def huffman_decode(octets: bytes) -> bytes:
    """Undo :func:`huffman_encode`; raises :class:`HPACKError` for what it never makes."""
    return _unpack(octets)


def _unpack(octets: bytes) -> bytes:
    out = bytearray()
    state = 0
    for octet in octets:
        step = _STEPS[state << 4 | octet >> 4]
        if step & _EMITS:
            out.append(step >> 16)
        step = _STEPS[(step & 0xFF) << 4 | octet & 0x0F] if step & _VALID else 0
        if not step & _VALID:
            # RFC 7541 §5.2: "A Huffman-encoded string literal containing the EOS symbol MUST
            # be treated as a decoding error."
            raise HPACKError("a Huffman-coded string contains EOS")
        if step & _EMITS:
            out.append(step >> 16)
        state = step & 0xFF
    # RFC 7541 §5.2: "A padding strictly longer than 7 bits MUST be treated as a decoding
    # error. A padding not corresponding to the most significant bits of the code for the EOS
    # symbol MUST be treated as a decoding error."
    if not _MAY_END[state]:
        raise HPACKError("a Huffman-coded string is padded wrongly")
    return bytes(out)


# The decoder is a table: state (a node of the code's tree) and four bits give the next state,
# in the low octet, and what has been decoded, if anything, above.
_EMITS = 0x100
_VALID = 0x200


def _tree() -> list[list[int]]:
    """Return the inner nodes; a child below zero is the symbol ``-1 - child``."""
    nodes = [[0, 0]]
    for symbol in range(EOS + 1):
        node = 0
        for bit in range(HUFFMAN_LENGTHS[symbol] - 1, -1, -1):
            branch = HUFFMAN_CODES[symbol] >> bit & 1
            if bit == 0:
                nodes[node][branch] = -1 - symbol
            elif nodes[node][branch] == 0:
                nodes.append([0, 0])
                nodes[node][branch] = len(nodes) - 1
                node = len(nodes) - 1
            else:
                node = nodes[node][branch]
    return nodes


def _steps(nodes: list[list[int]]) -> list[int]:
    steps = []
    for state in range(len(nodes)):
        for nibble in range(16):
            steps.append(_step(nodes, state, nibble))
    return steps


def _step(nodes: list[list[int]], node: int, nibble: int) -> int:
    step = _VALID
    for bit in (8, 4, 2, 1):
        node = nodes[node][1 if nibble & bit else 0]
        if node < 0:
            symbol = -1 - node
            if symbol == EOS:
                return 0
            step |= _EMITS | symbol << 16
            node = 0
    return step | node


def _ends(nodes: list[list[int]]) -> list[bool]:
    ends = [False] * len(nodes)
    node = 0
    for _ in range(8):
        ends[node] = True
        node = nodes[node][1]
    return ends


_NODES = _tree()
_STEPS = _steps(_NODES)
_MAY_END = _ends(_NODES)

_STATIC_LINES = {line: index for index, line in enumerate(STATIC_TABLE) if index and line[1]}
_STATIC_NAMES = {
    name: index for index, (name, _) in reversed(list(enumerate(STATIC_TABLE))) if index
}
