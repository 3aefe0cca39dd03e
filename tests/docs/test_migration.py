"""Both programs of a migration page trade on the same paper exchange, and end with equal money."""

import asyncio
import importlib.util
import os
import re
import sys
from decimal import Decimal
from pathlib import Path

import pytest

import polyexec as px
from tests.docs.blocks import SIDES, blocks_of, padded

HOWTO = Path(__file__).resolve().parent.parent.parent / "docs" / "howto"
KEY = "0x" + "42" * 32
DEPOSIT = 200

# polymarket-client has its hosts in an object, not in the environment: here it gets ours.
_HOSTS = """
import dataclasses, os
from polymarket._internal.environment import PRODUCTION_CONFIG, with_environment_config
from polymarket.clients import {async_secure}secure as clients
hosts = [f.name for f in dataclasses.fields(PRODUCTION_CONFIG) if f.name.endswith("_url")]
config = dataclasses.replace(PRODUCTION_CONFIG, **dict.fromkeys(hosts, os.environ["CLOB_URL"]))
environment = with_environment_config(clients.PRODUCTION, config=config)
clients.{name}.create.__func__.__kwdefaults__["environment"] = environment
"""
_PRELUDES = {
    "py_clob_client_v2": "",
    "polymarket": _HOSTS.format(async_secure="async_", name="AsyncSecureClient"),
}
PAGES = {
    "migrate-from-py-clob-client-v2.md": "py_clob_client_v2",
    "migrate-from-official-sdk.md": "polymarket",
}


def program(page: str, side: str) -> str:
    """Return the pieces of one side of a page as one program."""
    blocks = [block for block in blocks_of((HOWTO / page).read_text()) if block.is_of(side)]
    assert blocks, f"{page} shows no {side}"
    return padded(blocks)


async def run_program(
    exchange: px.paper.PaperExchange, tokens: list[str], file: Path, prelude: str
) -> str:
    """Run a program in a process of its own, with the settings that the page names."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not re.search(r"(?i)_proxy$|^(POLYMARKET|CLOB|ARB)_|^PRIVATE_KEY|^PK$", name)
    } | {
        "SSL_CERT_FILE": str(exchange.write_ca(file.with_suffix(".pem"))),
        "CLOB_URL": exchange.url,
        "PRIVATE_KEY": KEY,
        "TOKEN_ID": tokens[0],
        "OTHER_TOKEN_ID": tokens[1],
        "REAL_TRADING_ENABLED": "true",
    }
    starter = f"{prelude}\nimport runpy\nrunpy.run_path({str(file)!r}, run_name='__main__')\n"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        starter,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=file.parent,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("page", PAGES)
async def test_side_of_the_page_trades(page: str, side: str, tmp_path: Path) -> None:
    client = PAGES[page]
    if side == "before" and importlib.util.find_spec(client) is None:
        pytest.skip(f"{client} is not installed")
    file = tmp_path / f"{side}.py"
    file.write_text(program(page, side))
    async with px.paper.PaperExchange() as exchange:
        tokens = []
        for slug in ("above", "below"):
            market = exchange.add_market(slug, tick_size="0.01", fee_rate="0.07")
            exchange.seed_book(market.yes, bids=[("0.35", 50)], asks=[("0.40", 30), ("0.45", 50)])
            tokens.append(market.yes)
        address = px.OrderSigner(KEY).address
        exchange.deposit(address, DEPOSIT)
        printed = await run_program(
            exchange, tokens, file, _PRELUDES[client] if side == "before" else ""
        )
        exchange.audit()
        # What both sides buy for, at the prices of the books, and the fees of it.
        spent = Decimal("4") + Decimal("4") + Decimal("4") + exchange.fees_collected
        assert exchange.balance(address) == DEPOSIT - spent
        assert int(printed.split()[-1]) == (DEPOSIT - spent) * 10**6


def names(page: str, column: int) -> set[str]:
    """Return the identifiers in a column of the table that goes name by name."""
    table = (HOWTO / page).read_text().partition("## Name by name")[2]
    cells = [line.split("|")[column] for line in table.splitlines() if line.startswith("| ")][1:]
    return {name for cell in cells for name in re.findall(r"`([a-z_]+)(?:\(\))?`", cell)}


@pytest.mark.parametrize("page", PAGES)
def test_names_of_the_client_exist(page: str) -> None:
    modules = {
        "py_clob_client_v2": ("py_clob_client_v2.client", "ClobClient"),
        "polymarket": ("polymarket", "AsyncSecureClient"),
    }
    module, name = modules[PAGES[page]]
    client = getattr(pytest.importorskip(module), name)
    listed = names(page, 1)
    assert len(listed) > 10
    assert {one for one in listed if not hasattr(client, one)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_names_of_ours_exist(page: str) -> None:
    places = (px.ClobClient, px.Executor, px.LegResult, px.Leg)
    listed = names(page, 2)
    assert "cancel_orders" in listed or "order" in listed
    assert {one for one in listed if not any(hasattr(place, one) for place in places)} == set()
