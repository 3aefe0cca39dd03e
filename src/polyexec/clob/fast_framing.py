"""The compiled framing: ``_fast.http2`` says what happened, this turns it into events."""

from polyexec._fast.http2 import (
    FACT_GOAWAY,
    FACT_LOST,
    FACT_PONG,
    FACT_READY,
    FACT_RESET,
    FACT_RESPONSE,
    Http2Core,
)
from polyexec.clob.http2 import (
    ConnectionLost,
    Event,
    Pong,
    Ready,
    RequestRefused,
    Response,
    goaway_events,
    stream_lost,
)

__all__ = ["Http2Client"]


class Http2Client(Http2Core):
    """A :class:`polyexec.clob.http2.Framing`; build it with ``new_framing("fast", ...)``."""

    __slots__ = ()
    refusal = RequestRefused

    def receive(self, data: bytes) -> list[Event]:
        """Read what the peer sent; whatever it is, the answer is events, never an exception."""
        events: list[Event] = []
        for kind, *facts in self.receive_facts(data):
            if kind == FACT_RESPONSE:
                events.append(Response(*facts))
            elif kind == FACT_RESET:
                stream_id, code, heard, by_peer = facts
                events.append(stream_lost(stream_id, code, heard=heard, by_peer=by_peer))
            elif kind == FACT_GOAWAY:
                closing, lost = goaway_events(*facts)
                events += (closing, *lost)
                self.closing = closing.reason
            elif kind == FACT_READY:
                events.append(Ready())
            elif kind == FACT_PONG:
                events.append(Pong(*facts))
            elif kind == FACT_LOST:
                events.append(ConnectionLost(*facts))
                self.closing = facts[0]
        return events
