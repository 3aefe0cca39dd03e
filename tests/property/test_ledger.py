"""The ledger against a model that is too simple to be wrong."""

from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from polyexec.core.ledger import COLLATERAL, UNDATED, Ledger, Shortage
from polyexec.errors import InternalError
from polyexec.models import TokenId
from polyexec.numbers import MAX_MICRO
from tests.implementations import FAST, PURE, face_of

ASSETS = (COLLATERAL, TokenId("1"), TokenId("2"))
KINDS = [face_of(Ledger, functions) for functions in (PURE, FAST) if functions is not None]
assets = st.sampled_from(ASSETS)
# Small ones, which often fit, and now and then one at the edge of 63 bits.
amounts = st.integers(1, 1_000) | st.integers(MAX_MICRO - 3, MAX_MICRO)
balances = st.integers(0, 3_000) | st.integers(MAX_MICRO - 3, MAX_MICRO)
times = st.integers(0, 50)
flow_times = times | st.just(UNDATED)


class LedgerMachine(RuleBasedStateMachine):
    """Every ledger and the model do the same, and say the same.

    The model keeps every flow as a row (asset, time, amount); figures are sums over the rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ledgers: list[Any] = [kind() for kind in KINDS]
        self.settled = {asset: (0, 0) for asset in ASSETS}
        self.rows: list[tuple[TokenId, int, int]] = []
        self.open: dict[int, list[Any]] = {}
        self.ended: dict[int, list[Any]] = {}

    def balance(self, asset: TokenId) -> int:
        return self.settled[asset][0] + sum(m for a, _, m in self.rows if a == asset)

    def held(self, asset: TokenId) -> int:
        return sum(held for handles, held in self.open.values() if handles[0].asset == asset)

    def pending(self, asset: TokenId, sign: int) -> int:
        return sum(sign * m for a, _, m in self.rows if a == asset and sign * m > 0)

    def available(self, asset: TokenId) -> int:
        return self.settled[asset][0] - self.held(asset) - self.pending(asset, -1)

    def can_bind(self, asset: TokenId, micro: int) -> bool:
        return self.held(asset) + self.pending(asset, -1) + micro <= MAX_MICRO

    def flow(self, asset: TokenId, at_ms: int, micro: int) -> None:
        if micro and at_ms >= self.settled[asset][1]:
            self.rows.append((asset, at_ms, micro))

    def close_if_empty(self, key: int) -> None:
        handles, held = self.open[key]
        if held == 0:
            del self.open[key]
            self.ended[key] = handles

    @rule(asset=assets, micro=balances, as_of=times)
    def update(self, asset: TokenId, micro: int, as_of: int) -> None:
        is_newer = as_of >= self.settled[asset][1]
        for ledger in self.ledgers:
            assert ledger.update(asset, micro, as_of_ms=as_of) is is_newer
        if is_newer:
            self.settled[asset] = (micro, as_of)
            self.rows = [row for row in self.rows if row[0] != asset or row[1] > as_of]

    @rule(claims=st.lists(st.tuples(assets, amounts), min_size=1, max_size=4))
    def reserve(self, claims: list[tuple[TokenId, int]]) -> None:
        needed = {a: sum(m for b, m in claims if b == a) for a, _ in claims}
        if max(needed.values()) > MAX_MICRO:
            for ledger in self.ledgers:
                with pytest.raises(InternalError, match="exceed"):
                    ledger.reserve(claims)
            return
        # Of the tokens the one that was claimed first, then the money.
        order = sorted(needed, key=lambda asset: asset == COLLATERAL)
        short = [asset for asset in order if needed[asset] > self.available(asset)]
        made = [ledger.reserve(claims) for ledger in self.ledgers]
        if short:
            refusal = Shortage(short[0], needed[short[0]], self.available(short[0]))
            assert made == [refusal] * len(made)
            return
        for handles in zip(*made, strict=True):
            self.opened(handles, *claims[handles[0].id - made[0][0].id])

    @rule(asset=assets, micro=amounts)
    def recover(self, asset: TokenId, micro: int) -> None:
        if self.can_bind(asset, micro):
            self.opened([ledger.recover(asset, micro) for ledger in self.ledgers], asset, micro)
            return
        for ledger in self.ledgers:
            with pytest.raises(InternalError, match="over 2"):
                ledger.recover(asset, micro)

    def opened(self, handles: Any, asset: TokenId, micro: int) -> None:
        key = handles[0].id
        assert key > max([0, *self.open, *self.ended])
        assert {(r.id, r.asset, r.reserved_micro) for r in handles} == {(key, asset, micro)}
        self.open[key] = [handles, micro]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), at_ms=flow_times)
    def spend(self, data: st.DataObject, at_ms: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.open)))
        handles, held = self.open[key]
        micro = data.draw(st.integers(0, held))
        for ledger, reservation in zip(self.ledgers, handles, strict=True):
            ledger.spend(reservation, micro, at_ms=at_ms)
        self.open[key][1] = held - micro
        self.flow(handles[0].asset, at_ms, -micro)
        self.close_if_empty(key)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.open)))
        handles, held = self.open[key]
        for ledger, reservation in zip(self.ledgers, handles, strict=True):
            assert ledger.release(reservation) == held
        self.open[key][1] = 0
        self.close_if_empty(key)

    @rule(
        asset=assets,
        micro=st.integers(-500, 500) | amounts | amounts.map(lambda n: -n),
        at_ms=flow_times,
    )
    def book(self, asset: TokenId, micro: int, at_ms: int) -> None:
        fits = self.can_bind(asset, -micro)
        if micro > 0:
            fits = self.pending(asset, 1) + micro <= MAX_MICRO
        if fits or not micro or at_ms < self.settled[asset][1]:
            for ledger in self.ledgers:
                ledger.book(asset, micro, at_ms=at_ms)
            self.flow(asset, at_ms, micro)
            return
        for ledger in self.ledgers:
            with pytest.raises(InternalError, match="over 2"):
                ledger.book(asset, micro, at_ms=at_ms)

    @rule(asset=assets, micro=st.integers(-600, 600) | amounts | amounts.map(lambda n: -n))
    def take_back(self, asset: TokenId, micro: int) -> None:
        undated = [m for a, at_ms, m in self.rows if a == asset and at_ms == UNDATED]
        there = sum(m for m in undated if m * micro > 0)
        if abs(micro) > abs(there):
            for ledger in self.ledgers:
                with pytest.raises(InternalError, match="not so much is undated"):
                    ledger.take_back(asset, micro)
            return
        for ledger in self.ledgers:
            ledger.take_back(asset, micro)
        if micro:
            self.rows = [
                row
                for row in self.rows
                if not (row[0] == asset and row[1] == UNDATED and row[2] * micro > 0)
            ]
            self.flow(asset, UNDATED, there - micro)

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), spends=st.booleans())
    def end_again(self, data: st.DataObject, spends: bool) -> None:
        handles = self.ended[data.draw(st.sampled_from(sorted(self.ended)))]
        for ledger, reservation in zip(self.ledgers, handles, strict=True):
            end = partial(ledger.spend, reservation, 0, at_ms=60)
            if not spends:
                end = partial(ledger.release, reservation)
            with pytest.raises(InternalError, match="already ended"):
                end()

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """Drop the last handle of an ended one: its place is free for the next."""
        key = data.draw(st.sampled_from(sorted(self.ended)))
        if key != max(self.ended):  # the ids of the model must keep growing
            del self.ended[key]

    @rule(
        asset=assets,
        micro=st.sampled_from([-1, 2**63, True, 1.0, float("nan"), float("-inf"), "1", None]),
    )
    def refuse(self, asset: TokenId, micro: Any) -> None:
        for number, ledger in enumerate(self.ledgers):
            with pytest.raises(InternalError):
                ledger.update(asset, micro, as_of_ms=99)
            with pytest.raises(InternalError):
                ledger.reserve([(asset, 1), (asset, micro)])
            with pytest.raises(InternalError):
                ledger.recover(asset, micro)
            if micro != -1:
                with pytest.raises(InternalError):
                    ledger.take_back(asset, micro)
            for handles, _ in self.open.values():
                with pytest.raises(InternalError):
                    ledger.spend(handles[number], micro, at_ms=99)

    @invariant()
    def figures_are_the_models(self) -> None:
        for number, ledger in enumerate(self.ledgers):
            ledger.check()
            for asset in ASSETS:
                assert ledger.balance(asset) == self.balance(asset)
                assert ledger.held(asset) == self.held(asset)
                assert ledger.available(asset) == self.available(asset)
                assert ledger.as_of_ms(asset) == self.settled[asset][1]
            assert ledger.balances() == {a: self.balance(a) for a in ASSETS if self.balance(a)}
            ours = [(key, handles[number], held) for key, (handles, held) in self.open.items()]
            theirs = [(r.id, r, r.held_micro) for r in ledger.open_reservations]
            assert theirs == sorted(ours, key=lambda entry: entry[0])

    @invariant()
    def reservations_add_up(self) -> None:
        for handles in [*self.ended.values(), *(handles for handles, _ in self.open.values())]:
            words = {
                (r.reserved_micro, r.held_micro, r.spent_micro, r.released_micro) for r in handles
            }
            ((reserved, held, spent, released),) = words
            assert min(held, spent, released) >= 0
            assert held + spent + released == reserved
        assert not any(r.is_open for handles in self.ended.values() for r in handles)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=80, stateful_step_count=40)
