"""What groups tie up, as their shares come and go."""

import gc
import random

import pytest

from polyexec.core.holdings import Holdings
from polyexec.core.risk import RiskGuard, RiskLimits, Ticket
from polyexec.models import OrderId, TokenId

USD = 1_000_000
SHARE = 1_000_000
A, B = TokenId("1"), TokenId("2")
NOON = 1_800_000_000_000
MINUTE = 60_000


class Desk:
    """Holdings, the limits behind them, and the shares of an account."""

    def __init__(self) -> None:
        self.guard = RiskGuard(RiskLimits())
        self.holdings = Holdings(self.guard)
        self.shares: dict[TokenId, int] = {}
        self.orders = 0

    def group(self, cost: int, **bought: int) -> Ticket:
        """Admit a group that spends all it costs, evenly over what it buys."""
        ticket = self.guard.admit(cost * USD, 0, NOON)
        assert isinstance(ticket, Ticket)
        self.guard.settle(ticket, cost * USD)
        legs = [(TokenId(name[1:]), count) for name, count in bought.items()]
        ids = [OrderId(f"0x{self.orders + n:064x}") for n in range(len(legs))]
        self.orders += len(legs)
        self.holdings.expect(ticket, ids)
        for order_id, (token, count) in zip(ids, legs, strict=True):
            self.shares[token] = self.shares.get(token, 0) + count * SHARE
            spent = cost * USD // len(legs)
            self.holdings.ended(
                ticket, order_id, token_id=token, bought_micro=count * SHARE, spent_micro=spent
            )
        return ticket

    def observe(self, at_ms: int = NOON) -> int:
        self.holdings.observe(lambda token: self.shares.get(token, 0), at_ms)
        return self.guard.exposure_micro


def test_what_is_held_stays_tied_up_and_what_is_sold_comes_free() -> None:
    desk = Desk()
    desk.group(10, t1=20)
    assert desk.observe() == 10 * USD
    desk.shares[A] = 5 * SHARE
    assert desk.observe() == 2_500_000
    desk.shares[A] = 0
    assert desk.observe() == 0
    assert desk.guard.spent_micro == 10 * USD  # the day's allowance is used all the same


def test_a_sale_frees_the_average_cost_and_later_purchases_add_their_own() -> None:
    desk = Desk()
    desk.group(10, t1=20)
    desk.group(30, t1=20)
    desk.shares[A] = 30 * SHARE
    assert desk.observe() == 30 * USD
    desk.shares[A] = 0
    assert desk.observe() == 0
    # What was sold out takes no part in the price of what is bought after it.
    desk.group(7, t1=10)
    assert desk.observe() == 7 * USD
    desk.shares[A] = 5 * SHARE
    assert desk.observe() == 3_500_000
    # Unless it was there all the time: a position that had been read too low.
    desk.shares[A] = 50 * SHARE
    assert desk.observe() == 47 * USD


@pytest.mark.parametrize("whole_first", [True, False])
@pytest.mark.parametrize(
    ("shares", "whole_usd", "single_usd"),
    [
        pytest.param({A: 10, B: 10}, 10, 0, id="the half group was unwound"),
        pytest.param({A: 5, B: 0}, 0, 3, id="the whole one was merged"),
        pytest.param({A: 15, B: 0}, 10, 3, id="a leg of the whole one was sold"),
        pytest.param({A: 10, B: 5}, 5, 3, id="half of each token was sold"),
        pytest.param({A: 2, B: 10}, 10, 0, id="the other leg is held"),
    ],
)
def test_whole_sets_hold_before_single_legs(
    shares: dict[TokenId, int], whole_usd: int, single_usd: int, whole_first: bool
) -> None:
    desk = Desk()
    if whole_first:
        whole, single = desk.group(10, t1=10, t2=10), desk.group(3, t1=5)
    else:
        single, whole = desk.group(3, t1=5), desk.group(10, t1=10, t2=10)
    desk.shares = {token: count * SHARE for token, count in shares.items()}
    desk.observe()
    assert (whole.exposed_micro, single.exposed_micro) == (whole_usd * USD, single_usd * USD)


