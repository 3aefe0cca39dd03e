# Contract of polyexec._fast.moulds: copies of a record that differ in a few slots. A mould is
# written when it is made and only read afterwards; a copy belongs to whoever asked for it.

cdef enum:
    MOST_SLOTS = 32


cdef class Mould:
    cdef type kind
    cdef tuple fixed
    cdef Py_ssize_t count                # of all slots, the fixed ones first
    cdef Py_ssize_t[MOST_SLOTS] offsets  # where an instance keeps each
