"""A first signal, on the embedded paper exchange: no key, no account, no network."""

import asyncio

import polyexec as px

# A throwaway key: only the paper exchange gives it money.
PRIVATE_KEY = "0x" + "11" * 32


async def main() -> None:
    async with px.paper.PaperExchange() as exchange:
        # Two markets of which one will pay: together they cost 0.96.
        above = exchange.add_market("btc-above-100k", tick_size="0.01", fee_rate="0")
        below = exchange.add_market("btc-below-100k", tick_size="0.01", fee_rate="0")
        exchange.seed_book(above.yes, bids=[("0.44", "100")], asks=[("0.46", "100")])
        exchange.seed_book(below.yes, bids=[("0.48", "100")], asks=[("0.50", "100")])
        exchange.deposit(px.OrderSigner(PRIVATE_KEY).address, "1000")

        creds = exchange.credentials(PRIVATE_KEY)
        config = px.ExecutorConfig(
            private_key=PRIVATE_KEY,
            clob_url=exchange.url,
            ssl_context=exchange.ssl_context,
            api_key=creds.api_key,
            api_secret=creds.secret,
            api_passphrase=creds.passphrase,
            trading_enabled=True,
        )
        signal = px.LegsSignal(
            legs=[
                px.Leg(above.yes, "BUY", "0.46", 10, tick_size="0.01", fee_rate=0),
                px.Leg(below.yes, "BUY", "0.50", 10, tick_size="0.01", fee_rate=0),
            ],
            payout=1,
        )
        async with px.Executor(config) as executor:
            result = await executor.submit(signal)

    print(f"success {result.success}, skipped {result.skipped}")
    for leg in result.legs:
        print(f"  {leg.side} {leg.size} at {leg.price}: {leg.state}, filled {leg.filled_size}")
    print(f"cost {result.total_cost}, expected profit {result.expected_pnl}")
    print(f"signed in {result.latency.sign_us:.0f} us, all in {result.latency.total_us:.0f} us")


if __name__ == "__main__":
    asyncio.run(main())
