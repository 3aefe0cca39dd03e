"""One HTTP/2 client connection without I/O: requests in, bytes out; bytes in, verdicts out.

This is the seam: the I/O layer sees a :class:`Framing` and its events, whichever of the two
framings is behind it. ``fast`` is compiled and our own, ``h2`` stands on the library of that name.
What a reset or a GOAWAY means for a request is decided here, for both.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from polyexec._impl import IMPLEMENTATION
from polyexec.enums import SentState

__all__ = [
    "Closing",
    "ConnectionLost",
    "Event",
    "Framing",
    "FramingName",
    "Pong",
    "Ready",
    "RequestRefused",
    "Response",
    "StreamLost",
    "goaway_events",
    "new_framing",
    "quiet_hpack",
    "stream_lost",
]

FramingName: TypeAlias = Literal["fast", "h2"]

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
LAST_STREAM_ID = 2**31 - 1

_REFUSED_STREAM = 0x7
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
    """A complete answer. Of a header that comes twice the last one counts."""

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


class Pong(msgspec.Struct, frozen=True):
    """The peer answers a PING, ours if it sends the payload back."""

    payload: bytes


class ConnectionLost(msgspec.Struct, frozen=True):
    """Nothing more can be read; every request in flight is of unknown outcome."""

    reason: str


Event: TypeAlias = Ready | Response | StreamLost | Closing | Pong | ConnectionLost


class Framing(Protocol):
    """Client side of one connection. Not thread-safe: the caller holds the lock."""

    closing: str
    """Why it takes no request; empty while it does."""

    @property
    def ready(self) -> bool:
        """Whether the peer's settings are here."""

    @property
    def in_flight(self) -> int:
        """Requests without a complete answer."""

    def start(self) -> None:
        """Put preface and SETTINGS into the output."""

    def take_output(self) -> bytes:
        """Return the bytes to write, once."""

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Put a whole request into the output and return its stream id.

        A body larger than the peer's window is finished when the window opens.

        Raises
        ------
        RequestRefused
            The connection cannot take it; nothing of it is in the output.
        """

    def receive(self, data: bytes) -> list[Event]:
        """Read what the peer sent; whatever it is, the answer is events, never an exception."""

    def cancel(self, stream_id: int) -> None:
        """Give up waiting for an answer, so that it no longer counts as in flight."""

    def ping(self, payload: bytes) -> None:
        """Put a PING of 8 bytes into the output; the peer's answer is a :class:`Pong`.

        Raises
        ------
        ValueError
            ``payload`` is of another length.
        """

    def close(self) -> None:
        """Put a GOAWAY into the output."""


def new_framing(
    name: FramingName,
    authority: str,
    *,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    last_stream_id: int = LAST_STREAM_ID,
) -> Framing:
    """Return a fresh connection; ``h2`` stands in for ``fast`` where nothing is compiled.

    Parameters
    ----------
    name : "fast" or "h2"
        Which framing.
    authority : str
        What ``:authority`` says.
    max_response_bytes : int
        A longer answer breaks the connection instead of filling the memory.
    last_stream_id : int
        Highest stream id that may be used; the protocol's own limit unless a test lowers it.
    """
    # Also for the compiled one: a peer in this process (the paper exchange) decodes what we send.
    quiet_hpack()
    # Imported here: both need the names above, and a bot loads the one that it uses.
    framing: type[Framing]
    if name == "fast" and IMPLEMENTATION == "fast":
        from polyexec.clob.fast_framing import Http2Client as framing  # noqa: PLC0415
    else:
        from polyexec.clob.h2_framing import H2Client as framing  # noqa: PLC0415
    return framing(  # type: ignore[call-arg]
        authority, max_response_bytes=max_response_bytes, last_stream_id=last_stream_id
    )


def stream_lost(stream_id: int, code: int, *, heard: bool, by_peer: bool = True) -> StreamLost:
    """Return what a reset means.

    Parameters
    ----------
    code : int
        The error code of the reset.
    heard : bool
        Whether any answer had begun, a provisional one included. Who has answered has read the
        request, whatever it says later.
    by_peer : bool
        Whether the peer reset it, or we did as the peer broke a rule of this stream.
    """
    refused = by_peer and code == _REFUSED_STREAM and not heard
    return StreamLost(
        stream_id,
        SentState.NO if refused else SentState.MAYBE,
        f"stream reset {'by the peer' if by_peer else 'by us'} with {_error_name(code)}"
        + (" in the middle of the answer" if heard else ""),
    )


def goaway_events(
    last: int, code: int, dropped: Iterable[tuple[int, bool]]
) -> tuple[Closing, list[StreamLost]]:
    """Return what a GOAWAY means.

    Parameters
    ----------
    last : int
        The last stream that the peer processed, or may still.
    code : int
        The error code of the GOAWAY.
    dropped : iterable of (stream id, heard)
        The requests after ``last``, and whether an answer to them had begun.
    """
    name = _error_name(code)
    lost = []
    for stream_id, heard in dropped:
        reason = f"GOAWAY {name}: the peer processed nothing after stream {last}"
        if heard:
            reason += ", and had begun to answer this one"
        lost.append(StreamLost(stream_id, SentState.MAYBE if heard else SentState.NO, reason))
    return Closing(f"the peer is closing the connection (GOAWAY {name})"), lost


def _error_name(code: int) -> str:
    return _ERROR_NAMES[code] if code < len(_ERROR_NAMES) else f"code {code}"
