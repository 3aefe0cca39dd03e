"""HPACK (RFC 7541) for a peer that was told to use no table. Compared with the ``hpack`` library.

Fields go out as static indexes and literals without indexing, so there is no encoder state. They
come in in every representation; what needs a dynamic table is refused.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from "hpack.h" nogil:
    ctypedef struct HpackStaticField:
        const char* name
        uint8_t name_length
        const char* value
        uint8_t value_length
    cdef enum:
        HPACK_STATIC_FIELDS
        HPACK_EOS
    const HpackStaticField* HPACK_STATIC
    const uint32_t* HPACK_CODES
    const uint8_t* HPACK_CODE_LENGTHS

cdef enum:
    NODES = HPACK_EOS  # inner nodes of the code tree: one fewer than its leaves
    EMITS = 1
    FAILS = 2
    INTEGER_BYTES = 5  # after the prefix; as many as the hpack library takes


cdef struct Step:
    uint8_t node
    uint8_t flags
    uint8_t symbol


# What four more bits of Huffman code do. Written once, here, while the module is imported.
cdef Step[NODES][16] STEPS
# Whether the code may end there: at most 7 bits of padding, all ones.
cdef uint8_t[NODES] MAY_END


cdef int build_steps() except -1:
    # Inner nodes are numbers below NODES, leaves NODES + symbol, 0 is "not there yet".
    cdef uint16_t[NODES][2] tree
    cdef int symbol, bit, node, used = 1, start, nibble, depth, _padding
    cdef uint32_t code
    for node in range(NODES):
        tree[node][0] = tree[node][1] = 0
        MAY_END[node] = 0
    for symbol in range(HPACK_EOS + 1):
        node = 0
        code = HPACK_CODES[symbol]
        for depth in range(HPACK_CODE_LENGTHS[symbol] - 1, 0, -1):
            bit = code >> depth & 1
            if not tree[node][bit]:
                tree[node][bit] = used
                used += 1
            node = tree[node][bit]
        tree[node][code & 1] = NODES + symbol
    if used != NODES:
        raise AssertionError("the Huffman code is not complete")
    node = 0
    for _padding in range(8):
        MAY_END[node] = 1
        node = tree[node][1]
    for start in range(NODES):
        for nibble in range(16):
            STEPS[start][nibble] = walk(tree, start, nibble)
    return 0


cdef Step walk(uint16_t[2]* tree, int node, int nibble) noexcept nogil:
    cdef Step step
    cdef int depth
    step.flags = step.symbol = step.node = 0
    for depth in range(3, -1, -1):
        node = tree[node][nibble >> depth & 1]
        if node == NODES + HPACK_EOS:
            step.flags = FAILS
            return step
        if node >= NODES:
            # No code is shorter than 5 bits, so that four bits end one code at most.
            step.symbol = node - NODES
            step.flags = EMITS
            node = 0
    step.node = node
    return step


build_steps()


cdef Py_ssize_t huffman(
    const uint8_t* code, Py_ssize_t length, uint8_t* out
) noexcept nogil:  # hot
    """Decode into HPACK_SCRATCH bytes; return how many, or -1."""
    cdef uint8_t node = 0
    cdef Py_ssize_t index, written = 0
    cdef Step step
    for index in range(length):
        step = STEPS[node][code[index] >> 4]
        if step.flags:
            if step.flags == FAILS or written == HPACK_SCRATCH:
                return -1
            out[written] = step.symbol
            written += 1
        step = STEPS[step.node][code[index] & 15]
        if step.flags:
            if step.flags == FAILS or written == HPACK_SCRATCH:
                return -1
            out[written] = step.symbol
            written += 1
        node = step.node
    return written if MAY_END[node] else -1


cdef bint read_integer(HpackReader* reader, int bits, uint64_t* value) noexcept nogil:  # hot
    """Read an integer whose first byte is there; False: it does not end, or is too long."""
    cdef uint8_t mask = (1 << bits) - 1
    cdef uint8_t byte
    cdef int index
    value[0] = reader.at[0] & mask
    reader.at += 1
    if value[0] < mask:
        return True
    for index in range(INTEGER_BYTES):
        if reader.at == reader.end:
            return False
        byte = reader.at[0]
        reader.at += 1
        value[0] += <uint64_t>(byte & 127) << 7 * index
        if byte < 128:
            return True
    return False


cdef bint read_string(
    HpackReader* reader, uint8_t* scratch, const uint8_t** text, Py_ssize_t* length
) noexcept nogil:  # hot
    cdef uint64_t size
    cdef bint coded
    if reader.at == reader.end:
        return False
    coded = reader.at[0] & 0x80
    if not read_integer(reader, 7, &size) or size > <uint64_t>(reader.end - reader.at):
        return False
    text[0] = reader.at
    length[0] = <Py_ssize_t>size
    reader.at += size
    if coded:
        length[0] = huffman(text[0], length[0], scratch)
        text[0] = scratch
    return length[0] >= 0


cdef void c_hpack_begin(
    HpackReader* reader, const uint8_t* block, Py_ssize_t length, uint8_t* names, uint8_t* values
) noexcept nogil:
    reader.at = block
    reader.end = block + length
    reader.names = names
    reader.values = values
    reader.room = MAX_HEADER_LIST
    reader.begun = False


cdef int c_hpack_next(HpackReader* reader, HpackField* field) noexcept nogil:  # hot
    cdef uint8_t first
    cdef uint64_t index
    cdef const HpackStaticField* entry
    while reader.at < reader.end:
        first = reader.at[0]
        if first & 0xE0 == 0x20:
            # A table size update: at the start of a block only, and nothing but zero.
            if reader.begun or not read_integer(reader, 5, &index) or index:
                return -1
            continue
        if not read_integer(reader, 7 if first & 0x80 else 6 if first & 0x40 else 4, &index):
            return -1
        if index > HPACK_STATIC_FIELDS or (first & 0x80 and not index):
            return -1
        field.name_index = <int>index
        if index:
            entry = &HPACK_STATIC[index]
            field.name = <const uint8_t*>entry.name
            field.name_length = entry.name_length
        elif not read_string(reader, reader.names, &field.name, &field.name_length):
            return -1
        if first & 0x80:
            field.value = <const uint8_t*>entry.value
            field.value_length = entry.value_length
        elif not read_string(reader, reader.values, &field.value, &field.value_length):
            return -1
        reader.begun = True
        reader.room -= 32 + field.name_length + field.value_length
        return -1 if reader.room < 0 else 1
    return 0


cdef uint8_t* c_hpack_integer(
    uint8_t* out, uint8_t first, int bits, Py_ssize_t value
) noexcept nogil:  # hot
    cdef uint8_t mask = (1 << bits) - 1
    if value < mask:
        out[0] = first | <uint8_t>value
        return out + 1
    out[0] = first | mask
    out += 1
    value -= mask
    while value >= 128:
        out[0] = <uint8_t>(value & 127) | 128
        out += 1
        value >>= 7
    out[0] = <uint8_t>value
    return out + 1


def hpack_decode(block):
    """Return the fields of one header block. For tests.

    Raises
    ------
    ValueError
        It is not valid, needs a dynamic table, or is larger than 65 536 bytes as a list.
    """
    cdef bytes held = block
    cdef HpackReader reader
    cdef HpackField field
    cdef int found
    cdef uint8_t* scratch = <uint8_t*>malloc(2 * HPACK_SCRATCH)
    if scratch == NULL:
        raise MemoryError
    fields = []
    try:
        c_hpack_begin(
            &reader,
            <const uint8_t*>PyBytes_AS_STRING(held),
            PyBytes_GET_SIZE(held),
            scratch,
            scratch + HPACK_SCRATCH,
        )
        while True:
            found = c_hpack_next(&reader, &field)
            if found < 0:
                raise ValueError("not a valid header block")
            if not found:
                return fields
            fields.append((
                PyBytes_FromStringAndSize(<const char*>field.name, field.name_length),
                PyBytes_FromStringAndSize(<const char*>field.value, field.value_length),
            ))
    finally:
        free(scratch)


def hpack_integer(first, bits, value):
    """Return an integer behind a prefix. For tests."""
    cdef uint8_t[16] out
    if not (1 <= bits <= 8 and 0 <= value < 2**32):
        raise ValueError(f"{value} behind {bits} bits")
    cdef uint8_t* end = c_hpack_integer(out, first, bits, value)
    return PyBytes_FromStringAndSize(<const char*>out, end - out)
