"""The official TypeScript client, unchanged, trades on the paper exchange over HTTP/1.1."""

import asyncio
import json
import os
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from polyexec import paper

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent / "node"
KEY = "0x" + "42" * 32
_INSTALL_S = 240


@pytest.fixture(scope="module")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the client is installed, from the registry that npm is set up with."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "trade.mjs"):
        shutil.copy(HERE / name, folder / name)
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the client within {_INSTALL_S} s")
    if done.returncode:
        pytest.skip(f"npm cannot install the client: {done.stderr[-300:]}")
    return folder


async def run_client(
    exchange: paper.PaperExchange, folder: Path, *arguments: str
) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment["NODE_EXTRA_CA_CERTS"] = str(exchange.write_ca(folder / "ca.pem"))
    process = await asyncio.create_subprocess_exec(
        "node",
        "trade.mjs",
        exchange.url,
        KEY,
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen


@pytest.mark.parametrize("neg_risk", [False, True], ids=["standard", "neg-risk"])
async def test_typescript_client_trades(client_folder: Path, neg_risk: bool) -> None:
    async with paper.PaperExchange() as exchange:
        # Held for a moment, as in the short crypto markets: the client has to wait for it.
        market = exchange.add_market(
            "typescript", neg_risk=neg_risk, fee_rate="0.07", delay_ms=20, maker_rebate="0.2"
        )
        exchange.seed_book(market.yes, bids=[("0.35", 10)], asks=[("0.40", 100)])
        address = Account.from_key(KEY).address
        exchange.deposit(address, 200)
        seen = await run_client(exchange, client_folder, market.yes, market.no)

        assert seen["ok"] == "OK"
        assert seen["hash"][0] == seen["hash"][1]
        assert seen["tick"] == "0.01"
        assert (seen["resting"]["success"], seen["resting"]["status"]) == (True, "live")
        assert (seen["fok"]["makingAmount"], seen["fok"]["takingAmount"]) == ("4", "10")
        assert "FOK orders are fully filled or killed" in json.dumps(seen["killed"])
        assert [leg["status"] for leg in seen["batch"]] == ["live", "matched"]
        assert sorted(seen["open"]) == [["BUY", "0.2", "10"], ["BUY", "0.3", "10"]]
        assert sorted(seen["trades"]) == [["BUY", "10", "0.4"], ["SELL", "5", "0.35"]]
        spent = Decimal(4) - Decimal("1.75") + exchange.fees_collected
        assert Decimal(seen["money"]) / 10**6 == 200 - spent
        assert seen["order"] == "LIVE"
        assert seen["cancel"]["canceled"] == [seen["resting"]["orderID"]]
        assert seen["cancelAll"] == 1
        exchange.audit()
