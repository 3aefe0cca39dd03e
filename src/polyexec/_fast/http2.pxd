# Contract of polyexec._fast.http2. Everything belongs to whoever holds the connection's lock.
from libc.stdint cimport int64_t, uint8_t, uint32_t

from polyexec._fast.fields cimport HeaderWriter


cdef class Stream:
    cdef uint32_t number
    cdef bytes body               # of the request
    cdef Py_ssize_t sent          # how much of it went out
    cdef int64_t send_window
    cdef int64_t unreturned       # received bytes whose window was not given back yet
    cdef bint is_head             # its answer has no content, whatever its length says
    cdef bint is_heard            # the peer answered something, so it has read the request
    cdef bint is_given_up         # nobody waits any more; the peer's frames are checked still
    cdef int status               # of the final answer; 0: not there yet
    cdef dict headers
    cdef int64_t expected         # content-length; -1: none
    cdef int64_t received
    cdef object content           # None, bytes of one frame, or bytearray of several


cdef class Http2Core:
    cdef public str closing       # why no request is taken; empty while they are
    cdef readonly bint ready      # the peer's settings are here
    cdef readonly Py_ssize_t in_flight
    cdef dict streams             # number -> Stream, those that are not closed
    cdef dict silenced            # closed numbers: True after a reset, False after our complaint
    cdef list output
    cdef Py_ssize_t owed          # bytes in output that the peer made us write
    cdef bytes rest               # of the input: less than a frame
    cdef bytearray block          # header block whose end has not come; None: between blocks
    cdef uint32_t block_stream
    cdef bint block_ends
    cdef int block_frames
    cdef bint lost
    cdef int64_t send_window
    cdef int64_t unreturned
    cdef int64_t next_number
    cdef int64_t last_number
    cdef int64_t peer_streams     # the peer's limits
    cdef int64_t peer_window
    cdef int64_t peer_frame
    cdef int64_t max_response
    cdef HeaderWriter writer
    cdef uint8_t* scratch         # two times HPACK_SCRATCH bytes

    cdef uint8_t* write_body(self, Stream stream, uint8_t* out, Py_ssize_t count) noexcept
    cdef Py_ssize_t sendable(self, Stream stream) noexcept
    cdef int continue_bodies(self) except -1
    cdef int owe(self, int kind, int flags, uint32_t stream, const uint8_t* payload,
                 Py_ssize_t length) except -1
    cdef int owe_number(self, int kind, uint32_t stream, uint32_t number) except -1
    cdef int broken(self, uint32_t code, str reason, list facts) except -1
    cdef int close_stream(self, Stream stream, bint was_reset) except -1
    cdef int silence(self, uint32_t number, bint was_reset) except -1
    cdef bint is_idle(self, uint32_t number) noexcept

    cdef int take_frame(self, int kind, int flags, uint32_t number, const uint8_t* payload,
                        Py_ssize_t length, list facts) except -1
    cdef int take_data(self, int flags, uint32_t number, const uint8_t* payload,
                       Py_ssize_t length, list facts) except -1
    cdef int take_content(self, Stream stream, const uint8_t* content, Py_ssize_t length,
                          bint ends, list facts) except -1
    cdef int take_headers(self, int flags, uint32_t number, const uint8_t* payload,
                          Py_ssize_t length, list facts) except -1
    cdef int take_continuation(self, int flags, const uint8_t* payload, Py_ssize_t length,
                               list facts) except -1
    cdef int take_block(self, uint32_t number, bint ends, const uint8_t* block,
                        Py_ssize_t length, list facts) except -1
    cdef int take_fields(self, Stream stream, bint ends, const uint8_t* block,
                         Py_ssize_t length, list facts) except -1
    cdef int take_end(self, Stream stream, list facts) except -1
    cdef int take_reset(self, uint32_t number, uint32_t code, list facts) except -1
    cdef int take_settings(self, int flags, const uint8_t* payload, Py_ssize_t length,
                           list facts) except -1
    cdef int take_setting(self, int name, int64_t value, list facts) except -1
    cdef int take_goaway(self, const uint8_t* payload, list facts) except -1
    cdef int take_window(self, uint32_t number, uint32_t increment, list facts) except -1