def test_groups_with_an_open_order_hold_first_and_tie_up_their_cost() -> None:
    desk = Desk()
    desk.group(10, t1=20)
    ticket = desk.guard.admit(8 * USD, 0, NOON)
    assert isinstance(ticket, Ticket)
    desk.guard.settle(ticket, 8 * USD)
    first, second = OrderId("0xa"), OrderId("0xb")
    desk.holdings.expect(ticket, (first, second))
    desk.holdings.ended(ticket, first, token_id=A, bought_micro=10 * SHARE, spent_micro=5 * USD)
    desk.shares[A] = 20 * SHARE
    assert desk.observe() == (5 + 8) * USD
    desk.holdings.ended(ticket, second, token_id=B, bought_micro=0, spent_micro=0)
    assert desk.observe() == 10 * USD  # 15 dollars for 30 shares, and 20 are there


def test_a_group_ties_up_no_more_than_it_counts_with() -> None:
    desk = Desk()
    for _ in range(2):
        ticket = desk.guard.admit(10 * USD, 0, NOON)
        assert isinstance(ticket, Ticket)
        desk.guard.settle(ticket, 4 * USD)
        desk.orders += 1
        order_id = OrderId(f"0x{desk.orders:064x}")
        desk.holdings.expect(ticket, (order_id,))
        desk.shares[A] = desk.shares.get(A, 0) + 9 * SHARE
        desk.holdings.ended(
            ticket, order_id, token_id=A, bought_micro=9 * SHARE, spent_micro=9 * USD
        )
    assert desk.observe() == 8 * USD


def test_a_group_whose_orders_are_all_final_is_not_unknown() -> None:
    desk = Desk()
    for cost in (1, 2):
        ticket = desk.guard.admit(cost * USD, 0, NOON)
        assert isinstance(ticket, Ticket)
        desk.guard.commit(ticket)
        desk.guard.set_unknown(ticket, True)
        order_id = OrderId(f"0x{cost}")
        desk.holdings.expect(ticket, (order_id,))
        desk.shares[A] = cost * SHARE
        desk.holdings.ended(
            ticket, order_id, token_id=A, bought_micro=SHARE, spent_micro=cost * USD
        )
        assert desk.guard.unknown_groups == 0
    assert desk.observe() == 3 * USD


def test_ten_thousand_ended_groups_leave_an_entry_for_each_set_of_tokens() -> None:
    desk, rng = Desk(), random.Random(3)
    before = _tickets_alive()
    sets = [(rng.randint(1, 10), rng.randint(1, 10)) for _ in range(20)]
    tickets = []
    for _ in range(10_000):
        tickets.append(desk.group(2, **{f"t{token}": 5 for token in rng.choice(sets)}))
    assert len(desk.holdings._sums) == len({frozenset(one) for one in sets})
    assert not desk.holdings._open
    exposed = [ticket for ticket in tickets if ticket.is_exposed]
    assert len(exposed) == len(desk.holdings._sums)
    assert desk.observe() == sum(ticket.exposed_micro for ticket in exposed)
    del tickets, exposed
    assert _tickets_alive() - before == len(desk.holdings._sums)


def test_what_is_traded_for_months_is_forgotten() -> None:
    desk = Desk()
    for minute in range(5_000):  # buys and sells the same, and keeps twenty shares
        desk.group(10, t1=20)
        desk.observe(NOON + minute * MINUTE)
        desk.shares[A] = 20 * SHARE
        assert desk.observe(NOON + minute * MINUTE) == 10 * USD
    (entry,) = desk.holdings._sums.values()
    kept = entry.gone.bought[A] + entry.held.bought[A]
    assert (
        11 * 20 * SHARE <= kept >> 32 <= 22 * 20 * SHARE
    )  # what was traded in the last ten to twenty minutes
    desk.shares[A] = 0
    desk.observe(NOON + 5_000 * MINUTE)
    desk.observe(NOON + 5_021 * MINUTE)
    desk.observe(NOON + 5_032 * MINUTE)
    assert not desk.holdings._sums
    assert desk.guard.exposure_micro == 0


