# Contract of polyexec._fast.hpack. A reader belongs to one thread; the module itself is stateless.
from libc.stdint cimport uint8_t


cdef enum:
    # A header list may not be larger, counted as RFC 9113 counts: 32 bytes more per field.
    MAX_HEADER_LIST = 65536
    # No name or value that passes can be longer once its Huffman code is undone.
    HPACK_SCRATCH = MAX_HEADER_LIST


cdef struct HpackField:
    const uint8_t* name       # valid until the next call
    Py_ssize_t name_length
    const uint8_t* value
    Py_ssize_t value_length
    int name_index            # of the static table; 0: the name was spelled out


cdef struct HpackReader:
    const uint8_t* at
    const uint8_t* end
    uint8_t* names            # HPACK_SCRATCH bytes each, lent by the caller
    uint8_t* values
    Py_ssize_t room           # what is left of MAX_HEADER_LIST
    bint begun                # a field was read: no table size update may follow


# Read the next field: 1, or 0 at the end of the block, or -1 when the block is not valid. The
# dynamic table is empty and stays so, as we announce SETTINGS_HEADER_TABLE_SIZE 0: every block
# stands alone, and one that refers to the table is not valid.
cdef void c_hpack_begin(
    HpackReader* reader, const uint8_t* block, Py_ssize_t length, uint8_t* names, uint8_t* values
) noexcept nogil
cdef int c_hpack_next(HpackReader* reader, HpackField* field) noexcept nogil

# Write an integer behind a prefix of `bits` bits whose upper bits are `first`; at most 6 bytes.
cdef uint8_t* c_hpack_integer(
    uint8_t* out, uint8_t first, int bits, Py_ssize_t value
) noexcept nogil
