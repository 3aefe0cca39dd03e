"""The ledger against a model that is too simple to be wrong."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from polyexec.core.ledger import COLLATERAL, Ledger, Reservation, Shortage
from polyexec.errors import InternalError
from polyexec.models import TokenId

ASSETS = (COLLATERAL, TokenId("1"), TokenId("2"))
assets = st.sampled_from(ASSETS)
amounts = st.integers(1, 1_000)
times = st.integers(0, 50)


class LedgerMachine(RuleBasedStateMachine):
    """Every flow is kept as a row (asset, time, amount); figures are sums over the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.settled = {asset: (0, 0) for asset in ASSETS}
        self.rows: list[tuple[TokenId, int, int]] = []
        self.open: dict[int, list[Any]] = {}
        self.ended: list[Reservation] = []

    def balance(self, asset: TokenId) -> int:
        return self.settled[asset][0] + sum(m for a, _, m in self.rows if a == asset)

    def held(self, asset: TokenId) -> int:
        return sum(held for r, held in self.open.values() if r.asset == asset)

    def available(self, asset: TokenId) -> int:
        out = sum(-m for a, _, m in self.rows if a == asset and m < 0)
        return self.settled[asset][0] - self.held(asset) - out

    def flow(self, asset: TokenId, at_ms: int, micro: int) -> None:
        if micro and at_ms >= self.settled[asset][1]:
            self.rows.append((asset, at_ms, micro))

    def close_if_empty(self, key: int) -> None:
        reservation, held = self.open[key]
        if held == 0:
            del self.open[key]
            self.ended.append(reservation)

    @rule(asset=assets, micro=st.integers(0, 3_000), as_of=times)
    def update(self, asset: TokenId, micro: int, as_of: int) -> None:
        is_newer = as_of >= self.settled[asset][1]
        assert self.ledger.update(asset, micro, as_of_ms=as_of) is is_newer
        if is_newer:
            self.settled[asset] = (micro, as_of)
            self.rows = [row for row in self.rows if row[0] != asset or row[1] > as_of]

    @rule(claims=st.lists(st.tuples(assets, amounts), min_size=1, max_size=4))
    def reserve(self, claims: list[tuple[TokenId, int]]) -> None:
        needed = {a: sum(m for b, m in claims if b == a) for a, _ in claims}
        short = {a for a, micro in needed.items() if micro > self.available(a)}
        made = self.ledger.reserve(claims)
        if isinstance(made, Shortage):
            assert made.asset in short
            assert made.asset != COLLATERAL or short == {COLLATERAL}
            assert made.needed_micro == needed[made.asset]
            assert made.available_micro == self.available(made.asset)
            return
        assert not short
        assert [(r.asset, r.reserved_micro) for r in made] == claims
        for reservation in made:
            assert reservation.id not in self.open
            self.open[reservation.id] = [reservation, reservation.reserved_micro]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), at_ms=times)
    def spend(self, data: st.DataObject, at_ms: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.open)))
        reservation, held = self.open[key]
        micro = data.draw(st.integers(0, held))
        self.ledger.spend(reservation, micro, at_ms=at_ms)
        self.open[key][1] = held - micro
        self.flow(reservation.asset, at_ms, -micro)
        self.close_if_empty(key)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.open)))
        reservation, held = self.open[key]
        assert self.ledger.release(reservation) == held
        self.open[key][1] = 0
        self.close_if_empty(key)

    @rule(asset=assets, micro=st.integers(-500, 500), at_ms=times)
    def book(self, asset: TokenId, micro: int, at_ms: int) -> None:
        self.ledger.book(asset, micro, at_ms=at_ms)
        self.flow(asset, at_ms, micro)

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), spends=st.booleans())
    def end_again(self, data: st.DataObject, spends: bool) -> None:
        reservation = data.draw(st.sampled_from(self.ended))
        if spends:
            with pytest.raises(InternalError):
                self.ledger.spend(reservation, 0, at_ms=60)
        else:
            with pytest.raises(InternalError):
                self.ledger.release(reservation)

    @rule(
        asset=assets,
        micro=st.sampled_from([-1, 2**63, float("nan"), float("-inf")]),
    )
    def refuse(self, asset: TokenId, micro: Any) -> None:
        with pytest.raises(InternalError):
            self.ledger.update(asset, micro, as_of_ms=99)
        if not micro > 0:
            with pytest.raises(InternalError):
                self.ledger.reserve([(asset, 1), (asset, micro)])
        for reservation, _ in self.open.values():
            with pytest.raises(InternalError):
                self.ledger.spend(reservation, micro, at_ms=99)

    @invariant()
    def figures_are_the_models(self) -> None:
        self.ledger.check()
        for asset in ASSETS:
            assert self.ledger.balance(asset) == self.balance(asset)
            assert self.ledger.held(asset) == self.held(asset)
            assert self.ledger.available(asset) == self.available(asset)
            assert self.ledger.as_of_ms(asset) == self.settled[asset][1]
        assert [r.id for r in self.ledger.open_reservations] == sorted(self.open)

    @invariant()
    def reservations_add_up(self) -> None:
        for reservation in [*self.ended, *(r for r, _ in self.open.values())]:
            words = (reservation.held_micro, reservation.spent_micro, reservation.released_micro)
            assert min(words) >= 0
            assert sum(words) == reservation.reserved_micro
        assert not any(reservation.is_open for reservation in self.ended)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
