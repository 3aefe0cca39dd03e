"""One HTTP/2 client connection without I/O: requests in, bytes out; bytes in, verdicts out.

``h2`` does the framing. The class below is the seam: the I/O layer sees five methods and five
events, so another framing can take its place without touching sockets or verdicts.
"""

import logging
from collections.abc import Mapping
from typing import TypeAlias

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import msgspec
from hpack import HeaderTuple, NeverIndexedHeaderTuple

from polyexec.enums import SentState

__all__ = [
    "Closing",
    "ConnectionLost",
    "Event",
    "Http2Client",
    "Ready",
    "RequestRefused",
    "Response",
    "StreamLost",
    "quiet_hpack",
]

_FRAME_HEADER = 9
_MAX_FRAME = 16_384
_GOAWAY = 0x7
_REFUSED_STREAM = 0x7
_CANCEL = 0x8
_ERROR_NAMES = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)


def quiet_hpack() -> None:
    """Keep ``hpack`` from logging: at DEBUG it writes every header, credentials included."""
    logging.getLogger("hpack").setLevel(logging.INFO)


class RequestRefused(Exception):
    """The connection cannot take the request; not a byte of it exists."""


class Ready(msgspec.Struct, frozen=True):
    """The peer's SETTINGS arrived: its limits are known."""


class Response(msgspec.Struct, frozen=True):
    """A complete answer."""

    stream_id: int
    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamLost(msgspec.Struct, frozen=True):
    """A request that gets no complete answer; ``sent`` NO only when the peer vouches for it."""

    stream_id: int
    sent: SentState
    reason: str


class Closing(msgspec.Struct, frozen=True):
    """No new requests; those in flight may still be answered."""

    reason: str


class ConnectionLost(msgspec.Struct, frozen=True):
    """Nothing more can be read; every request in flight is of unknown outcome."""

    reason: str


Event: TypeAlias = Ready | Response | StreamLost | Closing | ConnectionLost


class _Stream:
    __slots__ = ("body", "headers", "status", "unsent")

    def __init__(self, unsent: bytes) -> None:
        self.unsent = unsent
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()


