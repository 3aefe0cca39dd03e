"""The official clients, unchanged, trade on the paper exchange: proof that it is honest."""

import asyncio
import importlib.util
import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from polyexec import paper
from polyexec.enums import Generation

HERE = Path(__file__).parent
KEY = "0x" + "42" * 32


def needs(package: str, name: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed")


async def run_client(
    exchange: paper.PaperExchange, folder: Path, script: str, *arguments: str
) -> dict[str, Any]:
    """Run a client in a process of its own, trusting the exchange as any httpx program would."""
    environment = dict(os.environ) | {"SSL_CERT_FILE": str(exchange.write_ca(folder / "ca.pem"))}
    environment = {k: v for k, v in environment.items() if not k.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / script),
        exchange.url,
        KEY,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen


@needs("py_clob_client_v2", "py-clob-client-v2")
@pytest.mark.parametrize("neg_risk", [False, True], ids=["standard", "neg-risk"])
async def test_official_client_trades(tmp_path: Path, neg_risk: bool) -> None:
    async with paper.PaperExchange() as exchange:
        market = exchange.add_market("official", neg_risk=neg_risk, fee_rate="0.07")
        exchange.seed_book(
            market.yes, bids=[("0.35", 10), ("0.38", 20)], asks=[("0.40", 30), ("0.45", 50)]
        )
        address = Account.from_key(KEY).address
        exchange.deposit(address, 200)
        seen = await run_client(
            exchange,
            tmp_path,
            "official_client.py",
            market.condition_id,
            market.yes,
            market.no,
        )

        assert seen["ok"] == "OK"
        assert seen["same_key"]
        assert seen["keys"]
        assert seen["market"]
        assert seen["tick"] == "0.01"
        assert seen["hash"][0] == seen["hash"][1]
        assert seen["books"] == 2
        assert seen["midpoint"] == {"mid": "0.39"}
        assert seen["resting"]["status"] == "live"
        assert seen["fok"]["status"] == "matched"
        assert seen["fok"]["makingAmount"] == "4"
        assert seen["fok"]["takingAmount"] == "10"
        assert seen["fok"]["transactionsHashes"]
        assert seen["killed"] == [
            400,
            {"error": "order couldn't be fully filled. FOK orders are fully filled or killed."},
        ]
        kept, again, bought = seen["batch"]
        assert (kept["status"], kept["success"]) == ("live", True)
        assert again["success"]
        assert again["orderID"] == ""
        assert again["errorMsg"] == f"order {kept['orderID']} is invalid. Duplicated."
        # BUY NO meets BUY YES at 0.38: a set is minted, NO costs 0.62; the FAK spends 3.25
        assert (bought["makingAmount"], bought["takingAmount"]) == ("3.25", "5.241935")
        assert seen["post_only"] == [
            400,
            {"error": "invalid post-only order: order crosses book"},
        ]
        assert {order["id"] for order in seen["open"]} == {
            seen["resting"]["orderID"],
            kept["orderID"],
        }
        assert seen["order"]["size_matched"] == "0"
        assert seen["order"]["price"] == "0.3"
        assert [trade["size"] for trade in seen["trades"]] == ["10", "5.241935"]
        fees = exchange.fees_collected
        assert fees == Decimal("0.168") + Decimal("0.08645")
        assert Decimal(seen["money"]) / 10**6 == Decimal(200) - 4 - Decimal("3.25") - fees
        assert seen["shares"] == "10000000"
        assert seen["cancel"]["canceled"] == [seen["resting"]["orderID"]]
        assert set(seen["cancel_again"]["not_canceled"]) == {
            seen["resting"]["orderID"],
            "0xdead",
        }
        assert seen["cancel_market"]["canceled"] == [kept["orderID"]]
        assert len(seen["cancel_all"]["canceled"]) == 1
        assert seen["left"] == []
        assert seen["deleted"] == "OK"
        assert seen["after"][0] == 401
        exchange.audit()


@needs("polymarket", "polymarket-client")
@pytest.mark.parametrize("generation", [Generation.CLOB_V2, Generation.EXCHANGE_V3])
async def test_unified_client_trades(tmp_path: Path, generation: Generation) -> None:
    async with paper.PaperExchange() as exchange:
        market = exchange.add_market("unified", generation=generation, fee_rate="0.07")
        exchange.seed_book(market.yes, bids=[("0.35", 10)], asks=[("0.40", 100)])
        exchange.deposit(Account.from_key(KEY).address, 200)
        seen = await run_client(exchange, tmp_path, "unified_client.py", market.yes)

        assert seen["resting"] == [True, "live"]
        assert seen["taken"] == ["matched", "4", "10"]
        assert seen["batch"] == [
            [True, "live", "0", "0"],
            [
                False,
                "post_only_would_cross",
                "invalid post-only order: order crosses book",
            ],
            [True, "matched", "2.5", "0.875"],
        ]
        assert seen["open"] == ["0.3", "0.2"]
        assert seen["trades"] == [["BUY", "10", "CONFIRMED"], ["SELL", "2.5", "CONFIRMED"]]
        spent = Decimal(4) - Decimal("0.875") + exchange.fees_collected
        assert Decimal(seen["money"]) / 10**6 == 200 - spent
        assert seen["order"] == ["LIVE", "10"]
        assert seen["canceled"] == 2
        exchange.audit()


def test_generations_are_told_apart_by_their_ids() -> None:
    """The official rule: the 64 reserved bits of an ExchangeV3 position id are zero."""
    exchange = paper.PaperExchange()
    for generation in Generation:
        for neg_risk in (False, True):
            market = exchange.add_market(
                f"ids-{generation}-{neg_risk}", generation=generation, neg_risk=neg_risk
            )
            for token_id in market.token_ids:
                reserved = int(token_id) >> 40 & (2**64 - 1)
                assert (reserved == 0) == (generation is Generation.EXCHANGE_V3)
            if generation is Generation.EXCHANGE_V3:
                assert int(market.yes) >> 248 == (2 if neg_risk else 1)
                assert int(market.condition_id, 16) == int(market.yes) >> 8 << 8
