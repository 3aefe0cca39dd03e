# Contract of polyexec._fast.fields: header fields of requests and answers (RFC 9113, section 8).
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    HEADER_BLOCK = 16_384  # the largest that we send: it fits the smallest allowed frame


cdef struct AnswerHead:
    int status                # 0: the block has none
    int64_t promised          # content-length; -1: none
    uint32_t code             # the error code, when it is not valid


# Read a block whose fields may be `headers`, or None when it is only checked to be HPACK. Returns
# what is wrong, or None. `scratch` has two times HPACK_SCRATCH bytes.
cdef str read_answer(
    AnswerHead* head, const uint8_t* block, Py_ssize_t length, uint8_t* scratch,
    bint is_trailers, dict headers
)


cdef class HeaderWriter:
    cdef uint8_t* block           # HEADER_BLOCK bytes
    cdef object refusal           # the exception that says what cannot be sent
    cdef bytes authority          # encoded
    cdef dict methods             # text -> encoded; so the next two
    cdef dict paths
    cdef dict names

    # Write the block of a request with a body of `length`; return its size.
    cdef Py_ssize_t write(
        self, str method, str path, dict headers, Py_ssize_t length
    ) except -1
    cdef bytes literal(self, dict memory, uint8_t first, str text, str field)
