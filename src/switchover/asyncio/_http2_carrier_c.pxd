# C types for _http2_carrier.py, which is compiled under the name _http2_carrier_c.

import cython

cimport switchover.asyncio._receiver_c as receiver

from switchover.asyncio._workers_c cimport Workers as CompiledWorkers
from switchover.http2._frames_c cimport Frames as CompiledFrames
from switchover.http2._frames_c cimport Message as CompiledMessage
from switchover.http2._frames_c cimport Stream as CompiledStream
from switchover.http2._machine_c cimport Machine as CompiledMachine
from switchover.http2._machine_c cimport ServerMachine as CompiledServerMachine

cdef Py_ssize_t _MUCH, _JOINED, _VECTOR, _REMEMBERED, _REMEMBERED_OCTETS


cdef class Carrier(receiver.Receiver):
    cdef public CompiledMachine _machine
    cdef public object _transport, _loop, _deadlines, _stall, gate
    cdef public dict _tunnels
    cdef public bint _over
    cdef public object _buffer
    cdef object _push
    cdef bint _pumping, _sending, _write_queued
    cdef Py_ssize_t _unsent
    cdef int _fd

    cpdef attach(self, transport)
    @cython.locals(machine=CompiledMachine, events=list)
    cpdef pump(self)
    cpdef _on_whole_request(self, stream)
    cpdef _on_content(self, long long stream_id, bytes data)
    cpdef _on_message_content(self, stream_id, bytes data)
    cpdef _events_met(self)
    cpdef forget(self, stream_id)
    cpdef send_soon(self, Py_ssize_t octets=*)
    cdef bint _alone(self) except -1
    @cython.locals(machine=CompiledMachine, data=list)
    cpdef flush(self)
    @cython.locals(direct=bint, sent=Py_ssize_t)
    cdef _write(self, transport, list pieces)


@cython.locals(size=Py_ssize_t)
cdef bint _small(list pieces) except -1


cdef class ExchangeState:
    cdef public object request, offer, trailers
    cdef public object _driver, _machine, _content, _waiter, _window_waiter
    cdef public bint response_started, response_complete, received, _left
    cdef public object response_status
    cdef public long long stream_id


cdef class ServerCarrier(Carrier):
    cdef public object server
    cdef public dict _exchanges
    cdef object _exchange_type
    cdef public CompiledWorkers _workers
    cdef public list _starting
    cdef set _ordinary
    cdef double _used
    cdef public object _idle
    cdef public bint _begun

    cdef bint _alone(self) except -1
    @cython.locals(message=CompiledMessage, ordinary=set, exchange=ExchangeState)
    cpdef _on_whole_request(self, stream)
    @cython.locals(starting=list, exchange=ExchangeState)
    cpdef _events_met(self)
    cpdef run(self, exchange, handler)
    @cython.locals(machine=CompiledServerMachine)
    cpdef bint answer_again(self, ExchangeState exchange, response) except -1
    cpdef response_completed(self, ExchangeState exchange)
    cpdef forget(self, stream_id)
    cpdef watch_idle(self)
