# Conversions that every compiled module shares.
from cpython.bool cimport PyBool_Check
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int64_t, uint8_t


# Cython's own conversion takes a float and cuts its fraction off; this one raises TypeError, and
# OverflowError above 64 bits. A bool is a slip of the caller, as everywhere in the library.
cdef inline int64_t as_int64(object value) except? -1:
    if PyBool_Check(value):
        raise TypeError("value must be an int, not bool")
    return <int64_t>PyNumber_Index(value)


# Plain decimal text ("12", "0.50") times 10 ** places; -1 when it is not plain, not on that grid or
# above int64. 0 <= places <= 6.
cdef int64_t c_plain_scaled(const uint8_t* text, Py_ssize_t length, int places) noexcept nogil


cdef inline const uint8_t* checked_bytes(
    object value, Py_ssize_t length, str name
) except NULL:
    # Borrows: the caller's reference keeps the bytes alive.
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    if PyBytes_GET_SIZE(value) != length:
        raise ValueError(f"{name} must be {length} bytes, not {PyBytes_GET_SIZE(value)}")
    return <const uint8_t*>PyBytes_AS_STRING(value)
