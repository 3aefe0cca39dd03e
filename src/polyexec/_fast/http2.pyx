"""The client side of an HTTP/2 connection (RFC 9113) without I/O: requests in, bytes out; bytes
in, facts out. Its readable reference is the ``h2`` library; the fuzzer in ``tests/conformance``
holds the two together and names every difference.

One rule is ours: whatever the peer does against the protocol loses the whole connection, also
where one stream would do. Who breaks one rule is not to be believed about the other requests.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from polyexec._fast.fields cimport AnswerHead, HeaderWriter, read_answer
from polyexec._fast.frames cimport (
    ACK, CANCEL, CONTINUATION, DATA, ENABLE_CONNECT_PROTOCOL, ENABLE_PUSH, END_HEADERS, END_STREAM,
    ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_HEADER, FRAME_SIZE_ERROR, GOAWAY,
    HEADER_TABLE_SIZE, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE, NO_ERROR, PADDED, PING, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM,
    SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, WITH_PRIORITY, frames, has_size, read_number,
    write_header, write_number, write_setting,
)
from polyexec._fast.hpack cimport HPACK_SCRATCH, MAX_HEADER_LIST

cdef enum:
    FRAME = 16_384  # the largest that we take; we never ask for more
    HEADER_FRAMES = 64  # HEADERS and CONTINUATION frames of one block
    COMPRESSED = 4 * MAX_HEADER_LIST  # no Huffman code has more than 30 bits
    FIRST_WINDOW = 65_535
    LARGEST_WINDOW = 0x7FFFFFFF
    STREAM_WINDOW = 1024 * 1024
    MORE_WINDOW = 8 * 1024 * 1024  # of the connection, beyond the first
    CONNECTION_WINDOW = FIRST_WINDOW + MORE_WINDOW
    STREAMS = 100
    SILENCED = 1000
    OWED = 1024 * 1024

cdef enum:
    READY
    RESPONSE
    RESET
    GOING
    PONG
    LOST

# What the tuples of receive_facts begin with, and what follows.
FACT_READY = READY  # nothing
FACT_RESPONSE = RESPONSE  # stream id, status, headers, content
FACT_RESET = RESET  # stream id, error code, whether an answer had begun, whether by the peer
FACT_GOAWAY = GOING  # last stream id, error code, [(stream id, whether an answer had begun)]
FACT_PONG = PONG  # payload
FACT_LOST = LOST  # why

cdef bytes PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@cython.final
cdef class Stream:
    """One request and what is known of its answer."""


cdef class Http2Core:
    """One connection. Not thread-safe: the caller holds the lock.

    Parameters
    ----------
    authority : str
        What ``:authority`` says.
    max_response_bytes : int
        A longer answer breaks the connection instead of filling the memory.
    last_stream_id : int
        Highest stream id that may be used; the protocol's own limit unless a test lowers it.

    Attributes
    ----------
    closing : str
        Why no request is taken; empty while requests are taken. The owner may set it.
    ready : bool
        The peer's settings are here.
    in_flight : int
        Requests without a complete answer.
    """

    refusal = RuntimeError

    def __cinit__(self, *_, **__):
        self.scratch = <uint8_t*>malloc(2 * HPACK_SCRATCH)
        if self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.scratch)

    def __init__(
        self, str authority not None, *, max_response_bytes=4 * 1024 * 1024,
        last_stream_id=LARGEST_WINDOW,
    ):
        self.closing = ""
        self.streams = {}
        self.silenced = {}
        self.output = []
        self.rest = b""
        self.writer = HeaderWriter(authority, self.refusal)
        self.send_window = self.peer_window = FIRST_WINDOW
        self.peer_frame = FRAME
        self.peer_streams = LARGEST_WINDOW
        self.next_number = 1
        self.last_number = last_stream_id
        self.max_response = max_response_bytes

    def start(self):
        """Put preface, SETTINGS and the connection's window into the output."""
        cdef uint8_t[30] settings
        cdef uint8_t* at = settings
        at = write_setting(at, HEADER_TABLE_SIZE, 0)
        at = write_setting(at, ENABLE_PUSH, 0)
        at = write_setting(at, MAX_CONCURRENT_STREAMS, STREAMS)
        at = write_setting(at, INITIAL_WINDOW_SIZE, STREAM_WINDOW)
        write_setting(at, MAX_HEADER_LIST_SIZE, MAX_HEADER_LIST)
        self.output.append(PREFACE)
        self.owe(SETTINGS, 0, 0, settings, 30)
        self.owe_number(WINDOW_UPDATE, 0, MORE_WINDOW)

    def take_output(self):
        """Return the bytes to write, once."""
        cdef list output = self.output
        cdef Py_ssize_t count = len(output)
        if not count:
            return b""
        self.output = []
        self.owed = 0
        return output[0] if count == 1 else b"".join(output)

    def request(self, str method not None, str path not None, headers, bytes body not None):  # hot
        """Put a whole request into the output and return its stream id.

        A body larger than the peer's window is finished when the window opens.

        Raises
        ------
        Exception
            ``self.refusal``: the connection cannot take it; nothing of it is in the output.
        """
        cdef Stream stream
        cdef uint8_t* out
        cdef Py_ssize_t block, count
        cdef Py_ssize_t length = PyBytes_GET_SIZE(body)
        cdef bytes data
        if self.closing:
            raise self.refusal(self.closing)
        if not self.ready:
            raise self.refusal("the peer has not sent its settings yet")
        if self.next_number > self.last_number:
            self.closing = "the stream ids of the connection are used up"
            raise self.refusal(self.closing)
        if len(self.streams) >= self.peer_streams:
            raise self.refusal("the peer's limit of concurrent requests is reached")
        block = self.writer.write(
            method, path, headers if type(headers) is dict else dict(headers), length
        )
        stream = Stream.__new__(Stream)
        stream.number = <uint32_t>self.next_number
        stream.body = body
        stream.send_window = self.peer_window
        stream.is_head = method == "HEAD"
        stream.expected = -1
        count = self.sendable(stream)
        data = PyBytes_FromStringAndSize(
            NULL, FRAME_HEADER + block + count + FRAME_HEADER * frames(count, self.peer_frame)
        )
        out = write_header(
            <uint8_t*>PyBytes_AS_STRING(data),
            block,
            HEADERS,
            END_HEADERS if length else END_HEADERS | END_STREAM,
            stream.number,
        )
        memcpy(out, self.writer.block, block)
        self.write_body(stream, out + block, count)
        self.output.append(data)
        self.streams[stream.number] = stream
        self.in_flight += 1
        self.next_number += 2
        return stream.number

    def receive_facts(self, bytes data not None):
        """Read what the peer sent; whatever it is, the answer is facts, never an exception."""
        cdef list facts = []
        cdef bytes whole = self.rest + data if self.rest else data
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(whole)
        cdef const uint8_t* end = at + PyBytes_GET_SIZE(whole)
        cdef Py_ssize_t length
        while not self.lost and end - at >= FRAME_HEADER:
            length = <Py_ssize_t>at[0] << 16 | <Py_ssize_t>at[1] << 8 | at[2]
            if length > FRAME:
                self.broken(FRAME_SIZE_ERROR, f"frame of {length} bytes", facts)
                break
            if end - at < FRAME_HEADER + length:
                break
            self.take_frame(
                at[3], at[4], read_number(at + 5) & 0x7FFFFFFF, at + FRAME_HEADER, length, facts
            )
            at += FRAME_HEADER + length
            if self.owed > OWED and not self.lost:
                self.broken(ENHANCE_YOUR_CALM, "the peer demands too many acknowledgements", facts)
        self.rest = b"" if self.lost or at == end else (
            PyBytes_FromStringAndSize(<const char*>at, end - at)
        )
        return facts

    def cancel(self, stream_id):
        """Give up waiting for an answer, so that it no longer counts as in flight."""
        cdef Stream stream = self.streams.get(stream_id)
        if stream is not None and not stream.is_given_up:
            self.owe_number(RST_STREAM, stream.number, CANCEL)
            self.close_stream(stream, True)

    def ping(self, bytes payload not None):
        """Put a PING into the output; its answer is a fact.

        Raises
        ------
        ValueError
            ``payload`` is not of 8 bytes.
        """
        if PyBytes_GET_SIZE(payload) != 8:
            raise ValueError(f"payload: {PyBytes_GET_SIZE(payload)} bytes, a PING has 8")
        if not self.lost:
            self.owe(PING, 0, 0, <const uint8_t*>PyBytes_AS_STRING(payload), 8)

    def close(self):
        """Put a GOAWAY into the output."""
        if not self.lost:
            self.closing = self.closing or "closed"
            self.broken(NO_ERROR, self.closing, [])

    # --- out ------------------------------------------------------------------------------------

    cdef Py_ssize_t sendable(self, Stream stream) noexcept:  # hot
        """Return how much of the rest of a body the windows let through."""
        cdef int64_t room = min(self.send_window, stream.send_window)
        return max(0, min(room, PyBytes_GET_SIZE(stream.body) - stream.sent))

    cdef uint8_t* write_body(self, Stream stream, uint8_t* out, Py_ssize_t count) noexcept:  # hot
        """Write the next ``count`` bytes of a body as DATA frames."""
        cdef const uint8_t* body = <const uint8_t*>PyBytes_AS_STRING(stream.body)
        cdef Py_ssize_t size
        self.send_window -= count
        stream.send_window -= count
        while count > 0:
            size = min(count, self.peer_frame)
            count -= size
            out = write_header(
                out,
                size,
                DATA,
                END_STREAM if stream.sent + size == PyBytes_GET_SIZE(stream.body) else 0,
                stream.number,
            )
            memcpy(out, body + stream.sent, size)
            out += size
            stream.sent += size
        return out

    cdef int continue_bodies(self) except -1:
        cdef Stream stream
        cdef Py_ssize_t count
        cdef bytes data
        for stream in self.streams.values():
            count = 0 if stream.is_given_up else self.sendable(stream)
            if count:
                data = PyBytes_FromStringAndSize(
                    NULL, count + FRAME_HEADER * frames(count, self.peer_frame)
                )
                self.write_body(stream, <uint8_t*>PyBytes_AS_STRING(data), count)
                self.output.append(data)
        return 1

    cdef int owe(self, int kind, int flags, uint32_t stream, const uint8_t* payload,
                 Py_ssize_t length) except -1:
        cdef bytes data = PyBytes_FromStringAndSize(NULL, FRAME_HEADER + length)
        cdef uint8_t* out = <uint8_t*>PyBytes_AS_STRING(data)
        out = write_header(out, length, kind, flags, stream)
        if length:
            memcpy(out, payload, length)
        self.output.append(data)
        self.owed += FRAME_HEADER + length
        return 1

    cdef int owe_number(self, int kind, uint32_t stream, uint32_t number) except -1:
        cdef uint8_t[4] payload
        write_number(payload, number)
        return self.owe(kind, 0, stream, payload, 4)

    # --- in: every take_* returns 1, or 0 when the connection is lost ---------------------------

    cdef int broken(self, uint32_t code, str reason, list facts) except -1:
        """Say goodbye; nothing more is read."""
        cdef uint8_t[8] payload
        write_number(payload, 0)
        write_number(payload + 4, code)
        self.owe(GOAWAY, 0, 0, payload, 8)
        self.lost = True
        self.closing = reason
        self.streams.clear()
        self.in_flight = 0
        self.block = None
        facts.append((LOST, reason))
        return 0

    cdef bint is_idle(self, uint32_t number) noexcept:
        """Whether a stream was never opened: only we open any, and ours are odd."""
        return not number & 1 or number >= self.next_number

    cdef int close_stream(self, Stream stream, bint was_reset) except -1:
        del self.streams[stream.number]
        if not stream.is_given_up:
            self.in_flight -= 1
        if was_reset:
            self.silence(stream.number, True)
        return 1

    cdef int silence(self, uint32_t number, bint was_reset) except -1:
        if len(self.silenced) >= SILENCED:
            del self.silenced[next(iter(self.silenced))]
        self.silenced[number] = was_reset
        return 1

    cdef int take_frame(self, int kind, int flags, uint32_t number, const uint8_t* payload,
                        Py_ssize_t length, list facts) except -1:
        if not self.ready and (kind != SETTINGS or flags & ACK):
            return self.broken(PROTOCOL_ERROR, "the peer did not begin with its settings", facts)
        if self.block is not None and (kind != CONTINUATION or number != self.block_stream):
            return self.broken(PROTOCOL_ERROR, "a frame in the middle of a header block", facts)
        if kind > CONTINUATION:
            return 1
        if (kind == SETTINGS or kind == PING or kind == GOAWAY) == (number != 0) and (
            kind != WINDOW_UPDATE
        ):
            return self.broken(PROTOCOL_ERROR, "a frame on a stream where it cannot be", facts)
        if kind == DATA:
            return self.take_data(flags, number, payload, length, facts)
        if kind == HEADERS:
            return self.take_headers(flags, number, payload, length, facts)
        if kind == CONTINUATION:
            return self.take_continuation(flags, payload, length, facts)
        if kind == SETTINGS:
            return self.take_settings(flags, payload, length, facts)
        if kind == PUSH_PROMISE:
            return self.broken(PROTOCOL_ERROR, "a push, which we did not allow", facts)
        if not has_size(kind, length):
            return self.broken(FRAME_SIZE_ERROR, f"frame of type {kind} with {length} bytes", facts)
        if kind == PING:
            if flags & ACK:
                facts.append((PONG, PyBytes_FromStringAndSize(<const char*>payload, 8)))
                return 1
            return self.owe(PING, ACK, 0, payload, 8)
        if kind == RST_STREAM:
            return self.take_reset(number, read_number(payload), facts)
        if kind == WINDOW_UPDATE:
            return self.take_window(number, read_number(payload) & 0x7FFFFFFF, facts)
        if kind == GOAWAY:
            return self.take_goaway(payload, facts)
        return 1  # PRIORITY means nothing any more

    cdef int take_data(self, int flags, uint32_t number, const uint8_t* payload,
                       Py_ssize_t length, list facts) except -1:
        cdef Stream stream
        cdef Py_ssize_t content = length
        if flags & PADDED:
            if not length or payload[0] >= length:
                return self.broken(PROTOCOL_ERROR, "padding longer than its frame", facts)
            content -= 1 + payload[0]
            payload += 1
        if self.is_idle(number):
            return self.broken(PROTOCOL_ERROR, f"DATA on idle stream {number}", facts)
        stream = self.streams.get(number)
        if stream is not None:
            if not self.take_content(stream, payload, content, flags & END_STREAM, facts):
                return 0
        elif number not in self.silenced:
            self.owe_number(RST_STREAM, number, STREAM_CLOSED)
            self.silence(number, False)
        # Windows are given back by halves and at once, so the peer never has less than a half left
        # and cannot exceed one. Padding counts; so does what comes for a stream that is closed.
        self.unreturned += length
        if self.unreturned >= CONNECTION_WINDOW // 2:
            self.owe_number(WINDOW_UPDATE, 0, <uint32_t>self.unreturned)
            self.unreturned = 0
        if stream is not None and not flags & END_STREAM:
            stream.unreturned += length
            if stream.unreturned >= STREAM_WINDOW // 2:
                self.owe_number(WINDOW_UPDATE, number, <uint32_t>stream.unreturned)
                stream.unreturned = 0
        return 1

    cdef int take_content(self, Stream stream, const uint8_t* content, Py_ssize_t length,
                          bint ends, list facts) except -1:
        if not stream.status:
            return self.broken(PROTOCOL_ERROR, "an answer without headers", facts)
        stream.received += length
        if stream.received > self.max_response and not stream.is_given_up:
            return self.broken(
                CANCEL, f"answer longer than {self.max_response} bytes", facts
            )
        if 0 <= stream.expected < stream.received:
            return self.broken(PROTOCOL_ERROR, "an answer longer than its content-length", facts)
        if length and not stream.is_given_up:
            data = PyBytes_FromStringAndSize(<const char*>content, length)
            if stream.content is None:
                stream.content = data
            else:
                if type(stream.content) is bytes:
                    stream.content = bytearray(stream.content)
                stream.content += data
        return self.take_end(stream, facts) if ends else 1

    cdef int take_headers(self, int flags, uint32_t number, const uint8_t* payload,
                          Py_ssize_t length, list facts) except -1:
        cdef Py_ssize_t padding = 0
        if flags & PADDED:
            if not length:
                return self.broken(FRAME_SIZE_ERROR, "padding without a length", facts)
            padding = payload[0]
            payload += 1
            length -= 1
        if flags & WITH_PRIORITY:
            if length < 5:
                return self.broken(FRAME_SIZE_ERROR, "HEADERS shorter than its priority", facts)
            payload += 5
            length -= 5
        length -= padding
        if length < 0:
            return self.broken(PROTOCOL_ERROR, "padding longer than its frame", facts)
        if flags & END_HEADERS:
            return self.take_block(number, flags & END_STREAM, payload, length, facts)
        self.block = bytearray(payload[:length])
        self.block_stream = number
        self.block_ends = flags & END_STREAM
        self.block_frames = 1
        return 1

    cdef int take_continuation(self, int flags, const uint8_t* payload, Py_ssize_t length,
                               list facts) except -1:
        cdef bytes block
        if self.block is None:
            return self.broken(PROTOCOL_ERROR, "CONTINUATION without HEADERS", facts)
        self.block_frames += 1
        self.block += payload[:length]
        if self.block_frames > HEADER_FRAMES or len(self.block) > COMPRESSED:
            return self.broken(ENHANCE_YOUR_CALM, "a header block without end", facts)
        if not flags & END_HEADERS:
            return 1
        block = bytes(self.block)
        self.block = None
        return self.take_block(
            self.block_stream,
            self.block_ends,
            <const uint8_t*>PyBytes_AS_STRING(block),
            PyBytes_GET_SIZE(block),
            facts,
        )

    cdef int take_block(self, uint32_t number, bint ends, const uint8_t* block,
                        Py_ssize_t length, list facts) except -1:
        cdef Stream stream = self.streams.get(number)
        if stream is None:
            if self.is_idle(number):
                return self.broken(PROTOCOL_ERROR, f"HEADERS on idle stream {number}", facts)
            if not self.silenced.get(number):
                return self.broken(STREAM_CLOSED, f"HEADERS on closed stream {number}", facts)
        return self.take_fields(stream, ends, block, length, facts)

    cdef int take_fields(self, Stream stream, bint ends, const uint8_t* block,
                         Py_ssize_t length, list facts) except -1:
        """Read a header block; without a stream it is only checked to be one."""
        cdef AnswerHead head
        cdef dict headers = None if stream is None else {}
        cdef bint is_trailers = stream is not None and stream.status
        cdef str wrong = read_answer(&head, block, length, self.scratch, is_trailers, headers)
        if wrong is not None:
            return self.broken(head.code, wrong, facts)
        if stream is None:
            return 1
        if is_trailers:
            if not ends:
                return self.broken(PROTOCOL_ERROR, "trailers that end nothing", facts)
            return self.take_end(stream, facts)
        stream.is_heard = True
        if head.status < 200:
            if not head.status or ends:
                return self.broken(PROTOCOL_ERROR, "an answer without a final status", facts)
            return 1
        stream.status = head.status
        stream.headers = headers
        # An answer to HEAD and a 304 tell the length of what they leave out.
        stream.expected = 0 if stream.is_head else -1 if head.status == 304 else head.promised
        return self.take_end(stream, facts) if ends else 1

    cdef int take_end(self, Stream stream, list facts) except -1:
        cdef bint is_partly_sent = stream.sent < PyBytes_GET_SIZE(stream.body)
        if stream.expected >= 0 and stream.expected != stream.received:
            return self.broken(PROTOCOL_ERROR, "an answer shorter than its content-length", facts)
        if not stream.is_given_up:
            content = b"" if stream.content is None else stream.content
            if type(content) is not bytes:
                content = bytes(content)
            facts.append((RESPONSE, stream.number, stream.status, stream.headers, content))
        if is_partly_sent and not stream.is_given_up:
            # Answered before the body was complete: the rest is of no use.
            self.owe_number(RST_STREAM, stream.number, CANCEL)
        return self.close_stream(stream, is_partly_sent)

    cdef int take_reset(self, uint32_t number, uint32_t code, list facts) except -1:
        cdef Stream stream = self.streams.get(number)
        if stream is None:
            if self.is_idle(number):
                return self.broken(PROTOCOL_ERROR, f"RST_STREAM on idle stream {number}", facts)
            return 1
        if not stream.is_given_up:
            facts.append((RESET, number, code, stream.is_heard, True))
        return self.close_stream(stream, True)

    cdef int take_settings(self, int flags, const uint8_t* payload, Py_ssize_t length,
                           list facts) except -1:
        cdef Py_ssize_t at
        if length % 6 or (flags & ACK and length):
            return self.broken(FRAME_SIZE_ERROR, f"SETTINGS of {length} bytes", facts)
        if flags & ACK:
            return 1
        for at in range(0, length, 6):
            if not self.take_setting(
                payload[at] << 8 | payload[at + 1], read_number(payload + at + 2), facts
            ):
                return 0
        self.owe(SETTINGS, ACK, 0, NULL, 0)
        if not self.ready:
            self.ready = True
            facts.append((READY,))
        return self.continue_bodies()

    cdef int take_setting(self, int name, int64_t value, list facts) except -1:
        cdef Stream stream
        if name == INITIAL_WINDOW_SIZE:
            if value > LARGEST_WINDOW:
                return self.broken(FLOW_CONTROL_ERROR, f"a first window of {value} bytes", facts)
            for stream in self.streams.values():
                stream.send_window += value - self.peer_window
                if stream.send_window > LARGEST_WINDOW:
                    return self.broken(FLOW_CONTROL_ERROR, "a window that overflows", facts)
            self.peer_window = value
        elif name == MAX_FRAME_SIZE:
            if not FRAME <= value <= 0xFFFFFF:
                return self.broken(PROTOCOL_ERROR, f"frames of {value} bytes", facts)
            self.peer_frame = value
        elif name == MAX_CONCURRENT_STREAMS:
            self.peer_streams = value
        elif (name == ENABLE_PUSH and value) or (name == ENABLE_CONNECT_PROTOCOL and value > 1):
            return self.broken(PROTOCOL_ERROR, f"setting {name} is {value}", facts)
        return 1

    cdef int take_goaway(self, const uint8_t* payload, list facts) except -1:
        cdef Stream stream
        cdef uint32_t last = read_number(payload) & 0x7FFFFFFF
        cdef list dropped = []
        for stream in self.streams.values():
            if stream.number > last and not stream.is_given_up:
                # Not reset: to the peer this stream may not exist, and a reset of it be an error.
                stream.is_given_up = True
                self.in_flight -= 1
                dropped.append((stream.number, stream.is_heard))
        facts.append((GOING, last, read_number(payload + 4), dropped))
        return 1

    cdef int take_window(self, uint32_t number, uint32_t increment, list facts) except -1:
        cdef Stream stream
        if not increment:
            return self.broken(PROTOCOL_ERROR, "a window that opens by nothing", facts)
        if not number:
            self.send_window += increment
            if self.send_window > LARGEST_WINDOW:
                return self.broken(FLOW_CONTROL_ERROR, "a window that overflows", facts)
            return self.continue_bodies()
        stream = self.streams.get(number)
        if stream is None:
            if self.is_idle(number):
                return self.broken(PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {number}", facts)
            return 1
        stream.send_window += increment
        if stream.send_window > LARGEST_WINDOW:
            self.owe_number(RST_STREAM, number, FLOW_CONTROL_ERROR)
            if not stream.is_given_up:
                facts.append((RESET, number, FLOW_CONTROL_ERROR, stream.is_heard, False))
            return self.close_stream(stream, True)
        return self.continue_bodies()
