cpdef take(bytearray data, Py_ssize_t start, Py_ssize_t stop, bint masked, bint text)
cpdef bytes mask(bytes head, bytes payload, bytes key)
