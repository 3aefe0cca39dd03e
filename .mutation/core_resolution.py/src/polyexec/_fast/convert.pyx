"""Numbers as people mostly write them, to integers. Readable twin: ``_pure.convert``."""

from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject_Repr, PyObject_Str
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport INT64_MAX, int64_t, uint8_t

from decimal import Decimal

cdef extern from "Python.h":
    bint PyFloat_CheckExact(object value)
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    CENT = 10_000  # micro-units in a hundredth

cdef int64_t[7] POWERS_OF_TEN = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]
cdef object DECIMAL = Decimal


def plain_leg(price, size, tick_size):  # hot
    """Return (price_e4, size_micro, tick_e4), or None; see ``_pure.convert``."""
    cdef int64_t price_e4 = scaled(price, 4), tick_e4 = scaled(tick_size, 4)
    cdef int64_t size_micro = scaled(size, 6)
    if size_micro < CENT or not 0 < price_e4 < 10_000 or not is_tick(tick_e4):
        return None
    if price_e4 % tick_e4:
        return None
    return price_e4, size_micro // CENT * CENT, tick_e4


def plain_scaled(value, places):  # hot
    """Return ``value * 10 ** places``, or -1 when it is not plain; see ``_pure.convert``."""
    cdef int64_t decimals = as_int64(places)
    if decimals < 0 or decimals > 6:
        raise ValueError(f"places must be 0 to 6, not {decimals}")
    return scaled(value, <int>decimals)


cdef int64_t scaled(object value, int places) except? -1:  # hot
    cdef int64_t number
    cdef int overflow
    if PyUnicode_CheckExact(value):
        return plain_text(value, places)
    if PyLong_CheckExact(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow or number < 0 or number > INT64_MAX // POWERS_OF_TEN[places]:
            return -1
        return number * POWERS_OF_TEN[places]
    if PyFloat_CheckExact(value):
        return plain_text(PyObject_Repr(value), places)
    if type(value) is DECIMAL:
        return plain_text(PyObject_Str(value), places)
    return -1


cdef inline bint is_tick(int64_t e4) noexcept nogil:
    return e4 == 100 or e4 == 10 or e4 == 1 or e4 == 1000 or e4 == 50 or e4 == 25


cdef inline int64_t plain_text(object text, int places) noexcept:  # hot
    if not PyUnicode_IS_COMPACT_ASCII(text):
        return -1
    return c_plain_scaled(<const uint8_t*>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text), places)


cdef int64_t c_plain_scaled(
    const uint8_t* text, Py_ssize_t length, int places
) noexcept nogil:  # hot
    cdef int64_t result = 0
    cdef bint has_digit = False, has_point = False
    cdef int digit
    cdef Py_ssize_t i
    for i in range(length):
        if text[i] == c"." and not has_point:
            has_point = True
            continue
        digit = <int>text[i] - c"0"
        if digit < 0 or digit > 9:
            return -1
        has_digit = True
        if has_point:
            if places == 0:
                if digit:
                    return -1
                continue
            places -= 1
        if result > (INT64_MAX - digit) // 10:
            return -1
        result = result * 10 + digit
    if not has_digit or result > INT64_MAX // POWERS_OF_TEN[places]:
        return -1
    return result * POWERS_OF_TEN[places]
