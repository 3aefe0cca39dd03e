"""What an exchange does to orders besides matching: delays, refusals, settlement, the end."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from polyexec import paper
from polyexec.backtest.loop import VirtualClock, run_virtual
from polyexec.errors import InputError, UsageError
from polyexec.paper.conditions import Conditions
from polyexec.paper.http import Held, Request, Response

from .support import Clock, Trader, leg_errors


def market_of(
    exchange: paper.PaperExchange, **terms: Any
) -> tuple[paper.PaperMarket, Trader, Trader]:
    market = exchange.add_market("m", min_order_size=1, **terms)
    traders = Trader(exchange, 1), Trader(exchange, 2)
    for trader in traders:
        exchange.deposit(trader.address, 1000)
        exchange.set_position(trader.address, market.yes, 500)
    return market, *traders


def begin(trader: Trader, entries: list[dict[str, Any]]) -> Response | Held:
    body = json.dumps(entries, separators=(",", ":")).encode()
    headers = trader.headers("POST", "/orders", body)
    return trader.exchange.begin(Request("POST", "/orders", headers=headers, body=body))


# --- the matching delay ---------------------------------------------------------------------------


def test_a_marketable_order_is_held_and_meets_the_book_of_later(clock: Clock) -> None:
    exchange = paper.PaperExchange(clock=clock)
    market, alice, _ = market_of(exchange, delay_ms=250)
    exchange.seed_book(market.yes, asks=[("0.50", 10)])
    taker = alice.limit(market.yes, "BUY", "0.52", "5", "FOK")
    rests = alice.limit(market.yes, "BUY", "0.20", "5")
    held = begin(alice, [taker, rests])
    assert isinstance(held, Held)
    assert held.wait_ms == 250
    assert [order.price_e4 for order in exchange.engine.live.values() if order.owner_address ==
            alice.address.lower()] == [2000]  # fmt: skip
    assert leg_errors(alice, [taker])[0].endswith("Duplicated.")
    exchange.set_book(market.yes, asks=[("0.51", 10)])
    legs = json.loads(held.finish().body)
    assert [leg["status"] for leg in legs] == ["matched", "live"]
    assert Decimal(legs[0]["makingAmount"]) == Decimal("2.6")  # spends all, at 0.51
    assert alice.request("GET", f"/clob-markets/{market.condition_id}")[1]["itode"] is True


def test_a_held_order_that_is_too_late_is_killed_in_the_exchanges_words(clock: Clock) -> None:
    exchange = paper.PaperExchange(clock=clock)
    market, alice, _ = market_of(exchange, delay_ms=250)
    exchange.seed_book(market.yes, asks=[("0.50", 10)])
    held = begin(alice, [alice.limit(market.yes, "BUY", "0.50", "5", "FOK")])
    assert isinstance(held, Held)
    exchange.clear_book(market.yes)
    (leg,) = json.loads(held.finish().body)
    assert "FOK orders are fully filled or killed" in leg["errorMsg"]


def test_orders_that_do_not_trade_are_not_held(clock: Clock) -> None:
    exchange = paper.PaperExchange(clock=clock)
    market, alice, _ = market_of(exchange, delay_ms=250)
    exchange.seed_book(market.yes, asks=[("0.50", 10)])
    crossing = alice.limit(market.yes, "BUY", "0.50", "5", outer={"postOnly": True})
    answer = begin(alice, [alice.limit(market.yes, "BUY", "0.49", "5"), crossing])
    assert isinstance(answer, Response)
    first, second = json.loads(answer.body)
    assert first["status"] == "live"
    assert "post-only" in second["errorMsg"]


def test_a_deferred_order_is_answered_at_once_and_matched_later() -> None:
    clock = VirtualClock()

    async def main() -> None:
        exchange = paper.PaperExchange(clock=clock.time_ms)
        market, alice, _ = market_of(exchange, delay_ms=3000, is_deferred=True)
        exchange.seed_book(market.yes, asks=[("0.50", 10)])
        entries = [alice.limit(market.yes, "BUY", "0.50", size, "FOK") for size in ("6", "8")]
        status, legs = alice.request("POST", "/orders", entries)
        assert (status, [leg["status"] for leg in legs]) == (200, ["delayed"] * 2)
        assert exchange.engine.orders.keys() & {leg["orderID"] for leg in legs} == set()
        await asyncio.sleep(2.999)
        assert not exchange.engine.trades
        await asyncio.sleep(0.001)
        ended = [exchange.engine.orders[leg["orderID"]].status for leg in legs]
        assert ended == ["MATCHED", "CANCELED"]
        exchange.audit()

    run_virtual(clock, main())


def test_a_deferred_order_without_money_is_invalid_in_the_end() -> None:
    clock = VirtualClock()

    async def main() -> None:
        exchange = paper.PaperExchange(clock=clock.time_ms)
        market, alice, _ = market_of(exchange, delay_ms=3000, is_deferred=True)
        exchange.seed_book(market.yes, asks=[("0.50", 10_000)])
        _, leg = alice.post(alice.limit(market.yes, "BUY", "0.50", "5000"))
        await asyncio.sleep(3)
        _, order = alice.request("GET", f"/data/order/{leg['orderID']}")
        assert (order["status"], order["size_matched"]) == ("INVALID", "0")

    run_virtual(clock, main())


def test_delays_need_a_loop_and_a_sensible_time(clock: Clock) -> None:
    exchange = paper.PaperExchange(clock=clock)
    with pytest.raises(InputError, match="delay_ms"):
        exchange.add_market("other", delay_ms=-1)
    market, alice, _ = market_of(exchange, delay_ms=10, is_deferred=True)
    exchange.seed_book(market.yes, asks=[("0.50", 10)])
    with pytest.raises(UsageError, match="event loop"):
        alice.post(alice.limit(market.yes, "BUY", "0.50", "5"))


# --- refusals and settlement ----------------------------------------------------------------------


def statuses(seed: int, **rates: Any) -> list[str]:
    exchange = paper.PaperExchange(clock=Clock(), conditions=Conditions(seed=seed, **rates))
    market, alice, _ = market_of(exchange)
    entries = [alice.limit(market.yes, "BUY", "0.10", str(size)) for size in range(5, 105)]
    errors: list[str] = []
    for start in range(0, 100, 10):
        errors += leg_errors(alice, entries[start : start + 10])
    return errors


def test_refusals_follow_from_the_seed_and_leave_no_trace() -> None:
    first = statuses(1, reject_rate="0.2")
    assert set(first) == {"", "the market is not yet ready to process new orders"}
    assert 5 < sum(map(bool, first)) < 40
    assert statuses(1, reject_rate="0.2") == first != statuses(2, reject_rate="0.2")
    assert not any(statuses(1))


def test_trades_settle_after_a_time_and_some_fail() -> None:
    clock = VirtualClock()

    async def main() -> list[str]:
        conditions = Conditions(settle_ms=2500, failure_rate="0.3", seed=5)
        exchange = paper.PaperExchange(clock=clock.time_ms, conditions=conditions)
        market, alice, _ = market_of(exchange)
        exchange.seed_book(market.yes, asks=[("0.50", 1000)])
        before = exchange.balance(alice.address)
        for _ in range(40):
            status, _ = alice.post(alice.limit(market.yes, "BUY", "0.50", "5", "FAK"))
            assert status == 200
        trades = exchange.engine.trades.values()
        assert {trade.status for trade in trades} == {"MATCHED"}
        assert exchange.balance(alice.address) == before
        await asyncio.sleep(2.499)
        assert {trade.status for trade in trades} == {"MATCHED"}
        await asyncio.sleep(0.001)
        ended = [trade.status for trade in trades]
        assert exchange.balance(alice.address) == before - ended.count("CONFIRMED") * Decimal("2.5")
        exchange.audit()
        return ended

    first = run_virtual(clock, main())
    assert {"CONFIRMED", "FAILED"} == set(first)
    assert run_virtual(clock, main()) == first


def test_restarts_come_when_they_are_due(clock: Clock) -> None:
    start = clock.now_ms
    plan = (paper.Restart(start + 1000, 500, 200), paper.Restart(start + 1700, 100, 0))
    exchange = paper.PaperExchange(clock=clock, conditions=Conditions(restarts=plan))
    market, alice, _ = market_of(exchange)
    seen = []
    for ms in (999, 1000, 1500, 1700, 1800):
        clock.now_ms = start + ms
        seen.append(alice.post(alice.limit(market.yes, "BUY", "0.10", "5"))[0])
    assert seen == [200, 425, 503, 425, 200]
    for wrong in (plan[::-1], (paper.Restart(-1),), (paper.Restart(5, -1),)):
        with pytest.raises(InputError, match="restarts"):
            Conditions(restarts=wrong)


# --- rebates --------------------------------------------------------------------------------------


def test_makers_get_their_share_of_the_fee() -> None:
    exchange = paper.PaperExchange(clock=Clock())
    market, alice, bob = market_of(exchange, fee_rate="0.07", maker_rebate="0.25")
    exchange.seed_book(market.yes, asks=[("0.50", 30)])
    bob.post(bob.limit(market.yes, "SELL", "0.50", "70"))
    before = exchange.balance(bob.address)
    alice.post(alice.limit(market.yes, "BUY", "0.50", "100"))
    fee = Decimal("1.75")  # of 100 shares; 70 of them are bob's
    assert exchange.balance(bob.address) == before + 35 + fee * 7 / 10 / 4
    assert exchange.rebates_paid == fee * 7 / 10 / 4
    assert exchange.fees_collected == fee - exchange.rebates_paid
    exchange.audit()


def test_the_house_pays_the_fee_that_a_rebate_is_a_share_of() -> None:
    for rebate, paid in ((0, Decimal(0)), (1, Decimal("0.175"))):
        exchange = paper.PaperExchange(clock=Clock())
        market, alice, _ = market_of(exchange, fee_rate="0.07", maker_rebate=rebate)
        alice.post(alice.limit(market.yes, "BUY", "0.50", "10"))
        exchange.seed_book(market.yes, asks=[("0.50", 10)])
        assert (exchange.rebates_paid, exchange.fees_collected) == (paid, 0)
        exchange.audit()


# --- the end of a market --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "pays", "money"), [(0, 1, 110), (0, 0, 0), (1, 1, 0), (1, "0.5", 55), (0, "0.5", 55)]
)
def test_shares_of_a_resolved_market_are_worth_what_it_pays(
    token: int, pays: Any, money: int
) -> None:
    exchange = paper.PaperExchange(clock=Clock())
    market, alice, bob = market_of(exchange)
    exchange.set_position(alice.address, market.yes, 110)
    bid = alice.post(alice.limit(market.yes, "BUY", "0.30", "10"))[1]["orderID"]
    exchange.seed_book(market.yes, bids=[("0.20", 5)], asks=[("0.60", 5)])
    before = exchange.balance(alice.address)
    exchange.resolve(market.token_ids[token], pays)
    assert exchange.engine.orders[bid].status == "CANCELED_MARKET_RESOLVED"
    assert exchange.engine.live == {}
    exchange.audit()
    assert exchange.redeem(market.yes, alice.address) == money
    assert exchange.balance(alice.address) == before + money
    assert exchange.position(alice.address, market.yes) == 0
    exchange.audit()
    exchange.redeem(market.no)
    exchange.audit()
    assert exchange.position(bob.address, market.yes) == 0
    assert "No orderbook" in bob.post(bob.limit(market.yes, "BUY", "0.30", "10"))[1]["error"]
    with pytest.raises(UsageError, match="already"):
        exchange.resolve(market.yes, 1)


def test_halves_of_odd_micro_shares_are_dust_that_the_audit_knows() -> None:
    exchange = paper.PaperExchange(clock=Clock())
    market, alice, bob = market_of(exchange)
    exchange.set_position(alice.address, market.yes, "0.000003")
    exchange.set_position(bob.address, market.yes, "0.000005")
    exchange.resolve(market.no, "0.5")
    assert exchange.redeem(market.yes, alice.address) == Decimal("0.000001")
    exchange.audit()
    exchange.redeem(market.yes)
    exchange.audit()
    ledger = exchange.engine.ledger
    ledger._dust[market.condition_id] -= 1
    assert not exchange.is_conserved()


def test_matched_trades_settle_before_their_market_pays() -> None:
    exchange = paper.PaperExchange(clock=Clock(), settle_at_once=False)
    market, alice, _ = market_of(exchange)
    exchange.seed_book(market.yes, asks=[("0.50", 10)])
    alice.post(alice.limit(market.yes, "BUY", "0.50", "10"))
    (trade,) = exchange.engine.trades.values()
    exchange.resolve(market.yes, 1)
    assert trade.status == "CONFIRMED"
    assert exchange.redeem(market.yes, alice.address) == 510
    exchange.audit()


def test_only_a_resolved_market_redeems_and_only_a_dollar_is_shared(
    exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    with pytest.raises(UsageError, match="resolve"):
        exchange.redeem(market.yes)
    for pays in (2, -1, "x"):
        with pytest.raises(InputError, match="pays"):
            exchange.resolve(market.yes, pays)


def test_subscribers_hear_who_won(exchange: paper.PaperExchange, market: paper.PaperMarket) -> None:
    heard: list[dict[str, Any]] = []
    exchange.subscribe(heard.append)
    exchange.resolve(market.no, 1)
    assert heard[-1]["event_type"] == "market_resolved"
    assert heard[-1]["winning_asset_id"] == market.no


def test_an_exchange_in_process_makes_no_certificate(exchange: paper.PaperExchange) -> None:
    assert "_authority" not in vars(exchange)
    assert exchange.ca_pem.startswith("-----BEGIN CERTIFICATE")
    assert exchange.ca_pem == exchange.ca_pem
