cpdef Py_ssize_t cut_head(bytes data, Py_ssize_t start, Py_ssize_t longest, list pieces) except -2
