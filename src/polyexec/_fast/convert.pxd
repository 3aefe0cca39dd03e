# Conversions that every compiled module shares.
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int64_t


# Cython's own conversion takes a float and cuts its fraction off; this one raises TypeError, and
# OverflowError above 64 bits.
cdef inline int64_t as_int64(object value) except? -1:
    return <int64_t>PyNumber_Index(value)
