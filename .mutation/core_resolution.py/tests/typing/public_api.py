"""Checked by mypy, never run: the types that a caller meets."""

from collections.abc import Callable
from decimal import Decimal
from typing import assert_type

import polyexec as px


def arithmetic() -> None:
    amounts = px.limit_amounts("0.33", 10, px.Side.BUY, tick_size=Decimal("0.01"))
    assert_type(amounts, px.Amounts)
    assert_type(amounts.maker_micro, int)
    assert_type(px.market_amounts(10, 0.33, "BUY", tick_size="0.01"), px.Amounts)
    assert_type(px.apply_slippage("0.33", "SELL"), Decimal)
    assert_type(px.taker_fee("0.33", 10, rate="0.07"), Decimal)


def signing(key: str, order: px.Order) -> None:
    signer = px.OrderSigner(key, chain_id=137)
    assert_type(signer.address, str)
    signed = signer.sign(order)
    assert_type(signed, px.SignedOrder)
    assert_type(signed.signature, str)
    batch = signer.sign_batch([order])
    assert_type(batch, list[px.SignedOrder])
    assert_type(px.encode_orders(batch, owner="", order_type="GTC"), bytes)
    assert_type(px.encode_orders(batch, owner="", order_type=[px.OrderType.FAK]), bytes)
    assert_type(px.encode_order(signed, owner="", order_type=px.OrderType.FOK), bytes)
    assert_type(px.l2_signature("c2VjcmV0", "1", "GET", "/orders"), str)
    assert_type(px.l1_headers(key, timestamp=1), dict[str, str])


async def execution(config: px.ExecutorConfig, signal: px.ArbSignal) -> None:
    async with px.Executor(config) as executor:
        executor.update_balance("1000.00")
        executor.update_positions({"1": "25"})
        stop = executor.on_trade_result(lambda result: print(result.success))
        assert_type(stop, Callable[[], None])
        submission = executor.submit(signal)
        assert_type(submission.skipped, px.SkipReason | None)
        result = await submission
        assert_type(result, px.TradeResult)
        assert_type(result.legs, tuple[px.LegResult, ...])
        assert_type(result.total_cost, Decimal)
        assert_type(result.latency.sign_us, float)
        assert_type(executor.submit_nowait(signal), bool)


def in_a_script(config: px.ExecutorConfig, signal: px.LegsSignal) -> None:
    with px.sync.Executor(config) as executor:
        assert_type(executor.submit(signal).result(timeout=1), px.TradeResult)


def records() -> None:
    quote = px.Quote(token_id="1", best_ask="0.33", best_ask_size=100)
    assert_type(quote.best_ask, Decimal | None)
    assert_type(quote.replace(best_ask="0.34"), px.Quote)
    leg = px.Leg("1", "BUY", "0.33", 10)
    assert_type(leg.side, px.Side)
    px.LegsSignal([leg], payout=1)
    px.Leg("1", "BUY", price=None, size=10)  # type: ignore[arg-type]
    px.ArbSignal(px.Strategy.POLYMARKET_TRIANGLE_BUY, parent="quote")  # type: ignore[arg-type]
