"""What groups tie up, as their shares come and go."""

import random

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


def test_the_oldest_group_gives_up_first() -> None:
    desk = Desk()
    old, new = desk.group(10, t1=20), desk.group(30, t1=20)
    desk.shares[A] = 30 * SHARE
    desk.observe()
    assert (old.exposed_micro, new.exposed_micro) == (5 * USD, 30 * USD)
    desk.shares[A] = 10 * SHARE
    desk.observe()
    assert (old.exposed_micro, new.exposed_micro) == (0, 15 * USD)


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
        tickets = list(desk.holdings._groups)
        assert exposure == sum(ticket.exposed_micro for ticket in tickets)
        assert all(0 <= ticket.exposed_micro <= ticket.cost_micro for ticket in tickets)
    desk.shares.clear()
    assert desk.observe(NOON + 1000 * MINUTE) == 0
    desk.observe(NOON + 2000 * MINUTE)
    assert desk.holdings._groups == {}
