# The bytes of HTTP/2 frames (RFC 9113, sections 4 to 7): numbers, and how they are written.
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum FrameType:
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9

cdef enum Flag:
    ACK = 0x1
    END_STREAM = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    WITH_PRIORITY = 0x20

cdef enum Setting:
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8

cdef enum ErrorCode:
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11

cdef enum:
    FRAME_HEADER = 9


cdef inline bint has_size(int kind, Py_ssize_t length) noexcept nogil:
    """Whether a frame of a fixed size has it; the last part of a GOAWAY is free."""
    if kind == PING:
        return length == 8
    if kind == GOAWAY:
        return length >= 8
    return length == (5 if kind == PRIORITY else 4)


cdef inline Py_ssize_t frames(Py_ssize_t count, int64_t size) noexcept nogil:  # hot
    return (count + size - 1) // size


cdef inline uint32_t read_number(const uint8_t* at) noexcept nogil:  # hot
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


cdef inline void write_number(uint8_t* out, uint32_t number) noexcept nogil:  # hot
    out[0] = number >> 24
    out[1] = number >> 16 & 255
    out[2] = number >> 8 & 255
    out[3] = number & 255


cdef inline uint8_t* write_header(
    uint8_t* out, Py_ssize_t length, int kind, int flags, uint32_t stream
) noexcept nogil:  # hot
    out[0] = length >> 16 & 255
    out[1] = length >> 8 & 255
    out[2] = length & 255
    out[3] = kind
    out[4] = flags
    write_number(out + 5, stream)
    return out + FRAME_HEADER


cdef inline uint8_t* write_setting(uint8_t* out, int name, uint32_t value) noexcept nogil:
    out[0] = 0
    out[1] = name
    write_number(out + 2, value)
    return out + 6
