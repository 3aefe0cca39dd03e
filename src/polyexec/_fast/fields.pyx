"""The header fields of requests and answers: how they are written, and which are allowed.

A request is written as static indexes and literals without indexing, credentials as literals that
may never be indexed. So a block depends on nothing that was sent before.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from polyexec._fast.frames cimport COMPRESSION_ERROR, PROTOCOL_ERROR
from polyexec._fast.hpack cimport (
    HPACK_SCRATCH, HpackField, HpackReader, c_hpack_begin, c_hpack_integer, c_hpack_next,
)

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* length) except NULL

cdef enum:
    MEMORY = 64  # methods, paths and names of headers
    LENGTH_ROOM = 21  # the digits of a length, and how many
    AUTHORITY_NAME = 1  # literals without indexing; the name is of the static table
    METHOD_NAME = 2
    PATH_NAME = 4
    NEVER_INDEXED = 0x10  # a literal that no proxy may put into a table either, and its name

cdef bytes SCHEME = b"\x87"
cdef bytes JSON = b"\x0f\x10\x10application/json"
cdef bytes LENGTH = b"\x0f\x0d"
cdef frozenset CONNECTION_HEADERS = frozenset(
    ("connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade")
)
# Those that the writer writes by itself, or that have no place in our requests.
cdef frozenset OWN_HEADERS = frozenset(("content-type", "content-length", "host", "te"))


@cython.final
cdef class HeaderWriter:
    """Writes the header blocks of one connection; methods, paths and names are encoded once.

    Parameters
    ----------
    authority : str
        What ``:authority`` says.
    refusal : type of Exception
        Raised for what cannot be sent, with the name of the field and never with its value.
    """

    def __cinit__(self, *_):
        self.block = <uint8_t*>malloc(HEADER_BLOCK)
        if self.block == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.block)

    def __init__(self, str authority not None, refusal):
        self.refusal = refusal
        self.methods = {"GET": b"\x82", "POST": b"\x83"}
        self.paths = {"/": b"\x84"}
        self.names = {}
        self.authority = self.literal({}, AUTHORITY_NAME, authority, ":authority")

    cdef Py_ssize_t write(
        self, str method, str path, dict headers, Py_ssize_t length
    ) except -1:
        cdef uint8_t* at = self.block
        cdef const uint8_t* end = at + HEADER_BLOCK
        cdef const char* text
        cdef Py_ssize_t size
        cdef bytes name
        at = write_bytes(at, end, self.literal(self.methods, METHOD_NAME, method, ":method"))
        at = write_bytes(at, end, SCHEME)
        at = write_bytes(at, end, self.authority)
        at = write_bytes(at, end, self.literal(self.paths, PATH_NAME, path, ":path"))
        if length:
            at = write_bytes(at, end, JSON)
            at = write_length(write_bytes(at, end, LENGTH), end, length)
        for key, value in headers.items():
            name = <bytes>self.names.get(key)
            if name is None:
                name = self.literal(self.names, NEVER_INDEXED, key, "")
            try:
                text = PyUnicode_AsUTF8AndSize(value, &size)
            except UnicodeEncodeError:
                # From None: the error holds the value, which may be a credential.
                raise self.refusal(f"header {key}: its value cannot be encoded") from None
            if not is_plain(text, size):
                raise self.refusal(f"header {key}: its value has a line break or outer space")
            at = write_bytes(at, end, name)
            at = write_text(at, end, text, size)
        if at == NULL:
            raise self.refusal(f"the headers are longer than {HEADER_BLOCK} bytes")
        return at - self.block

    cdef bytes literal(self, dict memory, uint8_t first, str text, str field):
        """Return a literal up to its value, or with it for a ``field`` that has a name."""
        cdef bytes encoded = <bytes>memory.get(text)
        cdef bytes raw
        cdef uint8_t[8] prefix
        cdef uint8_t* end
        if encoded is not None:
            return encoded
        lower = text if field else text.lower()
        raw = lower.encode("utf-8", "surrogatepass")
        if field:
            if not is_visible(raw):
                raise self.refusal(f"{field}: {text!r} has characters that may not be sent")
        elif (
            not is_visible(raw) or ":" in lower
            or lower in CONNECTION_HEADERS or lower in OWN_HEADERS
        ):
            raise self.refusal(f"header {text!r} may not be sent")
        prefix[0] = first
        end = c_hpack_integer(prefix + 1, 0, 7, PyBytes_GET_SIZE(raw))
        encoded = PyBytes_FromStringAndSize(<const char*>prefix, end - prefix) + raw
        if len(memory) < MEMORY:
            memory[text] = encoded
        return encoded


cdef str read_answer(
    AnswerHead* head, const uint8_t* block, Py_ssize_t length, uint8_t* scratch,
    bint is_trailers, dict headers
):
    cdef HpackReader reader
    cdef HpackField field
    cdef int found
    cdef bint is_regular = False
    head.status = 0
    head.promised = -1
    head.code = PROTOCOL_ERROR
    c_hpack_begin(&reader, block, length, scratch, scratch + HPACK_SCRATCH)
    while True:
        found = c_hpack_next(&reader, &field)
        if found < 0:
            head.code = COMPRESSION_ERROR
            return "a header block that is not valid"
        if not found:
            return None
        if headers is None:
            continue
        if not is_field(&field):
            return "a header that is not allowed"
        if field.name[0] == c":":
            # The only one of an answer, and it comes first and once; trailers have none.
            if is_trailers or is_regular or head.status or not is_named(&field, b":status", 7):
                return "a misplaced pseudo-header"
            head.status = read_status(&field)
            if not head.status:
                return "a status that is no number"
            continue
        is_regular = True
        if is_named(&field, b"content-length", 14) and not read_length(&field, &head.promised):
            return "a content-length that is no number"
        # Of provisional answers nobody asks for headers.
        if head.status >= 200:
            headers[
                NAMES[field.name_index] if field.name_index
                else PyUnicode_DecodeLatin1(<const char*>field.name, field.name_length, NULL)
            ] = PyUnicode_DecodeLatin1(<const char*>field.value, field.value_length, NULL)


cdef tuple static_names():
    """Return the names of the static table, so that an answer's headers share them."""
    cdef HpackReader reader
    cdef HpackField field
    cdef uint8_t[1] block
    cdef int index
    names = [""]
    for index in range(1, 62):
        block[0] = 0x80 | index
        c_hpack_begin(&reader, block, 1, NULL, NULL)
        c_hpack_next(&reader, &field)
        names.append((<const char*>field.name)[:field.name_length].decode("ascii"))
    return tuple(names)


