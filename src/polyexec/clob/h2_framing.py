"""The framing by the ``h2`` library: the readable reference of the compiled one.

It is the oracle of ``tests/conformance``, what runs where nothing is compiled, and a way out when
the compiled one is suspected. What ``h2`` leaves open, both answer alike.
"""

from collections.abc import Iterable, Mapping

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hpack import HeaderTuple, NeverIndexedHeaderTuple

from polyexec.clob.http2 import (
    LAST_STREAM_ID,
    MAX_RESPONSE_BYTES,
    ConnectionLost,
    Event,
    Pong,
    Ready,
    RequestRefused,
    Response,
    goaway_events,
    stream_lost,
)

__all__ = ["H2Client"]

_FRAME_HEADER = 9
_MAX_FRAME = 16_384
_HEADERS, _SETTINGS, _PUSH_PROMISE, _GOAWAY, _CONTINUATION = 0x1, 0x4, 0x5, 0x7, 0x9
_ACK = 0x1
_END_HEADERS = 0x4
_CANCEL = 0x8
_ANSWERS = (h2.events.ResponseReceived, h2.events.InformationalResponseReceived)


class _Stream:
    __slots__ = ("body", "headers", "heard", "status", "unsent")

    def __init__(self, unsent: bytes) -> None:
        self.unsent = unsent
        self.heard = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()


class H2Client:
    """A :class:`polyexec.clob.http2.Framing`; build it with ``new_framing("h2", ...)``."""

    def __init__(
        self,
        authority: str,
        *,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        last_stream_id: int = LAST_STREAM_ID,
    ) -> None:
        self.ready = False
        self.closing = ""
        self._authority = authority
        self._max_response_bytes = max_response_bytes
        self._last_stream_id = last_stream_id
        self._next_stream_id = 1
        self._streams: dict[int, _Stream] = {}
        self._buffer = bytearray()
        self._in_block = False
        self._lost = False
        # header_encoding None: bytes come out, so odd bytes from the peer cannot fail to decode.
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True, header_encoding=None, normalize_inbound_headers=False
            )
        )
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.HEADER_TABLE_SIZE: 0,
                codes.ENABLE_PUSH: 0,
                codes.MAX_CONCURRENT_STREAMS: 100,
                codes.INITIAL_WINDOW_SIZE: 1024 * 1024,
                codes.MAX_HEADER_LIST_SIZE: 65_536,
            },
        )
        # The peer reads our settings before our first request, so no answer can use a table.
        self._h2.decoder.header_table_size = 0
        self._h2.decoder.max_allowed_table_size = 0

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
        """Put a whole request into the output and return its stream id."""
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
                self._receive_frame(frame, events)
            except Exception as error:  # a peer's bytes must never raise into a strategy
                self._lose(f"protocol error ({type(error).__name__})", events, told=True)
        del buffer[:position]
        return events

    def cancel(self, stream_id: int) -> None:
        """Give up waiting for an answer, so that it no longer counts as in flight."""
        if self._streams.pop(stream_id, None) is not None and not self._lost:
            try:
                self._h2.reset_stream(stream_id, _CANCEL)
            except h2.exceptions.H2Error:
                pass  # the peer closed the stream meanwhile

    def ping(self, payload: bytes) -> None:
        """Put a PING of 8 bytes into the output; the peer's answer is a ``Pong``."""
        if len(payload) != 8:
            raise ValueError(f"payload: {len(payload)} bytes, a PING has 8")
        if not self._lost:
            self._h2.ping(payload)

    def close(self) -> None:
        """Put a GOAWAY into the output."""
        if not self._lost:
            self._lost = True
            self.closing = self.closing or "closed"
            self._streams.clear()
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
        kind, flags = frame[3], frame[4]
        # What h2 does not look at, or sees too late.
        if not self.ready and (kind != _SETTINGS or flags & _ACK):
            self._lose("the peer did not begin with its settings", events)
        elif self._in_block and kind != _CONTINUATION:
            self._lose("a frame in the middle of a header block", events)
        elif kind == _PUSH_PROMISE:
            self._lose("a push, which we did not allow", events)
        elif kind == _GOAWAY:
            self._receive_goaway(frame, events)
        else:
            for event in self._h2.receive_data(frame):
                self._apply(event, events)
            if kind in {_HEADERS, _CONTINUATION}:
                self._in_block = not flags & _END_HEADERS

    def _apply(self, event: h2.events.Event, events: list[Event]) -> None:
        if isinstance(event, _ANSWERS):
            self._receive_headers(event.stream_id, event.headers or (), events)
        elif isinstance(event, h2.events.DataReceived):
            self._receive_body(event, events)
        elif isinstance(event, h2.events.StreamEnded):
            ended = self._streams.pop(event.stream_id, None)
            if ended is not None and not self._lost:
                events.append(
                    Response(event.stream_id, ended.status, ended.headers, bytes(ended.body))
                )
                if ended.unsent:
                    # Answered before the body was complete: the rest is of no use.
                    self._h2.reset_stream(event.stream_id, _CANCEL)
        elif isinstance(event, h2.events.StreamReset):
            stream = self._streams.pop(event.stream_id, None)
            if stream is not None:
                code, by_peer = int(event.error_code or 0), bool(event.remote_reset)
                events.append(
                    stream_lost(event.stream_id, code, heard=stream.heard, by_peer=by_peer)
                )
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            if not self.ready:
                self.ready = True
                events.append(Ready())
            self._continue_bodies()
        elif isinstance(event, h2.events.WindowUpdated):
            self._continue_bodies()
        elif isinstance(event, h2.events.PingAckReceived):
            events.append(Pong(bytes(event.ping_data or b"")))

    def _receive_headers(
        self, stream_id: int, fields: Iterable[tuple[bytes, bytes]], events: list[Event]
    ) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
        status = headers.pop(":status")
        if not (len(status) == 3 and status.isascii() and status.isdigit() and status >= "100"):
            self._lose("a status that is no number", events)
            return
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.heard = True
            if status >= "200":
                stream.headers, stream.status = headers, int(status)

    def _receive_body(self, event: h2.events.DataReceived, events: list[Event]) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.body += event.data or b""
            if len(stream.body) > self._max_response_bytes:
                self._lose(f"answer longer than {self._max_response_bytes} bytes", events)
                return
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _receive_goaway(self, frame: bytes, events: list[Event]) -> None:
        payload = frame[_FRAME_HEADER:]
        if len(payload) < 8 or int.from_bytes(frame[5:9], "big") & 0x7FFFFFFF:
            self._lose("malformed GOAWAY", events)
            return
        last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        # Not reset: to the peer these streams may not exist, and a reset of them be an error.
        dropped = [(s, self._streams.pop(s).heard) for s in list(self._streams) if s > last]
        closing, lost = goaway_events(last, int.from_bytes(payload[4:8], "big"), dropped)
        self.closing = closing.reason
        events += (closing, *lost)

    def _continue_bodies(self) -> None:
        for stream_id, stream in self._streams.items():
            if stream.unsent:
                self._send_body(stream_id, stream)

    def _lose(self, reason: str, events: list[Event], *, told: bool = False) -> None:
        self._lost = True
        if not told:
            self._h2.close_connection(h2.errors.ErrorCodes.PROTOCOL_ERROR)
        self.closing = reason
        self._streams.clear()
        events.append(ConnectionLost(reason))