class Http2Client:
    """Client side of one connection. Not thread-safe: the caller holds the lock.

    Parameters
    ----------
    authority : str
        What ``:authority`` says.
    max_response_bytes : int
        A longer answer breaks the connection instead of filling the memory.
    last_stream_id : int
        Highest stream id that may be used; the protocol's own limit unless a test lowers it.
    """

    def __init__(
        self,
        authority: str,
        *,
        max_response_bytes: int = 4 * 1024 * 1024,
        last_stream_id: int = 2**31 - 1,
    ) -> None:
        quiet_hpack()
        self.ready = False
        self.closing = ""
        self._authority = authority
        self._max_response_bytes = max_response_bytes
        self._last_stream_id = last_stream_id
        self._next_stream_id = 1
        self._streams: dict[int, _Stream] = {}
        self._buffer = bytearray()
        self._lost = False
        # header_encoding None: bytes come out, so odd bytes from the peer cannot fail to decode.
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None)
        )
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.MAX_CONCURRENT_STREAMS: 100,
                codes.INITIAL_WINDOW_SIZE: 1024 * 1024,
                codes.MAX_HEADER_LIST_SIZE: 65_536,
            },
        )

    @property
    def in_flight(self) -> int:
        """Requests without a complete answer."""
        return len(self._streams)

    def start(self) -> None:
        """Put preface and SETTINGS into the output."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(8 * 1024 * 1024)

    def take_output(self) -> bytes:
        """Return the bytes to write, once."""
        data: bytes = self._h2.data_to_send()
        return data

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Put a whole request into the output and return its stream id.

        A body larger than the peer's window is finished when the window opens.

        Raises
        ------
        RequestRefused
            The connection cannot take it; nothing of it is in the output.
        """
        if self.closing:
            raise RequestRefused(self.closing)
        if not self.ready:
            raise RequestRefused("the peer has not sent its settings yet")
        stream_id = self._next_stream_id
        if stream_id > self._last_stream_id:
            self.closing = "the stream ids of the connection are used up"
            raise RequestRefused(self.closing)
        fields: list[HeaderTuple] = [
            HeaderTuple(":method", method),
            HeaderTuple(":scheme", "https"),
            HeaderTuple(":authority", self._authority),
            HeaderTuple(":path", path),
        ]
        if body:
            fields.append(HeaderTuple("content-type", "application/json"))
            fields.append(HeaderTuple("content-length", str(len(body))))
        # Never indexed: credentials must not enter a compression table, ours or a proxy's.
        fields.extend(NeverIndexedHeaderTuple(k.lower(), v) for k, v in headers.items())
        try:
            self._h2.send_headers(stream_id, fields, end_stream=not body)
        except h2.exceptions.TooManyStreamsError:
            raise RequestRefused("the peer's limit of concurrent requests is reached") from None
        except h2.exceptions.H2Error as error:
            # The encoder may be out of step with the peer now: do not use it again.
            self.closing = f"request could not be framed ({type(error).__name__})"
            self._h2.clear_outbound_data_buffer()
            raise RequestRefused(self.closing) from None
        self._next_stream_id += 2
        self._streams[stream_id] = stream = _Stream(body)
        if body:
            self._send_body(stream_id, stream)
        return stream_id

    def receive(self, data: bytes) -> list[Event]:
        """Read what the peer sent; whatever it is, the answer is events, never an exception."""
        events: list[Event] = []
        buffer = self._buffer
        buffer += data
        position = 0
        # Frame by frame: h2 drops the events of good frames when a bad one follows in the same
        # read, and it cannot go on after a GOAWAY, which promises answers to older requests.
        while not self._lost and len(buffer) - position >= _FRAME_HEADER:
            length = int.from_bytes(buffer[position : position + 3], "big")
            if length > _MAX_FRAME:
                self._lose(f"frame of {length} bytes", events)
                break
            end = position + _FRAME_HEADER + length
            if end > len(buffer):
                break
            frame = bytes(buffer[position:end])
            position = end
            try:
                if frame[3] == _GOAWAY:
                    self._receive_goaway(frame, events)
                else:
                    self._receive_frame(frame, events)
            except Exception as error:  # a peer's bytes must never raise into a strategy
                self._lose(f"protocol error ({type(error).__name__})", events)
        del buffer[:position]
        return events

    def cancel(self, stream_id: int) -> None:
        """Give up waiting for an answer, so that it no longer counts as in flight."""
        if self._streams.pop(stream_id, None) is not None and not self._lost:
            try:
                self._h2.reset_stream(stream_id, _CANCEL)
            except h2.exceptions.H2Error:
                pass  # the peer closed the stream meanwhile

    def close(self) -> None:
        """Put a GOAWAY into the output."""
        if not self._lost:
            self._lost = True
            self.closing = self.closing or "closed"
            self._h2.close_connection()

    def _send_body(self, stream_id: int, stream: _Stream) -> None:
        while stream.unsent:
            room = min(
                self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size
            )
            if room <= 0:
                return
            chunk, stream.unsent = stream.unsent[:room], stream.unsent[room:]
            self._h2.send_data(stream_id, chunk, end_stream=not stream.unsent)

    def _receive_frame(self, frame: bytes, events: list[Event]) -> None:
        for event in self._h2.receive_data(frame):
            if isinstance(event, h2.events.ResponseReceived):
                stream = self._streams.get(event.stream_id)
                if stream is not None:
                    fields = [(_text(k), _text(v)) for k, v in event.headers or ()]
                    stream.headers = dict(fields)
                    stream.status = int(stream.headers.pop(":status"))
            elif isinstance(event, h2.events.DataReceived):
                self._receive_body(event, events)
            elif isinstance(event, h2.events.StreamEnded):
                ended = self._streams.pop(event.stream_id, None)
                if ended is not None:
                    events.append(
                        Response(event.stream_id, ended.status, ended.headers, bytes(ended.body))
                    )
                    if ended.unsent:
                        # Answered before the body was complete: the rest is of no use.
                        self._h2.reset_stream(event.stream_id, _CANCEL)
            elif isinstance(event, h2.events.StreamReset):
                self._receive_reset(event, events)
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                if not self.ready:
                    self.ready = True
                    events.append(Ready())
                self._continue_bodies()
            elif isinstance(event, h2.events.WindowUpdated):
                self._continue_bodies()

    def _receive_body(self, event: h2.events.DataReceived, events: list[Event]) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        stream.body += event.data or b""
        if len(stream.body) > self._max_response_bytes:
            self._lose(f"answer longer than {self._max_response_bytes} bytes", events)
        elif event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _receive_reset(self, event: h2.events.StreamReset, events: list[Event]) -> None:
        stream = self._streams.pop(event.stream_id, None)
        if stream is None:
            return
        code = int(event.error_code or 0)
        refused = bool(event.remote_reset) and code == _REFUSED_STREAM and not stream.status
        events.append(
            StreamLost(
                event.stream_id,
                SentState.NO if refused else SentState.MAYBE,
                f"stream reset by the peer with {_error_name(code)}"
                + (" in the middle of the answer" if stream.status else ""),
            )
        )

    def _receive_goaway(self, frame: bytes, events: list[Event]) -> None:
        payload = frame[_FRAME_HEADER:]
        if len(payload) < 8 or int.from_bytes(frame[5:9], "big") & 0x7FFFFFFF:
            self._lose("malformed GOAWAY", events)
            return
        last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        name = _error_name(int.from_bytes(payload[4:8], "big"))
        self.closing = f"the peer is closing the connection (GOAWAY {name})"
        events.append(Closing(self.closing))
        for stream_id in [s for s in self._streams if s > last]:
            del self._streams[stream_id]
            reason = f"GOAWAY {name}: the peer processed nothing after stream {last}"
            events.append(StreamLost(stream_id, SentState.NO, reason))

    def _continue_bodies(self) -> None:
        for stream_id, stream in self._streams.items():
            if stream.unsent:
                self._send_body(stream_id, stream)

    def _lose(self, reason: str, events: list[Event]) -> None:
        self._lost = True
        self.closing = reason
        self._streams.clear()
        events.append(ConnectionLost(reason))


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _error_name(code: int) -> str:
    return _ERROR_NAMES[code] if code < len(_ERROR_NAMES) else f"code {code}"