def test_a_set_is_tied_up_while_any_of_its_tokens_is_held() -> None:
    desk = Desk()
    desk.group(10, t1=20, t2=20)
    desk.shares[A] = 0
    assert desk.observe() == 10 * USD
    desk.shares[B] = 10 * SHARE
    assert desk.observe() == 5 * USD


def test_a_position_that_was_read_too_low_corrects_itself() -> None:
    desk = Desk()
    ticket = desk.group(10, t1=20)
    desk.shares[A] = 0
    assert desk.observe() == 0
    desk.shares[A] = 20 * SHARE
    assert desk.observe(NOON + MINUTE) == 10 * USD
    desk.shares[A] = 0
    assert desk.observe(NOON + 2 * MINUTE) == 0
    assert ticket.is_exposed
    assert desk.observe(NOON + 13 * MINUTE) == 0
    assert not ticket.is_exposed
    assert desk.holdings.tokens == frozenset()


def test_inventory_from_elsewhere_frees_nothing() -> None:
    desk = Desk()
    desk.shares[A] = 100 * SHARE
    desk.group(10, t1=20)
    desk.shares[A] = 50 * SHARE
    assert desk.observe() == 10 * USD


def test_a_group_ties_up_its_cost_until_its_last_order_is_final() -> None:
    desk = Desk()
    ticket = desk.guard.admit(10 * USD, 0, NOON)
    assert isinstance(ticket, Ticket)
    desk.guard.settle(ticket, 10 * USD)
    first, second = OrderId("0x1"), OrderId("0x2")
    desk.holdings.expect(ticket, (first, second))
    for _ in range(2):  # news may come twice
        desk.holdings.ended(ticket, first, token_id=A, bought_micro=SHARE, spent_micro=USD)
        assert desk.observe() == 10 * USD
    desk.shares[A] = SHARE
    desk.holdings.ended(ticket, second, token_id=B, bought_micro=0, spent_micro=0)
    assert desk.observe() == USD


def test_a_group_that_came_to_nothing_is_closed() -> None:
    desk = Desk()
    ticket = desk.guard.admit(10 * USD, 0, NOON)
    assert isinstance(ticket, Ticket)
    desk.guard.commit(ticket)
    desk.holdings.expect(ticket, (OrderId("0x1"),))
    desk.holdings.ended(ticket, OrderId("0x1"), token_id=A, bought_micro=0, spent_micro=0)
    assert desk.guard.exposure_micro == 0
    assert not ticket.is_exposed


def test_exposure_is_never_negative_nor_above_the_cost() -> None:
    rng = random.Random(7)
    desk = Desk()
    for step in range(500):
        if rng.random() < 0.4:
            desk.group(rng.randint(1, 20), **{f"t{rng.randint(1, 3)}": rng.randint(1, 30)})
        for token in desk.shares:
            desk.shares[token] = rng.randint(0, desk.shares[token] + SHARE)
        exposure = desk.observe(NOON + step * MINUTE)
        tickets = [one.ticket for one in desk.holdings._sums.values()]
        assert exposure == sum(ticket.exposed_micro for ticket in tickets)
        assert all(0 <= ticket.exposed_micro <= ticket.cost_micro for ticket in tickets)
    desk.shares.clear()
    assert desk.observe(NOON + 1000 * MINUTE) == 0
    desk.observe(NOON + 2000 * MINUTE)
    assert desk.holdings._sums == {}


def _tickets_alive() -> int:
    gc.collect()
    return sum(type(one) is Ticket for one in gc.get_objects())
