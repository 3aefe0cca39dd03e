"""What ended groups tie up, against the same inventory in exact fractions and against bounds."""

from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from polyexec.core.holdings import Holdings, _allocate, _Lot
from polyexec.core.risk import RiskGuard, RiskLimits, Ticket
from polyexec.models import OrderId, TokenId

NOON = 1_800_000_000_000
TEN_MINUTES = 600_000
TOKENS = tuple(TokenId(name) for name in "123")
Lot = dict[TokenId, Fraction]

tokens = st.sampled_from(TOKENS)
shares = st.integers(1, 50) | st.integers(1, 10**9)
costs = st.integers(10**4, 10**9)
pauses = st.integers(0, TEN_MINUTES // 3) | st.just(TEN_MINUTES) | st.just(TEN_MINUTES - 1)


class ExactSum:
    """One set of tokens: lots of what it is believed to hold and to miss, and their costs."""

    def __init__(self) -> None:
        self.lots: list[Lot] = [{}, {}]
        self.cost = [Fraction(0), Fraction(0)]
        self.there = [Fraction(1), Fraction(0)]  # part of each lot, by the last look
        self.missing_at: list[tuple[int, Fraction]] = []  # every look since nothing was missing
        self.tied_up = Fraction(0)

    def set_aside(self) -> None:
        held, gone = self.lots
        part = self.there[0]
        for token, micro in held.items():
            gone[token] = gone.get(token, Fraction(0)) + micro * (1 - part)
            held[token] = micro * part
        self.cost = [self.cost[0] * part, self.cost[1] + self.cost[0] * (1 - part)]
        self.there[0] = Fraction(1)

    def look(self, now_ms: int) -> None:
        self.tied_up = self.cost[0] * self.there[0] + self.cost[1] * self.there[1]
        missing = sum(self.cost) - self.tied_up
        self.missing_at.append((now_ms, missing))
        least = min(each for _, each in self.missing_at)
        if least >= 1 and now_ms - self.missing_at[0][0] >= TEN_MINUTES:
            self.set_aside()
            part = least / self.cost[1]
            self.lots[1] = {token: micro * (1 - part) for token, micro in self.lots[1].items()}
            self.cost[1] -= least
            least = missing - least
            self.missing_at = [(now_ms, least)]
        if least < 1:
            self.missing_at = []


class ExactHoldings:
    """The inventory, in fractions."""

    def __init__(self) -> None:
        self.sums: dict[frozenset[TokenId], ExactSum] = {}

    def add(self, bought: dict[TokenId, int], spent: int) -> None:
        one = self.sums.setdefault(frozenset(bought), ExactSum())
        one.set_aside()
        for token, micro in bought.items():
            one.lots[0][token] = one.lots[0].get(token, Fraction(0)) + micro
        one.cost[0] += spent

    def look(self, have: dict[TokenId, int], now_ms: int) -> None:
        left = {token: Fraction(max(0, micro)) for token, micro in have.items()}
        order = sorted(reversed(self.sums), key=len, reverse=True)
        for which in (0, 1):
            lots = [(key, self.sums[key].lots[which]) for key in order]
            sets = {}
            for key, lot in lots:
                parts = [left[token] / micro for token, micro in lot.items() if micro]
                sets[key] = min([Fraction(1), *parts])
                for token, micro in lot.items():
                    left[token] -= micro * sets[key]
            for key, lot in lots:
                parts = [Fraction(which == 0 and not any(lot.values()))]
                for token, micro in lot.items():
                    more = min(micro * (1 - sets[key]), left[token])
                    left[token] -= more
                    parts.append(sets[key] + more / micro if micro else Fraction(0))
                self.sums[key].there[which] = max(parts)
        for key in order:
            self.sums[key].look(now_ms)
            if sum(self.sums[key].cost) < 1:
                del self.sums[key]


class HoldingsMachine(RuleBasedStateMachine):
    """Groups come and end, shares come and go, and are read wrongly now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.guard = RiskGuard(RiskLimits())
        self.holdings = Holdings(self.guard)
        self.exact = ExactHoldings()
        self.have = dict.fromkeys(TOKENS, 0)
        self.open: list[tuple[Ticket, OrderId, dict[TokenId, int], int]] = []
        self.orders = 0
        self.now_ms = NOON
        self.spent = 0

    @rule(bought=st.dictionaries(tokens, shares, min_size=1), spent=costs, ends=st.booleans())
    def group(self, bought: dict[TokenId, int], spent: int, ends: bool) -> None:
        ticket = self.guard.admit(spent, 0, NOON)
        assert isinstance(ticket, Ticket)
        self.guard.commit(ticket)
        self.spent += spent
        ids = [OrderId(str(self.orders + n)) for n in range(len(bought) + 1)]
        self.orders += len(ids)
        self.holdings.expect(ticket, ids)
        each = spent // len(bought)
        for order_id, (token, micro) in zip(ids, bought.items(), strict=False):
            self.have[token] += micro
            self.holdings.ended(
                ticket, order_id, token_id=token, bought_micro=micro, spent_micro=each
            )
        self.open.append((ticket, ids[-1], bought, each * len(bought)))
        if ends:
            self._end(-1)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: Any) -> None:
        self._end(data.draw(st.integers(0, len(self.open) - 1)))

    def _end(self, which: int) -> None:
        ticket, order_id, bought, spent = self.open.pop(which)
        self.holdings.ended(ticket, order_id, token_id=TOKENS[0], bought_micro=0, spent_micro=0)
        self.exact.add(bought, spent)

    @rule(token=tokens, part=st.fractions(0, 2, max_denominator=7))
    def trade(self, token: TokenId, part: Fraction) -> None:
        self.have[token] = int(self.have[token] * part)

    @rule(pause_ms=pauses)
    def look(self, pause_ms: int) -> None:
        self.now_ms += pause_ms
        self._look(self.have)

    @rule(low=st.dictionaries(tokens, st.integers(0, 10**9)))
    def misread(self, low: dict[TokenId, int]) -> None:
        self._look(self.have)
        before = self.guard.exposure_micro
        self._look(self.have | low)
        self._look(self.have)
        assert self.guard.exposure_micro == before

    def _look(self, have: dict[TokenId, int]) -> None:
        self.holdings.observe(lambda token: have[token], self.now_ms)
        left = dict(have)
        for _, _, bought, _ in self.open:
            for token, micro in bought.items():
                left[token] -= micro
        self.exact.look(left, self.now_ms)
        assert self.holdings._sums.keys() == self.exact.sums.keys()
        for key, one in self.holdings._sums.items():
            exact = self.exact.sums[key].tied_up
            assert -Fraction(1, 10**4) < one.ticket.exposed_micro - exact < 1 + Fraction(1, 10**4)

    @invariant()
    def what_the_guard_counts_is_what_is_there(self) -> None:
        summed = [one.ticket for one in self.holdings._sums.values()]
        mine = [ticket for ticket, *_ in self.open] + summed
        assert self.guard.exposure_micro == sum(ticket.exposed_micro for ticket in mine)
        assert all(0 <= ticket.exposed_micro <= ticket.cost_micro for ticket in mine)
        assert all(ticket.is_exposed for ticket in mine)
        assert self.guard.exposure_micro <= self.spent == self.guard.spent_micro
        assert len(summed) <= 7  # sets of three tokens


HoldingsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestHoldings = HoldingsMachine.TestCase


def _lot(bought: dict[TokenId, int]) -> _Lot:
    lot = _Lot()
    lot.add(bought, 1)
    return lot


@given(
    st.lists(st.dictionaries(tokens, st.integers(0, 10**12)), max_size=6),
    st.lists(st.integers(0, 10**12), min_size=3, max_size=3),
)
def test_lots_share_what_is_there_and_no_more(
    bought: list[dict[TokenId, int]], have: list[int]
) -> None:
    left = dict(zip(TOKENS, have, strict=True))
    parts = _allocate([_lot(one) for one in bought], left)
    assert all(micro >= 0 for micro in left.values())
    for lot, (over, under) in zip(bought, parts, strict=True):
        assert 0 <= over <= under
        # What nobody took, nobody lacks.
        assert over == under or not any(left[token] for token, micro in lot.items() if micro)
