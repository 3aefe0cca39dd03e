"""An exchange with one market and two funded traders."""

import pytest

from polyexec import paper

from .support import Clock, Trader


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange(clock: Clock) -> paper.PaperExchange:
    return paper.PaperExchange(clock=clock)


@pytest.fixture
def market(exchange: paper.PaperExchange) -> paper.PaperMarket:
    return exchange.add_market("btc", fee_rate="0.07")


@pytest.fixture
def alice(exchange: paper.PaperExchange) -> Trader:
    trader = Trader(exchange, 1)
    exchange.deposit(trader.address, "1000")
    return trader


@pytest.fixture
def bob(exchange: paper.PaperExchange) -> Trader:
    trader = Trader(exchange, 2)
    exchange.deposit(trader.address, "1000")
    return trader
