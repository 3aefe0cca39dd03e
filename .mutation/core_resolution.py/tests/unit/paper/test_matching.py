"""The engine as a plain object: who trades, at what price, and who takes the rounding."""

from itertools import count

import pytest

from polyexec.enums import Generation, OrderType, Side
from polyexec.errors import InternalError
from polyexec.paper.book import Order, PaperMarket, decimal_text, price_text
from polyexec.paper.errors import Refused
from polyexec.paper.fees import fill_fee_micro
from polyexec.paper.ledger import HOUSE, Posting
from polyexec.paper.matching import Event, MatchingEngine, OrderChanged, Trade, TradeChanged

from .support import Clock

M = 1_000_000
_ids = count(1)


class World:
    def __init__(self, *, rate: int = 0, settle_at_once: bool = True) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.engine = MatchingEngine(
            clock=self.clock, listener=self.events.append, settle_at_once=settle_at_once
        )
        self.market = PaperMarket(
            condition_id="0x" + "01" * 32,
            token_ids=("11", "22"),
            slug="m",
            tick_e4=100,
            neg_risk=False,
            generation=Generation.CLOB_V2,
            fee_rate_micro=rate,
            fee_exponent=1,
            min_order_size_micro=5 * M,
        )
        self.engine.add_market(self.market)
        for account in "abc":
            self.engine.ledger.deposit(account, 1000 * M)

    def order(
        self,
        account: str,
        side: Side,
        price_e4: int,
        shares: int,
        *,
        token: int = 0,
        order_type: OrderType = OrderType.GTC,
        money: int | None = None,
        expires_ms: int = 0,
    ) -> Order:
        cash = shares * price_e4 // 10_000 if money is None else money
        maker, taker = (cash, shares) if side is Side.BUY else (shares, cash)
        return Order(
            order_id=f"0x{next(_ids):064x}",
            account=account,
            market=self.market,
            token=token,
            side=side,
            order_type=order_type,
            maker_micro=maker,
            taker_micro=taker,
            price_e4=price_e4,
            expires_ms=expires_ms,
        )

    def buy(self, account: str, price_e4: int, shares: int, **rest: object) -> Order:
        order = self.order(account, Side.BUY, price_e4, shares, **rest)  # type: ignore[arg-type]
        self.engine.place(order)
        return order

    def sell(self, account: str, price_e4: int, shares: int, **rest: object) -> Order:
        order = self.order(account, Side.SELL, price_e4, shares, **rest)  # type: ignore[arg-type]
        self.engine.ledger.set_position(
            account,
            order.token_id,
            self.engine.ledger.balance(account, order.token_id) + shares,
        )
        self.engine.place(order)
        return order

    def money(self, account: str) -> int:
        return self.engine.ledger.balance(account) - 1000 * M

    def shares(self, account: str, token: int = 0) -> int:
        return self.engine.ledger.balance(account, self.market.token_ids[token])


def test_best_price_first_then_oldest_at_the_resting_price() -> None:
    world = World()
    late_best = world.sell("a", 4000, 5 * M)
    first = world.sell("b", 4100, 5 * M)
    second = world.sell("c", 4100, 5 * M)
    taker = world.buy("a", 4500, 12 * M)
    assert [o.filled_micro for o in (late_best, first, second)] == [5 * M, 5 * M, 2 * M]
    assert taker.cash_micro == 5 * 400_000 + 7 * 410_000
    assert [t.price_e4 for t in world.engine.trades.values()] == [4000, 4100]
    assert [fill.order for fill in list(world.engine.trades.values())[1].makers] == [first, second]
    world.engine.ledger.audit()


def test_rest_of_a_gtc_stands_behind_older_orders() -> None:
    world = World()
    older = world.buy("a", 4000, 5 * M)
    world.sell("b", 4200, 5 * M)
    newer = world.buy("c", 4200, 10 * M)  # takes 5, and 5 rest at 0.42
    assert world.engine.book(world.market).levels(True) == [(4000, 5 * M), (4200, 5 * M)]
    world.sell("b", 4000, 7 * M)
    assert (newer.filled_micro, older.filled_micro) == (10 * M, 2 * M)


def test_two_buys_mint_and_two_sells_merge() -> None:
    world = World()
    world.buy("a", 4000, 10 * M)
    world.buy("b", 6500, 10 * M, token=1)  # would pay 0.65, pays 0.60
    assert (world.money("a"), world.money("b")) == (-4 * M, -6 * M)
    assert (world.shares("a", 0), world.shares("b", 1)) == (10 * M, 10 * M)
    world.engine.ledger.audit()
    world.engine.place(world.order("a", Side.SELL, 3000, 10 * M))
    world.engine.place(world.order("b", Side.SELL, 5000, 10 * M, token=1))
    # a asked 0.30, so b gets 0.70
    assert (world.money("a"), world.money("b")) == (-1 * M, 1 * M)
    assert (world.shares("a", 0), world.shares("b", 1)) == (0, 0)
    world.engine.ledger.audit()


