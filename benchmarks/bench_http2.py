"""One POST framed and one answer read, by our own HTTP/2 and by the h2 library."""

from typing import Any

import h2.config
import h2.connection

import polyexec as px
from benchmarks import inputs
from benchmarks.harness import Row
from polyexec.clob.http2 import Event, Framing, FramingName, Response, new_framing
from polyexec.core.auth import L2Signer

H2 = "h2"
SECONDS = inputs.TIMESTAMP_MS // 1000
ANSWERS = 100  # as many as the server takes at a time
# As a content network adds them.
ANSWER = [
    (":status", "200"),
    ("date", "Thu, 26 Nov 2026 10:00:00 GMT"),
    ("content-type", "application/json; charset=utf-8"),
    ("cf-ray", "8f3a1b2c3d4e5f60-LHR"),
    ("cf-cache-status", "DYNAMIC"),
    ("strict-transport-security", "max-age=15552000; includeSubDomains"),
    ("vary", "Origin"),
    ("server", "cloudflare"),
]
CONTENT = b'[{"success":true,"errorMsg":"","orderID":"0x%b","status":"live"}]' % (b"a" * 64)


def connect(name: FramingName) -> tuple[Framing, Any]:
    """Return a client and the server that it is connected to."""
    client = new_framing(name, "clob.polymarket.com")
    server = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
    )
    server.initiate_connection()
    server.increment_flow_control_window(2**31 - 1 - 65_535)
    client.start()
    server.receive_data(client.take_output())
    client.receive(server.data_to_send())
    server.receive_data(client.take_output())
    return client, server


class Posting:
    """Frames one POST, takes its bytes, and gives it up so that no list grows."""

    def __init__(self, name: FramingName, headers: dict[str, str], body: bytes) -> None:
        self.client, self.server = connect(name)
        self._headers = headers
        self._body = body

    def __call__(self) -> bytes:
        client = self.client
        stream = client.request("POST", "/orders", self._headers, self._body)
        data = client.take_output()
        client.cancel(stream)
        client.take_output()
        return data


class Reading:
    """Reads prepared answers, one per call; makes new ones when they are used up."""

    def __init__(self, name: FramingName) -> None:
        self._name = name
        self._waiting: list[bytes] = []

    def prepare(self) -> None:
        if len(self._waiting) > ANSWERS // 2:
            return
        self._client, server = connect(self._name)
        self._waiting = []
        for _ in range(ANSWERS):
            stream = self._client.request("GET", "/ok", {}, b"")
            server.receive_data(self._client.take_output())
            server.send_headers(stream, ANSWER)
            server.send_data(stream, CONTENT, end_stream=True)
            self._waiting.append(server.data_to_send())
        self._waiting.reverse()

    def __call__(self) -> list[Event]:
        if not self._waiting:
            self.prepare()
        return self._client.receive(self._waiting.pop())


def rows() -> list[Row]:
    body = px.encode_orders(
        inputs.signer().sign_batch(inputs.orders()),
        owner=inputs.OWNER,
        order_type=px.OrderType.GTC,
    )
    credentials = px.ApiCredentials(inputs.OWNER, inputs.SECRET, inputs.PASSPHRASE)
    signer = L2Signer(inputs.signer().address, credentials)
    headers = signer.headers(SECONDS, "POST", "/orders", body)

    def same_request() -> None:
        read = []
        for name in ("fast", "h2"):
            posting = Posting(name, headers, body)
            events = posting.server.receive_data(posting())
            read.append((events[0].headers, events[1].data))
        inputs.same("http2_request", *read)
        if read[0][1] != body:
            raise AssertionError("http2_request: the body did not arrive")

    def same_answer() -> None:
        read = [Reading(name)() for name in ("fast", "h2")]
        inputs.same("http2_answer", *read)
        if not isinstance(read[0][0], Response):
            raise AssertionError("http2_answer: no answer was read")

    reading = Reading("fast")
    return [
        Row(
            "http2_request",
            f"frame a POST of {len(body)} bytes with the five L2 headers, take it and give it up; "
            "the copy of the body and the header block dominate",
            Posting("fast", headers, body),
            {H2: Posting("h2", headers, body)},
            same_request,
        ),
        Row(
            "http2_answer",
            f"read an answer of {len(ANSWER)} headers and {len(CONTENT)} bytes; the texts of the "
            "headers dominate",
            reading,
            {H2: Reading("h2")},
            same_answer,
            before=reading.prepare,
        ),
    ]
