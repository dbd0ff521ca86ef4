# What other modules may derive from in _awaitables.pyx.

from switchover.asyncio._wire_c cimport Wire as PlainWire


cdef class Wire(PlainWire):
    pass