@pytest.mark.parametrize("mint", [False, True])
def test_completed_order_takes_the_rounding(mint: bool) -> None:
    # 0.333333 shares at 0.37 are 123333.21 micro-dollars.
    world = World()
    if mint:
        resting = world.order("a", Side.BUY, 6300, 333_333, token=1, money=210_000)
        world.engine.place(resting)
    else:
        resting = world.sell("a", 3700, 333_333)
    taker = world.buy("b", 3700, 10 * M)
    assert taker.cash_micro == 123_333  # unfinished: rounded in its favour
    assert resting.cash_micro == (333_333 - 123_333 if mint else 123_333)
    world.engine.ledger.audit()


def test_unfinished_seller_is_not_paid_short() -> None:
    world = World()
    resting = world.sell("a", 3700, 10 * M)
    taker = world.buy(
        "b", 3700, 2_700_000, order_type=OrderType.FOK, money=1 * M
    )  # 1 dollar buys 2.702702 shares, exactly 0.99999974 dollars' worth
    assert (taker.filled_micro, taker.cash_micro) == (2_702_702, 1 * M)
    assert resting.cash_micro == 1 * M
    world.engine.ledger.audit()


def test_fok_buy_that_meets_exactly_its_money_is_complete() -> None:
    world = World()
    world.sell("a", 5000, 2 * M)
    taker = world.buy("b", 5000, 2 * M, order_type=OrderType.FOK)
    assert (taker.status, taker.filled_micro, taker.cash_micro) == ("MATCHED", 2 * M, 1 * M)


def test_price_of_the_taker_is_not_used() -> None:
    world = World()
    world.buy("a", 6000, 10 * M)
    taker = world.sell("b", 4000, 10 * M)
    assert taker.cash_micro == 6 * M


def test_order_does_not_trade_through_its_limit() -> None:
    world = World()
    world.sell("a", 4000, 5 * M)
    world.sell("a", 4100, 5 * M)
    taker = world.buy("b", 4000, 10 * M, order_type=OrderType.FAK)
    assert taker.filled_micro == 5 * M
    assert world.engine.book(world.market).best(True) is None


def test_cancelled_money_is_free_again() -> None:
    world = World()
    order = world.buy("a", 5000, 2000 * M)
    with pytest.raises(Refused, match="sum of active orders: 1000000000"):
        world.buy("a", 1000, 10 * M)
    assert world.engine.cancel(order.order_id)
    assert not world.engine.cancel(order.order_id)
    assert world.engine.ledger.active("a") == 0
    world.buy("a", 1000, 10 * M)


def test_killed_fok_changes_nothing_but_is_remembered() -> None:
    world = World()
    world.sell("a", 4000, 5 * M)
    order = world.order("b", Side.BUY, 4000, 6 * M, order_type=OrderType.FOK)
    with pytest.raises(Refused, match="fully filled or killed"):
        world.engine.place(order)
    assert world.engine.orders[order.order_id].status == "CANCELED"
    assert isinstance(world.events[-1], OrderChanged)
    assert world.events[-1].kind == "CANCELLATION"
    assert world.engine.book(world.market).total(False, 4000) == 5 * M
    with pytest.raises(Refused, match="Duplicated"):
        world.engine.place(order)


def test_sell_fee_never_exceeds_the_proceeds() -> None:
    world = World(rate=70_000)
    world.buy("a", 100, 110 * M)
    tiny = world.sell("b", 100, 1, order_type=OrderType.FAK)  # a millionth of a share
    assert (tiny.cash_micro, tiny.fee_micro) == (0, 0)
    world.engine.ledger.audit()


def test_fee_is_taken_per_fill() -> None:
    world = World(rate=70_000)
    for _ in range(3):
        world.sell("a", 5000, 10_000)  # 0.01 share: 0.000175, that is 0.00018
    taker = world.buy("b", 5000, 10 * M)
    assert taker.fee_micro == 3 * 180
    assert world.engine.ledger.fees_micro == 3 * 180
    world.engine.ledger.audit()


def test_matched_trade_that_waits_ties_up_and_then_moves() -> None:
    world = World(settle_at_once=False)
    world.buy("a", 4000, 10 * M)
    world.buy("b", 6000, 10 * M, token=1)
    (trade,) = world.engine.trades.values()
    assert (trade.status, trade.transaction_hash) == ("MATCHED", "")
    ledger = world.engine.ledger
    assert (ledger.balance("a"), ledger.matched("a"), ledger.active("a")) == (1000 * M, 4 * M, 0)
    assert world.shares("a") == 0
    ledger.audit()
    world.engine.settle(trade)
    assert (trade.status, world.money("a"), ledger.matched("a")) == ("CONFIRMED", -4 * M, 0)
    assert trade.transaction_hash.startswith("0x")
    world.engine.fail(trade)  # final is final
    assert trade.status == "CONFIRMED"
    assert world.shares("b", 1) == 10 * M
    ledger.audit()


