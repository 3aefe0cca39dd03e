"""The ratios that polyexec promises, and what one run measured for each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import cargo, nautilus

FLOOR = "floor"
P99 = "p99"
MEDIAN = "median"

OFFICIAL = "py-clob-client-v2"
OFFICIAL_NATIVE = "py-clob-client-v2, no coincurve"
UNIFIED = "polymarket-client"
C_FLOOR = "C, prebuilt frames over OpenSSL"
HTTPX = "httpx, HTTP/2, sync"
NOTHING = "nothing attached"
NOTHING_AGAIN = "nothing attached, again"
_PLAN = "plan_3_legs_deterministic"
_FRAMES = "engine_100_price_changes"
_PREPARED = "plan_3_legs_prepared"
_CLIENTS = (OFFICIAL, UNIFIED)


@dataclass(frozen=True)
class Target:
    """One promise: a row, what it is held against, and the bound."""

    what: str
    row: str
    against: str | Sequence[str]
    """``FLOOR``, ``P99``, ``MEDIAN`` (microseconds, no ratio), or contestants of the row; of
    several, the quickest counts."""
    inverse: bool = False
    """The bound is on ours by theirs, not on theirs by ours."""
    of_p99: bool = False
    """Of the 99th percentiles (the median over the turns), not of the medians."""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def bound(self) -> str:
        """The bound as the table shows it."""
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"

    def measured(self, row: Mapping[str, Any] | None) -> float | None:
        """Return the ratio in a run's row, or None when the run has not measured it."""
        if row is None:
            return None
        if self.against == P99:
            return float(row["p99_us"] / row["median_us"])
        if self.against == MEDIAN:
            return float(row["median_us"])
        if self.against == FLOOR:
            floor = row["floor"]
            return float(row["median_us"] / floor["median_us"]) if floor else None
        names = [self.against] if isinstance(self.against, str) else self.against
        if self.of_p99:
            own = row["turn_p99_us"]
            ratios = [row["peers"][n]["turn_p99_us"] / own for n in names if n in row["peers"]]
            ratio = min(ratios, default=None)
        else:
            ratio = min(
                (row["peers"][name]["ratio"] for name in names if name in row["peers"]),
                default=None,
            )
        return 1 / ratio if ratio and self.inverse else ratio

    def holds(self, ratio: float) -> bool:
        """Return True when a ratio keeps the promise."""
        if self.at_most is not None:
            return ratio <= self.at_most
        return self.at_least is not None and ratio >= self.at_least


TARGETS = (
    Target("3-leg plan / three raw libsecp256k1 signatures", _PLAN, FLOOR, at_most=1.20),
    Target("3-leg plan, prepared nonces / ONE raw signature", _PREPARED, FLOOR, at_most=0.60),
    Target("py-clob-client-v2 with coincurve / plan", _PLAN, OFFICIAL, at_least=16),
    Target("py-clob-client-v2 with coincurve / prepared plan", _PREPARED, OFFICIAL, at_least=110),
    Target("py-clob-client-v2 without coincurve / plan", _PLAN, OFFICIAL_NATIVE, at_least=125),
    Target("quickest Rust peer / plan", _PLAN, cargo.CLIENTS, at_least=1),
    Target("quickest Rust peer / prepared plan", _PREPARED, cargo.CLIENTS, at_least=5),
    Target("eth-account's typed-data hash / ours", "order_digest", "eth-account", at_least=60),
    Target("py-clob-client-v2's L2 headers / ours", "l2_headers_batch", OFFICIAL, at_least=1.3),
    Target("py-clob-client-v2's amounts of a leg / ours", "leg_amounts", OFFICIAL, at_least=15),
    Target("write / C floor", "wire_write", C_FLOOR, at_most=2.2, inverse=True),
    Target("httpx / write", "wire_write", HTTPX, at_least=40),
    Target("round trip / C floor", "wire_round_trip", C_FLOOR, at_most=2.2, inverse=True),
    Target("httpx / round trip", "wire_round_trip", HTTPX, at_least=8),
    Target("CPU of a request / C floor", "wire_cpu", C_FLOOR, at_most=4, inverse=True),
    Target("submit / three raw signatures", "submit_deterministic", FLOOR, at_most=1.45),
    Target("submit, prepared / ONE raw signature", "submit_prepared", FLOOR, at_most=1.25),
    Target("official clients / submit", "submit_deterministic", _CLIENTS, at_least=18),
    Target("official clients / submit, prepared", "submit_prepared", _CLIENTS, at_least=60),
    Target("plain Python / 100 price_change frames", _FRAMES, "orjson and dicts", at_least=8),
    Target("us of 100 frames: 200 changes at 100,000 a second", _FRAMES, MEDIAN, at_most=2000),
    Target("us from a frame to submit", "engine_frame_to_submit", MEDIAN, at_most=25),
    Target("10 watched trios / 10,000", "engine_10000_trios", "10 trios", at_least=1 / 1.1),
    Target("plain Python / full backtest", "backtest_tape", "orjson and dicts, frames", at_least=8),
    Target("nautilus_trader / full backtest", "backtest_few", nautilus.NAME, at_least=1),
    Target(
        "p99 of submit, all attached and dead / nothing attached",
        "submit_attended",
        NOTHING,
        inverse=True,
        of_p99=True,
        at_most=1.05,
    ),
    Target("p99 / median of the plan", _PLAN, P99, at_most=3),
    Target("p99 / median of the prepared plan", _PREPARED, P99, at_most=3),
)


def evaluate(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every promise with what these results say of it."""
    rows = {row["name"]: row for row in results}
    evaluated = []
    for target in TARGETS:
        ratio = target.measured(rows.get(target.row))
        evaluated.append(
            {
                "what": target.what,
                "row": target.row,
                "target": target.bound,
                "measured": None if ratio is None else round(ratio, 3),
                "holds": None if ratio is None else target.holds(ratio),
            }
        )
    return evaluated
