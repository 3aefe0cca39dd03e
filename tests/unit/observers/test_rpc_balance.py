"""``balanceOf`` over JSON-RPC, against a real HTTP server on this machine."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from polyexec.constants import PUSD
from polyexec.errors import ConfigError
from polyexec.observers.balance import BalanceFault, SourceError
from polyexec.observers.rpc_balance import RpcBalance
from tests.unit.core.support import FakeClock
from tests.unit.observers.test_balance import Desk

HOLDER = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
NOW_S = FakeClock().ms // 1000


class Node:
    """A node with one block and one balance; ``answers`` replaces what a method answers."""

    def __init__(self) -> None:
        self.balance = 1_234_567_890
        self.chain = "0x89"
        self.block: Any = {"number": "0x4c4b40", "timestamp": hex(NOW_S - 2), "hash": "0x0"}
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.release = threading.Event()
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, body = node.answer(question)
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v2/hunter2"

    def answer(self, question: dict[str, Any]) -> tuple[int, bytes]:
        method, parameters = question["method"], question["params"]
        self.asked.append((method, parameters))
        given = self.answers.get(method)
        if given == "hang":
            self.release.wait()
        if isinstance(given, tuple):
            return given
        word = "0x" + self.balance.to_bytes(32).hex()
        results = {
            "eth_chainId": self.chain,
            "eth_getBlockByNumber": self.block,
            "eth_call": word,
        } | self.answers
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": results[method]}
        if isinstance(given, dict) and "error" in given:
            answer = {"jsonrpc": "2.0", "id": question["id"], **given}
        return 200, json.dumps(answer).encode()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


async def heard(node: Node, **changes: Any) -> Desk:
    desk = Desk(RpcBalance(node.url, HOLDER), timeout_s=changes.pop("timeout_s", 5))
    await desk.watch.refresh()
    await desk.watch.close()
    return desk


async def test_the_balance_is_that_of_a_block_at_the_time_of_the_block(node: Node) -> None:
    desk = await heard(node)
    assert desk.alarms == []
    assert desk.ledger.available() == 1_234_567_890
    assert desk.ledger.as_of_ms() == (NOW_S - 2) * 1000
    (call, number) = node.asked[-1][1]
    assert number == "0x4c4b40"
    assert call["to"] == PUSD
    # 4 bytes of keccak256("balanceOf(address)"), then the address in a word
    assert call["data"] == "0x70a08231" + "00" * 12 + HOLDER[2:].lower()


async def test_the_selector_is_that_of_the_signature() -> None:
    from polyexec._impl import keccak256
    from polyexec.observers.rpc_balance import _BALANCE_OF

    assert "0x" + keccak256(b"balanceOf(address)")[:4].hex() == _BALANCE_OF


async def test_the_chain_is_asked_for_once(node: Node) -> None:
    source = RpcBalance(node.url, HOLDER)
    await source.read()
    await source.read()
    await source.close()
    assert [method for method, _ in node.asked].count("eth_chainId") == 1


async def test_another_chain_is_refused(node: Node) -> None:
    node.chain = "0x1"
    desk = await heard(node)
    assert desk.faults == [BalanceFault.FAILED]
    assert "chain 1, not of 137" in desk.alarms[0].detail


async def test_a_node_that_has_fallen_behind_is_seen(node: Node) -> None:
    node.block["timestamp"] = hex(NOW_S - 120)
    desk = await heard(node)
    assert desk.faults == [BalanceFault.TOO_OLD]
    assert desk.ledger.as_of_ms() == 0


async def test_a_balance_that_no_ledger_can_hold_is_refused(node: Node) -> None:
    node.balance = 2**255
    desk = await heard(node)
    assert desk.faults == [BalanceFault.GARBAGE]


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("eth_call", "0x", "is the contract the right one"),
        ("eth_call", "0x1", "is the contract the right one"),
        ("eth_call", None, "is the contract the right one"),
        ("eth_call", {"error": {"code": -32000, "message": "header not found"}}, "-32000"),
        ("eth_call", {"error": "no"}, "code None"),
        ("eth_getBlockByNumber", None, "no newest block"),
        ("eth_getBlockByNumber", {"number": "0x1"}, "timestamp"),
        ("eth_getBlockByNumber", {"number": "latest", "timestamp": "0x1"}, "number"),
        ("eth_chainId", "137", "eth_chainId"),
        ("eth_chainId", (429, b"slow down"), "HTTP 429"),
        ("eth_chainId", (301, b""), "HTTP 301"),
        ("eth_chainId", (200, b"<html>"), "not JSON"),
        ("eth_chainId", (200, b"[]"), "not to this question"),
        ("eth_chainId", (200, b'{"id": 999, "result": "0x89"}'), "not to this question"),
        ("eth_chainId", (200, b" " * 300_000), "more than 262144 bytes"),
    ],
)
async def test_an_answer_that_is_none_is_trouble(
    node: Node, method: str, answer: Any, words: str
) -> None:
    node.answers[method] = answer
    desk = await heard(node)
    assert desk.faults == [BalanceFault.FAILED]
    assert words in desk.alarms[0].detail
    assert desk.ledger.as_of_ms() == 0


async def test_a_node_that_hangs_costs_one_question(node: Node) -> None:
    node.answers["eth_getBlockByNumber"] = "hang"
    desk = await heard(node, timeout_s=0.2)
    assert desk.faults == [BalanceFault.HANGING]
    node.release.set()


async def test_a_node_that_is_gone_is_told_without_its_url(node: Node) -> None:
    source = RpcBalance(node.url, HOLDER)
    await source.read()
    await asyncio.to_thread(node.close)
    desk = Desk(source, timeout_s=5)
    # The kept connection is served by a thread that lives on; a new one finds nobody.
    await source.close()
    source = RpcBalance(node.url, HOLDER)
    with pytest.raises(SourceError) as caught:
        await source.read()
    await source.close()
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in f"{source.name} {vars(source)}"
    assert desk.alarms == []


@pytest.mark.parametrize("url", ["", "node.example", "ws://node", "http://", "http://:hunter2@:c"])
def test_what_is_no_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="rpc_url") as caught:
        RpcBalance(url, HOLDER)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("holder", ["", "0x12", HOLDER[2:], None])
def test_what_is_no_address_is_refused(holder: Any) -> None:
    with pytest.raises(ConfigError, match="holder"):
        RpcBalance("http://node", holder)
