"""A bot on the embedded exchange: it looks at two books, and buys both where that pays.

For the real exchange, settings from the environment and tokens of real markets take the place of
what ``main`` sets up; ``trade`` stays as it is.
"""

import asyncio
from decimal import Decimal

import polyexec as px

PRIVATE_KEY = "0x" + "44" * 32  # a throwaway key
ROUNDS = 20
SIZE = 10


async def look(client: px.ClobClient, market: px.Market) -> px.Leg | None:
    """Return what buying at the best ask would be; None while nobody sells."""
    best = (await client.book(market.token_id)).best_ask
    if best is None or market.fee_rate_micro is None:
        return None
    return px.Leg(
        market.token_id,
        "BUY",
        Decimal(best.price_e4) / 10_000,
        SIZE,
        "FOK",
        available_size=Decimal(best.size_micro) / 1_000_000,
        market_slug=market.market_slug,
        neg_risk=market.neg_risk,
        tick_size=Decimal(market.tick_e4) / 10_000,
        generation=market.generation,
        fee_rate=Decimal(market.fee_rate_micro) / 1_000_000,
        fee_exponent=market.fee_exponent,
    )


async def trade(executor: px.Executor, client: px.ClobClient, tokens: list[px.TokenId]) -> None:
    """Look at the books again and again; the executor refuses what does not pay."""
    markets = [await client.market_by_token(token) for token in tokens]
    for _ in range(ROUNDS):
        looks = [await look(client, market) for market in markets]
        legs = [leg for leg in looks if leg is not None]
        if len(legs) == len(markets):
            # Exactly one of the two pays a dollar, so a share of each is worth one.
            await executor.submit(px.LegsSignal(legs, payout=1, outcomes=[(1, 0), (0, 1)]))
        await asyncio.sleep(0.01)


def tell(result: px.TradeResult) -> None:
    """Print a result; it runs in a thread of its own and delays nothing."""
    if result.skipped is None:
        states = ", ".join(leg.state for leg in result.legs)
        print(f"{states}: paid {result.total_cost}, expects {result.expected_pnl}")


async def play(exchange: px.paper.PaperExchange, tokens: list[px.TokenId]) -> None:
    """Move one price up and down, so that there is sometimes an edge."""
    while True:
        for ask in ("0.55", "0.53", "0.50", "0.54"):
            exchange.set_book(tokens[1], asks=[(ask, "40")])
            await asyncio.sleep(0.02)


async def main() -> None:
    config = px.ExecutorConfig(
        PRIVATE_KEY,
        executor_mode="paper",
        trading_enabled=True,
        opportunity_timeout_ms=50,
        max_group_cost=20,
        max_daily_cost=60,
        max_legging_loss=10,
    )
    async with px.Executor(config) as executor:
        exchange = executor.exchange
        tokens = [
            exchange.add_market(slug, tick_size="0.01", fee_rate="0.02").yes
            for slug in ("btc-above-100k", "btc-below-100k")
        ]
        exchange.seed_book(tokens[0], asks=[("0.46", "500")])
        exchange.deposit(executor.address, 500)
        await executor.refresh_balance()
        executor.on_trade_result(tell)

        prices = asyncio.create_task(play(exchange, tokens))
        async with px.ClobClient(exchange.url, ssl_context=exchange.ssl_context) as client:
            await trade(executor, client, tokens)
        prices.cancel()

        books = await executor.reconcile()
        spent = Decimal(executor.risk.spent_micro) / 1_000_000
        print(f"books agree: {books.is_exact}; spent today {spent}, of 60 that may be")


if __name__ == "__main__":
    asyncio.run(main())
