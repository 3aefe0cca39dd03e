"""What users call: ids, numbers, seeded books, and clear words for bad input."""

import re
from decimal import Decimal
from typing import Any

import pytest

from polyexec import paper
from polyexec.enums import Generation
from polyexec.errors import InputError, InternalError

from .support import Clock, Trader


def test_ids_of_a_market_are_the_same_every_time(clock: Clock) -> None:
    one = paper.PaperExchange(clock=clock).add_market("btc")
    two = paper.PaperExchange(clock=clock).add_market("btc")
    other = paper.PaperExchange(clock=clock).add_market("eth")
    assert (one.condition_id, one.token_ids) == (two.condition_id, two.token_ids)
    assert one.yes == one.token_ids[0]
    assert one.no == one.token_ids[1]
    assert not set(one.token_ids) & set(other.token_ids)


def test_market_without_a_name_gets_one(exchange: paper.PaperExchange) -> None:
    assert [exchange.add_market().slug for _ in range(2)] == ["market-1", "market-2"]


def test_short_condition_id_of_v3_is_padded(exchange: paper.PaperExchange) -> None:
    market = exchange.add_market(condition_id="0x" + "AB" * 31, generation="3")
    assert market.condition_id == "0x" + "ab" * 31 + "00"
    assert market.generation is Generation.EXCHANGE_V3


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"tick_size": "0.02"}, "tick_size"),
        ({"fee_rate": "1.5"}, "fee_rate"),
        ({"fee_rate": "nan"}, "fee_rate"),
        ({"fee_exponent": 5}, "fee_exponent"),
        ({"fee_exponent": True}, "fee_exponent"),
        ({"min_order_size": -1}, "min_order_size"),
        ({"tokens": ("1",)}, "tokens"),
        ({"tokens": ("1", "1")}, "tokens"),
        ({"tokens": ("1", "x")}, "tokens"),
        ({"tokens": ("1", 2**256)}, "tokens"),
        ({"condition_id": "0x12"}, "condition_id"),
        ({"condition_id": 5}, "condition_id"),
        ({"generation": 4}, "generation"),
        ({"generation": "x"}, "generation"),
        ({"slug": "btc"}, "tokens"),
        ({"slug": "btc", "tokens": ("1", "2")}, "condition_id"),
    ],
    ids=str,
)
def test_market_that_cannot_be(
    exchange: paper.PaperExchange,
    market: paper.PaperMarket,
    arguments: dict[str, Any],
    field: str,
) -> None:
    before = len(exchange.engine.markets)
    with pytest.raises(InputError) as caught:
        exchange.add_market(**arguments)
    assert caught.value.field == field
    assert len(exchange.engine.markets) == before


def test_unknown_chain_is_refused() -> None:
    with pytest.raises(InputError, match="137 or 80002"):
        paper.PaperExchange(chain_id=1)
    assert paper.PaperExchange(chain_id=80002).chain_id == 80002


@pytest.mark.parametrize(
    "key", ["", "0x12", "zz" * 32, "00" * 32, "ff" * 32, b"", 5, None], ids=repr
)
def test_bad_key_is_refused_without_being_shown(exchange: paper.PaperExchange, key: Any) -> None:
    with pytest.raises(InputError) as caught:
        exchange.credentials(key)
    assert caught.value.field == "private_key"
    assert "zz" not in str(caught.value)
    assert "ffff" not in str(caught.value)


def test_credentials_hide_their_secrets(exchange: paper.PaperExchange, alice: Trader) -> None:
    key = exchange.credentials(alice.key)
    assert key == exchange.credentials(bytes.fromhex(alice.key[2:]))
    assert key != exchange.credentials(alice.key, nonce=1)
    for shown in (repr(key), repr(exchange._exchange.accounts.derive(alice.address, 0))):
        assert key.secret not in shown
        assert key.passphrase not in shown


