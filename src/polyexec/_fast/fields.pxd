# What RFC 9113, section 8, allows in the header fields of an answer.
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp

from polyexec._fast.hpack cimport HpackField


cdef inline bint is_plain(const char* text, Py_ssize_t length) noexcept nogil:  # hot
    """Whether a value may be sent."""
    cdef Py_ssize_t index
    cdef bint breaks = False
    if not length:
        return True
    for index in range(length):
        breaks |= text[index] == 0 or text[index] == c"\r" or text[index] == c"\n"
    return not (breaks or is_space(text[0]) or is_space(text[length - 1]))


cdef inline bint is_space(char character) noexcept nogil:  # hot
    return character == c" " or character == c"\t"


cdef inline bint is_field(const HpackField* field) noexcept nogil:  # hot
    """Whether RFC 9113, section 8.2, allows a field in an answer."""
    cdef Py_ssize_t index
    cdef uint8_t byte
    if not field.name_index:
        if not field.name_length:
            return False
        for index in range(field.name_length):
            byte = field.name[index]
            if byte <= 0x20 or byte >= 0x7F or c"A" <= byte <= c"Z":
                return False
            if byte == c":" and index:
                return False
    if not is_plain(<const char*>field.value, field.value_length):
        return False
    if (
        is_named(field, b"connection", 10)
        or is_named(field, b"proxy-connection", 16)
        or is_named(field, b"keep-alive", 10)
        or is_named(field, b"transfer-encoding", 17)
        or is_named(field, b"upgrade", 7)
    ):
        return False
    return not is_named(field, b"te", 2) or is_trailers(field)


cdef inline bint is_named(
    const HpackField* field, const char* name, Py_ssize_t length
) noexcept nogil:  # hot
    return field.name_length == length and memcmp(field.name, name, length) == 0


cdef inline bint is_trailers(const HpackField* field) noexcept nogil:
    cdef const char* word = b"trailers"
    cdef int index
    if field.value_length != 8:
        return False
    for index in range(8):
        if field.value[index] | 0x20 != word[index]:
            return False
    return True


cdef inline int read_status(const HpackField* field) noexcept nogil:  # hot
    """Return the three digits of a status, or 0."""
    cdef int index, status = 0
    if field.value_length != 3 or field.value[0] == c"0":
        return 0
    for index in range(3):
        if not c"0" <= field.value[index] <= c"9":
            return 0
        status = 10 * status + field.value[index] - c"0"
    return status


cdef inline bint read_length(const HpackField* field, int64_t* length) noexcept nogil:  # hot
    """Read a content-length; False: no number, or not the one that stood before."""
    cdef Py_ssize_t index
    cdef int64_t value = 0
    if not field.value_length:
        return False
    for index in range(field.value_length):
        if not c"0" <= field.value[index] <= c"9":
            return False
        # More than any answer may have, and still comparable.
        value = min(10 * value + field.value[index] - c"0", 1LL << 56)
    if length[0] >= 0 and length[0] != value:
        return False
    length[0] = value
    return True
