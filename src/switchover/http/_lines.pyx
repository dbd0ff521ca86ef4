"""Cutting a head into its lines (RFC 9112 §2.1). The only file here with pointers; see _lines_py."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr

cdef bint _plain(const unsigned char *text, Py_ssize_t size) noexcept nogil:
    # Without a way out of the loop, so that the compiler takes many octets at a time.
    cdef int bad = 0
    cdef Py_ssize_t i
    for i in range(size):
        bad |= ((text[i] < 0x20) & (text[i] != 0x09)) | (text[i] == 0x7F)
    return bad == 0

cdef inline bint _blank(char octet) noexcept nogil:
    return octet == 0x20 or octet == 0x09

cpdef Py_ssize_t cut_head(bytes data, Py_ssize_t start, Py_ssize_t longest, list pieces) except -2:
    cdef const char *origin = PyBytes_AS_STRING(data)
    cdef const char *end = origin + PyBytes_GET_SIZE(data)
    cdef const char *line
    cdef const char *stop
    cdef const char *value
    cdef const char *colon = NULL
    cdef bint first = True
    if not 0 <= start <= PyBytes_GET_SIZE(data):
        raise IndexError("no such octets")
    line = origin + start
    while True:
        stop = <const char *> memchr(line, 0x0D, end - line)
        if stop == NULL or stop + 1 == end or stop[1] != 0x0A:
            return -1
        if stop == line:
            return -1 if first else stop + 2 - origin
        if not _plain(<const unsigned char *> line, stop - line):
            return -1
        if first:
            pieces.append(PyBytes_FromStringAndSize(line, stop - line))
            first = False
        else:
            colon = <const char *> memchr(line, 0x3A, stop - line)
            if colon == NULL or colon == line or _blank(line[0]) or stop - line > longest:
                return -1
            pieces.append(PyBytes_FromStringAndSize(line, colon - line))
            value = colon + 1
            line = stop
            while value < line and _blank(value[0]):
                value += 1
            while line > value and _blank(line[-1]):
                line -= 1
            pieces.append(PyBytes_FromStringAndSize(value, line - value))
        line = stop + 2
