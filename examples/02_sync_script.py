"""The same without async: a script submits, waits, and reads the result."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import polyexec as px

PRIVATE_KEY = "0x" + "22" * 32


class Background:
    """A thread with an event loop, here only for the paper exchange: the executor has its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def trade(
    exchange: px.paper.PaperExchange, creds: px.ApiCredentials, token: px.TokenId
) -> px.TradeResult:
    config = px.ExecutorConfig(
        private_key=PRIVATE_KEY,
        clob_url=exchange.url,
        ssl_context=exchange.ssl_context,
        api_key=creds.api_key,
        api_secret=creds.secret,
        api_passphrase=creds.passphrase,
        trading_enabled=True,
    )
    leg = px.Leg(token, "BUY", "0.30", 10, tick_size="0.01", fee_rate=0)
    with px.sync.Executor(config) as executor:
        executor.on_trade_result(lambda result: None)  # runs in a thread of its own
        return executor.submit(px.LegsSignal([leg])).result(timeout=10)


def main() -> None:
    background = Background()
    exchange = px.paper.PaperExchange()
    # Prepared before it starts: from then on it belongs to its loop's thread.
    market = exchange.add_market("eth-above-5k", tick_size="0.01", fee_rate="0")
    exchange.seed_book(market.yes, asks=[("0.30", "50")])
    exchange.deposit(px.OrderSigner(PRIVATE_KEY).address, "100")
    creds = exchange.credentials(PRIVATE_KEY)
    background.run(exchange.start())
    try:
        result = trade(exchange, creds, market.yes)
    finally:
        background.run(exchange.close())
        background.stop()
    print(f"success {result.success}, cost {result.total_cost}")


if __name__ == "__main__":
    main()
