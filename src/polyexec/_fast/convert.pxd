# Conversions that every compiled module shares.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int64_t, uint8_t


# Cython's own conversion takes a float and cuts its fraction off; this one raises TypeError, and
# OverflowError above 64 bits.
cdef inline int64_t as_int64(object value) except? -1:
    return <int64_t>PyNumber_Index(value)


cdef inline const uint8_t* checked_bytes(
    object value, Py_ssize_t length, str name
) except NULL:
    # Borrows: the caller's reference keeps the bytes alive.
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    if PyBytes_GET_SIZE(value) != length:
        raise ValueError(f"{name} must be {length} bytes, not {PyBytes_GET_SIZE(value)}")
    return <const uint8_t*>PyBytes_AS_STRING(value)
