"""Random order flow: money and shares are conserved, and a slow, obvious book agrees."""

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from polyexec.enums import Generation, OrderType, Side
from polyexec.paper.book import Order, PaperMarket
from polyexec.paper.errors import Refused
from polyexec.paper.ledger import HOUSE
from polyexec.paper.matching import MatchingEngine

M = 1_000_000
ACCOUNTS = ("a", "b", "c")


@dataclass
class Action:
    account: str
    side: Side
    token: int
    order_type: OrderType
    ticks: int
    cents: int  # of a share or, for a BUY that spends, of a dollar
    cancel: int  # cancel the n-th order instead, when there is one


actions = st.lists(
    st.builds(
        Action,
        account=st.sampled_from(ACCOUNTS),
        side=st.sampled_from(Side),
        token=st.integers(0, 1),
        order_type=st.sampled_from([OrderType.GTC, OrderType.GTC, OrderType.FOK, OrderType.FAK]),
        ticks=st.integers(1, 9),
        cents=st.integers(1, 3000),
        cancel=st.integers(0, 60),
    ),
    max_size=40,
)


class Reference:
    """A list of orders, searched from the start each time; shares as fractions of nothing."""

    def __init__(self) -> None:
        self.resting: list[tuple[Order, int]] = []  # with what is left

    def candidates(self, order: Order) -> list[tuple[int, Order, int]]:
        found = []
        for other, left in self.resting:
            if other.token == order.token and other.side is not order.side:
                price = other.price_e4
            elif other.token != order.token and other.side is order.side:
                price = 10_000 - other.price_e4
            else:
                continue
            buying = order.side is Side.BUY
            if price <= order.price_e4 if buying else price >= order.price_e4:
                found.append((price, other, left))
        # sorted() is stable: time decides within a price
        return sorted(found, key=lambda item: item[0] if order.side is Side.BUY else -item[0])

    def expected(self, order: Order) -> list[tuple[str, int, int]] | None:
        """Return (maker id, price, shares) of each fill; None when a FOK or FAK dies."""
        money, wanted = order.maker_micro, order.size_micro
        fills, paid_exactly, done = [], Fraction(0), False
        for price, other, left in self.candidates(order):
            if done:
                break
            if order.spends:
                affordable = int((money - int(paid_exactly)) * Fraction(10_000, price))
                shares = min(left, affordable)
                done = shares == affordable
                paid_exactly += shares * price // 10_000 if not done else 0
            else:
                shares = min(left, wanted)
                wanted -= shares
                done = wanted == 0
            fills.append((other.order_id, price, shares))
        if order.order_type is OrderType.FOK and not done:
            return None
        if order.order_type is OrderType.FAK and not fills:
            return None
        return fills

    def settle(self, order: Order, fills: list[tuple[str, int, int]]) -> None:
        taken = {maker_id: shares for maker_id, _, shares in fills}
        self.resting = [
            (other, left - taken.get(other.order_id, 0))
            for other, left in self.resting
            if left > taken.get(other.order_id, 0)
        ]
        left = order.size_micro - sum(taken.values())
        if not order.order_type.is_immediate and left > 0:
            self.resting.append((order, left))


def build(number: int, action: Action, market: PaperMarket) -> Order:
    price, amount = action.ticks * market.tick_e4, action.cents * 10_000
    if action.side is Side.BUY and action.order_type.is_immediate:
        maker, taker = amount, amount * 10_000 // price // 100 * 100
    else:
        cash = amount * price // 10_000
        maker, taker = (cash, amount) if action.side is Side.BUY else (amount, cash)
    return Order(
        order_id=f"0x{number:064x}",
        account=action.account,
        market=market,
        token=action.token,
        side=action.side,
        order_type=action.order_type,
        maker_micro=maker,
        taker_micro=taker,
        price_e4=price,
    )


def check_signed_limits(order: Order) -> None:
    """No order pays more or gets less than it signed, to the last micro-unit."""
    if order.side is Side.BUY:
        assert order.cash_micro <= order.maker_micro
        assert order.cash_micro * 10_000 <= order.filled_micro * order.price_e4 + 10_000
        if order.spends and order.cash_micro == order.maker_micro:
            assert order.filled_micro >= order.taker_micro
    else:
        assert order.filled_micro <= order.maker_micro
        if order.filled_micro == order.maker_micro:
            assert order.cash_micro >= order.taker_micro


@settings(max_examples=300)
@given(actions, st.sampled_from([1000, 100]), st.sampled_from([0, 70_000]), st.booleans())
def test_random_flow(flow: list[Action], tick_e4: int, rate: int, settle_at_once: bool) -> None:
    engine = MatchingEngine(clock=lambda: 0, settle_at_once=settle_at_once)
    market = PaperMarket(
        condition_id="0x01",
        token_ids=("11", "22"),
        slug="m",
        tick_e4=tick_e4,
        neg_risk=False,
        generation=Generation.CLOB_V2,
        fee_rate_micro=rate,
        fee_exponent=1,
        min_order_size_micro=0,
    )
    engine.add_market(market)
    book, reference = engine.book(market), Reference()
    for account in ACCOUNTS:
        engine.ledger.deposit(account, 300 * M)
        for token_id in market.token_ids:
            engine.ledger.set_position(account, token_id, 40 * M)
    for number, action in enumerate(flow):
        if f"0x{action.cancel:064x}" in engine.live:
            order_id = f"0x{action.cancel:064x}"
            engine.cancel(order_id)
            reference.resting = [r for r in reference.resting if r[0].order_id != order_id]
        order = build(number, action, market)
        expected = reference.expected(order)
        try:
            trades = engine.place(order)
        except Refused as refusal:
            # Money and the one-dollar rule are not the reference's business.
            if "killed" in refusal.message:
                assert expected is None
            continue
        fills = [
            (fill.order.order_id, trade.price_e4, fill.shares_micro)
            for trade in trades
            for fill in trade.makers
        ]
        assert fills == expected
        reference.settle(order, fills)
        bid, ask = book.best(True), book.best(False)
        assert bid is None or ask is None or bid < ask
        engine.ledger.audit()
        for account in ACCOUNTS:
            assert all(
                engine.ledger.available(account, asset) >= 0 for asset in ("", *market.token_ids)
            )
    for trade in list(engine.trades.values()):
        engine.settle(trade)
    engine.ledger.audit()
    for order in engine.orders.values():
        check_signed_limits(order)
    resting = {order.order_id: left for order, left in reference.resting}
    assert resting == {order_id: order.remaining_micro for order_id, order in engine.live.items()}
    for side in (True, False):
        assert sum(size for _, size in book.levels(side)) == sum(
            order.remaining_micro for order in engine.live.values() if order.is_bid == side
        )
    for order_id in list(engine.live):
        engine.cancel(order_id)
    for account in (*ACCOUNTS, HOUSE):
        assert all(engine.ledger.active(account, asset) == 0 for asset in ("", *market.token_ids))
