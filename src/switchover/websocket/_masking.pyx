"""Payload octets and their key (RFC 6455 §5.3). The only file with pointers; see _masking_py."""
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef void _xor(char *target, const char *source, Py_ssize_t size, const char *key) noexcept nogil:
    cdef uint64_t wide, word
    cdef Py_ssize_t i
    memcpy(&wide, key, 4)
    memcpy(<char *> &wide + 4, key, 4)
    for i in range(0, size - 7, 8):
        memcpy(&word, source + i, 8)
        word ^= wide
        memcpy(target + i, &word, 8)
    for i in range(size & ~7, size):
        target[i] = source[i] ^ key[i & 3]

cpdef take(bytearray data, Py_ssize_t start, Py_ssize_t stop, bint masked, bint text):
    if not (4 if masked else 0) <= start <= stop <= PyByteArray_GET_SIZE(data):
        raise IndexError("no such octets")
    cdef char *source = PyByteArray_AS_STRING(data) + start
    if masked and text:
        _xor(source, source, stop - start, source - 4)
    if text:
        return PyUnicode_DecodeUTF8(source, stop - start, NULL)
    payload = PyBytes_FromStringAndSize(NULL if masked else source, stop - start)
    if masked and start < stop:  # the empty object is not ours to write to
        _xor(PyBytes_AS_STRING(payload), source, stop - start, source - 4)
    return payload

cpdef bytes mask(bytes head, bytes payload, bytes key):
    if len(key) != 4:
        raise ValueError("a key has four octets")
    cdef bytes frame = head + key + payload
    cdef char *target = PyBytes_AS_STRING(frame) + len(head) + 4
    _xor(target, target, len(payload), PyBytes_AS_STRING(key))
    return frame
