"""One POST framed and its answer read, by our own HTTP/2 and by the h2 library."""

from collections.abc import Callable

import h2.config
import h2.connection

import polyexec as px
from benchmarks import inputs
from benchmarks.harness import Row
from polyexec.clob.http2 import Event, Framing, FramingName, Response, new_framing
from polyexec.core.auth import L2Signer

H2 = "h2"
SECONDS = inputs.TIMESTAMP_MS // 1000
REQUESTS = 64
ANSWER = [
    (":status", "200"),
    ("date", "Thu, 26 Nov 2026 10:00:00 GMT"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-length", "0"),
    ("cf-ray", "8f3a1b2c3d4e5f60-LHR"),
    ("cf-cache-status", "DYNAMIC"),
    ("strict-transport-security", "max-age=15552000; includeSubDomains"),
    ("vary", "Origin"),
    ("server", "cloudflare"),
]


class Pair:
    """A client with the server that it is connected to; both begin anew before they are full."""

    def __init__(self, name: FramingName, headers: dict[str, str], body: bytes) -> None:
        self._name = name
        self._headers = headers
        self._body = body
        self.renew()

    def renew(self) -> None:
        self.client: Framing = new_framing(self._name, "clob.polymarket.com")
        self.server = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.server.initiate_connection()
        # As the exchange's servers do: windows and streams are never the limit here.
        self.server.update_settings({4: 2**31 - 1, 3: 2**31 - 1})
        self.server.increment_flow_control_window(2**31 - 1 - 65_535)
        self.client.start()
        self.server.receive_data(self.client.take_output())
        self.client.receive(self.server.data_to_send())
        self.server.receive_data(self.client.take_output())
        self.server.data_to_send()

    def post(self) -> bytes:
        """Frame one POST and take its bytes; the answer is not waited for."""
        stream = self.client.request("POST", "/orders", self._headers, self._body)
        data = self.client.take_output()
        # Otherwise h2 counts its open streams, ever more of them.
        self.client.cancel(stream)
        return data


def answers(pair: Pair, count: int, content: bytes) -> list[bytes]:
    """Send requests, and return the bytes of each answer."""
    fields = [
        (name, str(len(content)) if name == "content-length" else value) for name, value in ANSWER
    ]
    prepared = []
    for _ in range(count):
        stream = pair.client.request("GET", "/ok", {}, b"")
        pair.server.receive_data(pair.client.take_output())
        pair.server.send_headers(stream, fields)
        pair.server.send_data(stream, content, end_stream=True)
        prepared.append(pair.server.data_to_send())
    return prepared


class Reading:
    """Reads prepared answers one after the other; makes more, untimed, before every turn."""

    def __init__(self, pair: Pair, content: bytes) -> None:
        self._pair = pair
        self._content = content
        self._waiting: list[bytes] = []

    def prepare(self) -> None:
        if len(self._waiting) < REQUESTS:
            self._pair.renew()
            self._waiting = answers(self._pair, 40 * REQUESTS, self._content)[::-1]

    def __call__(self) -> list[Event]:
        if not self._waiting:
            self.prepare()
        return self._pair.client.receive(self._waiting.pop())


def rows() -> list[Row]:
    body = px.encode_orders(
        inputs.signer().sign_batch(inputs.orders()),
        owner=inputs.OWNER,
        order_type=px.OrderType.GTC,
    )
    credentials = px.ApiCredentials(inputs.OWNER, inputs.SECRET, inputs.PASSPHRASE)
    headers = L2Signer(inputs.signer().address, credentials).headers(
        SECONDS, "POST", "/orders", body
    )
    raise NotImplementedError