def test_failed_trade_gives_the_money_back() -> None:
    world = World(settle_at_once=False)
    world.buy("a", 4000, 10 * M)
    world.buy("b", 6000, 10 * M, token=1)
    (trade,) = world.engine.trades.values()
    world.engine.fail(trade)
    world.engine.settle(trade)
    assert trade.status == "FAILED"
    assert world.engine.ledger.available("a") == 1000 * M
    assert world.money("b") == 0
    world.engine.ledger.audit()
    statuses = [event.trade.status for event in world.events if isinstance(event, TradeChanged)]
    assert len(statuses) == 2


def test_good_till_date_ends_on_time_and_not_before() -> None:
    world = World()
    late = world.buy("a", 4000, 10 * M, expires_ms=world.clock.now_ms + 1000)
    early = world.buy("a", 4100, 10 * M, expires_ms=world.clock.now_ms + 500)
    world.clock.now_ms += 999
    taker = world.sell("b", 4000, 5 * M)
    assert (early.status, late.filled_micro, taker.status) == ("CANCELED", 5 * M, "MATCHED")
    world.clock.now_ms += 1
    world.engine.expire()
    assert late.status == "CANCELED"
    assert world.engine.ledger.active("a") == 0


def test_engine_works_without_a_listener() -> None:
    world = World()
    world.engine.listener = None
    world.sell("a", 4000, 5 * M)
    assert world.buy("b", 4000, 5 * M).status == "MATCHED"


def test_one_account_may_meet_itself() -> None:
    world = World()
    world.buy("a", 4000, 10 * M)
    world.buy("a", 6000, 10 * M, token=1)
    assert (world.money("a"), world.shares("a", 0), world.shares("a", 1)) == (
        -10 * M,
        10 * M,
        10 * M,
    )
    world.engine.ledger.audit()


def test_trade_ids_depend_on_the_order_alone() -> None:
    world = World()
    world.sell("a", 4000, 5 * M)
    taker = world.buy("b", 4000, 5 * M)
    twin = World()
    twin.sell("a", 4000, 5 * M)
    order = twin.order("b", Side.BUY, 4000, 5 * M)
    order.order_id = taker.order_id
    trades: list[Trade] = twin.engine.place(order)
    assert [trade.trade_id for trade in trades] == taker.trade_ids


# --- money --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "price", "rate", "exponent", "fee"),
    [
        (5 * M, 2000, 70_000, 1, 56_000),  # recorded 2026-05-17
        (100 * M, 5000, 70_000, 1, 1_750_000),
        (100 * M, 5000, 0, 1, 0),
        (1, 5000, 70_000, 1, 10),  # never less than 1e-5
        (10_000, 5000, 70_000, 1, 180),  # 175 is half way: up
        (10_000, 5000, 69_999, 1, 170),  # 174.9975
        (100 * M, 5000, 70_000, 2, 437_500),
        (100 * M, 1234, 40_000, 0, 4_000_000),
    ],
)
def test_fee(shares: int, price: int, rate: int, exponent: int, fee: int) -> None:
    assert fill_fee_micro(shares, price, rate, exponent) == fee
    assert fill_fee_micro(shares, 10_000 - price, rate, exponent) == fee


def test_house_splits_what_it_sells_and_takes_back_what_it_gave() -> None:
    world = World()
    ledger = world.engine.ledger
    ledger.set_position("a", "11", 30 * M)
    assert (ledger.balance(HOUSE, "11"), ledger.balance(HOUSE, "22")) == (0, 30 * M)
    assert ledger.balance(HOUSE) == -30 * M
    ledger.audit()
    ledger.set_position("a", "11", 10 * M)
    assert ledger.balance(HOUSE, "11") == 20 * M
    ledger.audit()


@pytest.mark.parametrize(
    ("posting", "words"),
    [
        (Posting("a", "", 1), "money is off by 1"),
        (Posting("a", "11", 5), "token 11 is 5 micro-shares off"),
        (Posting("a", "", -1001 * M), "a holds -1000000"),
        (Posting("a", "99", 1), "stray tokens"),
    ],
)
def test_audit_finds_what_was_made_up(posting: Posting, words: str) -> None:
    world = World()
    world.engine.ledger.audit()
    world.engine.ledger.settle(world.market, [posting], minted_micro=0, fee_micro=0)
    with pytest.raises(InternalError, match=words):
        world.engine.ledger.audit()


def test_audit_finds_a_hold_that_went_below_zero() -> None:
    world = World()
    world.engine.ledger.hold("a", "", -1)
    with pytest.raises(InternalError, match="hold of -1"):
        world.engine.ledger.audit()


def test_texts_are_the_shortest_plain_decimals() -> None:
    assert [decimal_text(n) for n in (0, 1, 10, 1_500_000, 20_000_000)] == [
        "0",
        "0.000001",
        "0.00001",
        "1.5",
        "20",
    ]
    assert [price_text(n) for n in (1, 100, 5000, 9999)] == ["0.0001", "0.01", "0.5", "0.9999"]
