# C types for _websocket_maker.py, which is compiled under the name _websocket_maker_c.

cimport switchover.asyncio._switching_c as switches
cimport switchover.websocket._connection_c as connection
from switchover.asyncio._roll_c cimport Roll as CompiledRoll
from switchover.asyncio._switching_c cimport Switching as CompiledSwitching
from switchover.asyncio._websocket_life_c cimport Lifecycle as CompiledLife
from switchover.websocket._connection_c cimport Connection as CompiledConnection

import cython


cdef class WebSocketMaker:
    cdef readonly object _handler, _max_message_size, _settings, _on_message, _on_close

    @cython.locals(server=CompiledRoll, ws=CompiledLife)
    cpdef attach(self, CompiledSwitching switching, transport)
    @cython.locals(machine=CompiledConnection, ws=CompiledLife)
    cpdef make(self, selection, request, response, server)