cdef tuple NAMES = static_names()


# The writers take NULL, "no room", and hand it on; so one look at the end will do.

cdef uint8_t* write_bytes(uint8_t* out, const uint8_t* end, bytes data) noexcept:
    cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
    if out == NULL or end - out < length:
        return NULL
    memcpy(out, PyBytes_AS_STRING(data), length)
    return out + length


cdef uint8_t* write_text(
    uint8_t* out, const uint8_t* end, const char* text, Py_ssize_t length
) noexcept nogil:  # hot
    if out == NULL or end - out < length + 6:
        return NULL
    out = c_hpack_integer(out, 0, 7, length)
    memcpy(out, text, length)
    return out + length


cdef uint8_t* write_length(
    uint8_t* out, const uint8_t* end, Py_ssize_t value
) noexcept nogil:  # hot
    cdef char[20] digits
    cdef int at = 20
    if out == NULL or end - out < LENGTH_ROOM:
        return NULL
    while value:
        at -= 1
        digits[at] = c"0" + value % 10
        value //= 10
    out[0] = 20 - at
    memcpy(out + 1, digits + at, 20 - at)
    return out + 21 - at


cdef bint is_plain(const char* text, Py_ssize_t length) noexcept nogil:  # hot
    """Whether a value may be sent."""
    cdef Py_ssize_t index
    cdef bint breaks = False
    if not length:
        return True
    for index in range(length):
        breaks |= text[index] == 0 or text[index] == c"\r" or text[index] == c"\n"
    return not (breaks or is_space(text[0]) or is_space(text[length - 1]))


cdef bint is_space(char character) noexcept nogil:  # hot
    return character == c" " or character == c"\t"


cdef bint is_field(const HpackField* field) noexcept nogil:  # hot
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


cdef bint is_named(
    const HpackField* field, const char* name, Py_ssize_t length
) noexcept nogil:  # hot
    return field.name_length == length and memcmp(field.name, name, length) == 0


cdef bint is_trailers(const HpackField* field) noexcept nogil:
    cdef const char* word = b"trailers"
    cdef int index
    if field.value_length != 8:
        return False
    for index in range(8):
        if field.value[index] | 0x20 != word[index]:
            return False
    return True


cdef int read_status(const HpackField* field) noexcept nogil:  # hot
    """Return the three digits of a status, or 0."""
    cdef int index, status = 0
    if field.value_length != 3 or field.value[0] == c"0":
        return 0
    for index in range(3):
        if not c"0" <= field.value[index] <= c"9":
            return 0
        status = 10 * status + field.value[index] - c"0"
    return status


cdef bint read_length(const HpackField* field, int64_t* length) noexcept nogil:  # hot
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


cdef bint is_visible(bytes text) noexcept:
    """Whether text is there, and of nothing but visible ASCII."""
    cdef uint8_t byte
    for byte in text:
        if byte <= 0x20 or byte >= 0x7F:
            return False
    return len(text) > 0