def test_money_and_shares_go_in_and_come_out(
    exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    address = "0x" + "AB" * 20
    exchange.deposit(address, "12.345678")
    exchange.deposit(address.lower(), 1)
    assert exchange.balance(address) == Decimal("13.345678")
    exchange.set_position(address, market.no, 3.5)
    assert exchange.position(address, int(market.no)) == Decimal("3.5")
    exchange.set_position(address, market.no, 1)
    assert exchange.position(address, market.no) == 1
    assert exchange.fees_collected == exchange.fees_collected_micro == 0
    exchange.audit()


def test_audit_speaks_up(exchange: paper.PaperExchange) -> None:
    assert exchange.is_conserved()
    exchange.engine.ledger.fees_micro += 1
    assert not exchange.is_conserved()
    with pytest.raises(InternalError, match="money is off by 1"):
        exchange.audit()


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda x, t: x.deposit("0x12", 1), "address"),
        (lambda x, t: x.deposit("0x" + "11" * 20, -1), "amount"),
        (lambda x, t: x.deposit("0x" + "11" * 20, "inf"), "amount"),
        (lambda x, t: x.deposit("0x" + "11" * 20, 1, owner="me"), "owner"),
        (lambda x, t: x.set_position("0x" + "11" * 20, "5", 1), "token_id"),
        (lambda x, t: x.set_position("0x" + "11" * 20, t, "0.0000001"), "shares"),
        (lambda x, t: x.balance(None), "address"),
        (lambda x, t: x.market("5"), "token_id"),
        (lambda x, t: x.snapshot("5"), "token_id"),
        (lambda x, t: x.seed_book("5"), "token_id"),
        (lambda x, t: x.seed_book(t, bids=[("0.405", 5)]), "price"),
        (lambda x, t: x.seed_book(t, bids=[("1", 5)]), "price"),
        (lambda x, t: x.seed_book(t, bids=[("0.40", -5)]), "size"),
        (lambda x, t: x.seed_book(t, bids=[("0.40", 5)], asks=[("0.40", 5)]), "asks"),
        (lambda x, t: x.set_level(t, "BID", "0.40", 5), "side"),
        (lambda x, t: x.set_level(t, "BUY", "0.405", 5), "price"),
        (lambda x, t: x.set_tick_size(t, "0.02"), "tick_size"),
    ],
)
def test_bad_input_names_its_field(
    exchange: paper.PaperExchange, market: paper.PaperMarket, call: Any, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        call(exchange, market.yes)
    assert caught.value.field == field
    assert exchange.engine.live == {}
    assert exchange.is_conserved()


def levels(exchange: paper.PaperExchange, token: str) -> tuple[dict[str, str], dict[str, str]]:
    book = exchange.snapshot(token)
    bids, asks = (
        {level["price"]: level["size"] for level in book[side]} for side in ("bids", "asks")
    )
    return bids, asks


def test_seeds_add_up_and_set_book_replaces(
    exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, bids=[("0.40", 5)], asks=[("0.45", 5)])
    exchange.seed_book(market.no, bids=[("0.55", 7)], asks=[("0.60", 7)])
    assert levels(exchange, market.yes) == ({"0.4": "12"}, {"0.45": "12"})
    exchange.set_book(market.yes, bids=[("0.40", 6), ("0.39", 1)], asks=[("0.46", "2.5")])
    assert levels(exchange, market.yes) == ({"0.39": "1", "0.4": "6"}, {"0.46": "2.5"})
    exchange.set_book(market.no, bids=[("0.54", 3)])
    assert levels(exchange, market.yes) == ({}, {"0.46": "3"})
    exchange.set_level(market.no, "SELL", "0.70", 9)
    assert levels(exchange, market.yes) == ({"0.3": "9"}, {"0.46": "3"})
    exchange.set_level(market.yes, "BUY", "0.30", 0)
    exchange.clear_book(market.no)
    assert levels(exchange, market.yes) == ({}, {})
    exchange.audit()


def test_house_does_not_trade_with_itself(
    exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, asks=[("0.46", 100)])
    message = "crosses the seeded book, which has "
    with pytest.raises(InputError, match=re.escape(message + "0.46")):
        exchange.seed_book(market.yes, bids=[("0.46", 1)])
    # NO at 0.50 is YES bid for at 0.50
    with pytest.raises(InputError, match=re.escape(message + "0.54")):
        exchange.seed_book(market.no, asks=[("0.50", 100)])
    with pytest.raises(InputError, match=re.escape(message + "0.46")):
        exchange.set_level(market.yes, "BUY", "0.50", 1)
    assert levels(exchange, market.yes) == ({}, {"0.46": "100"})
    exchange.set_book(market.yes, bids=[("0.47", 1)], asks=[("0.48", 1)])
    assert levels(exchange, market.yes) == ({"0.47": "1"}, {"0.48": "1"})


def test_smaller_seed_keeps_its_place_in_the_queue(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader, bob: Trader
) -> None:
    exchange.seed_book(market.yes, bids=[("0.40", 10)])
    order_id = alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))[1]["orderID"]
    exchange.set_level(market.yes, "BUY", "0.40", 6)
    exchange.set_position(bob.address, market.yes, 20)
    bob.post(bob.limit(market.yes, "SELL", "0.40", "6"))
    assert alice.request("GET", f"/data/order/{order_id}")[1]["size_matched"] == "0"
    # ... and a larger one stands behind
    exchange.set_level(market.yes, "BUY", "0.40", 5)
    bob.post(bob.limit(market.yes, "SELL", "0.40", "5"))
    assert alice.request("GET", f"/data/order/{order_id}")[1]["size_matched"] == "5"
    exchange.audit()


def test_seed_trades_with_the_accounts_it_crosses(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader
) -> None:
    alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
    exchange.seed_book(market.yes, asks=[("0.38", 15)])
    assert exchange.position(alice.address, market.yes) == 10
    assert exchange.balance(alice.address) == 996
    assert exchange.fees_collected == 0  # the house pays none
    assert levels(exchange, market.yes) == ({}, {"0.38": "5"})
    exchange.audit()


def test_clearing_leaves_the_orders_of_accounts(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader
) -> None:
    alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
    exchange.seed_book(market.yes, bids=[("0.40", 5), ("0.30", 5)])
    exchange.clear_book(market.yes)
    assert levels(exchange, market.yes) == ({"0.4": "10"}, {})


def test_default_clock_is_the_time_of_day() -> None:
    assert paper.PaperExchange().engine.clock() > 1_700_000_000_000
