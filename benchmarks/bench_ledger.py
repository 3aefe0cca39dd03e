"""Reserving the money of three legs, and passing the gate of submissions."""

import threading
from collections.abc import Callable

from benchmarks import inputs
from benchmarks.harness import Row
from polyexec._pure.gate import GateCore
from polyexec._pure.ledger import LedgerCore
from polyexec.core.gate import Gate
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.models import TokenId

BALANCE = 10**12
CLAIMS = [(COLLATERAL, 4_100_000), (COLLATERAL, 2_900_000), (TokenId("123"), 10_000_000)]
TWIN = "readable twin"
NAIVE = "a lock and a dict"
NOW = 10**15


class PureLedger(LedgerCore):
    """The readable twin, whichever one the library runs on."""


class PureGate(GateCore):
    _reasons = Gate._reasons


class NaiveLedger:
    """What is written first: no reservation, no held money, amounts trusted."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.free = dict.fromkeys((asset for asset, _ in CLAIMS), BALANCE)

    def take(self, claims: list[tuple[TokenId, int]]) -> bool:
        with self.lock:
            needed: dict[str, int] = {}
            for asset, micro in claims:
                needed[asset] = needed.get(asset, 0) + micro
            if any(self.free[asset] < micro for asset, micro in needed.items()):
                return False
            for asset, micro in needed.items():
                self.free[asset] -= micro
            return True

    def give(self, claim: tuple[TokenId, int]) -> int:
        asset, micro = claim
        with self.lock:
            self.free[asset] += micro
        return micro


class NaiveGate:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.enabled, self.inside, self.stamped = True, 0, -1

    def check(self, now: int) -> bool:
        with self.lock:
            return self.enabled and self.inside < 1 and now > self.stamped - 1

    def enter(self, now: int) -> bool:
        with self.lock:
            if not (self.enabled and self.inside < 1 and now > self.stamped - 1):
                return False
            self.inside += 1
            return True

    def stamp(self, now: int) -> None:
        with self.lock:
            self.stamped = now

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1


def reserve_and_release(ledger: Ledger | LedgerCore) -> Callable[[], list[int]]:
    for asset, _ in CLAIMS:
        ledger.update(asset, BALANCE, as_of_ms=1)
    reserve, release = ledger.reserve, ledger.release

    def call() -> list[int]:
        a, b, c = reserve(CLAIMS)
        return [release(a), release(b), release(c)]

    return call


def take_and_give() -> Callable[[], list[int]]:
    naive = NaiveLedger()
    take, give = naive.take, naive.give
    a, b, c = CLAIMS

    def call() -> list[int]:
        take(CLAIMS)
        return [give(a), give(b), give(c)]

    return call


def passing(gate: Gate | GateCore | NaiveGate) -> Callable[[], None]:
    check, enter, stamp, leave = gate.check, gate.enter, gate.stamp, gate.leave

    def call() -> None:
        check(NOW)
        enter(NOW)
        stamp(NOW)
        leave()

    return call


def rows() -> list[Row]:
    rules = {"enabled": True, "cooldown_ns": 0, "max_in_flight": 1}
    ours = reserve_and_release(Ledger())
    twin, naive = reserve_and_release(PureLedger()), take_and_give()

    def same() -> None:
        inputs.same("ledger_reserve_3", ours(), twin())
        inputs.same("ledger_reserve_3", ours(), naive())

    return [
        Row(
            "ledger_reserve_3",
            "hold the claims of three legs on two assets, and free them one by one; the calls and "
            "the three reservations dominate. The dict keeps neither reservations nor held money",
            ours,
            {TWIN: twin, NAIVE: naive},
            same,
        ),
        Row(
            "gate",
            "check, enter, stamp and leave; the four calls dominate",
            passing(Gate(**rules)),
            {TWIN: passing(PureGate(**rules)), NAIVE: passing(NaiveGate())},
        ),
    ]
