"""What the demo prints: a line per trade result, a closing table."""

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from polyexec.numbers import from_e4, from_micro
from polyexec.reconciliation import Reconciliation
from polyexec.results import Latency, TradeResult
from polyexec.signals import ArbSignal

__all__ = ["Summary", "format_result", "format_summary"]

_STAGES = tuple(Latency.__struct_fields__)


class Summary(msgspec.Struct, kw_only=True):
    """Everything the demo counted."""

    signals: int = 0
    executed: int = 0
    incomplete: int = 0
    """Sent, but not every leg was accepted."""
    unknown: int = 0
    fills: int = 0
    skips: Counter[str] = msgspec.field(default_factory=Counter)
    balance_before_micro: int = 0
    reconciliation: Reconciliation | None = None
    expected_pnl_micro: int = 0
    fees_micro: int = 0
    latencies: list[Latency] = msgspec.field(default_factory=list)
    books_checked: int = 0
    book_mismatches: int = 0

    @property
    def skipped(self) -> int:
        """Signals that we refused."""
        return sum(self.skips.values())

    @property
    def reconciled(self) -> bool:
        """Executor and exchange agree to the micro-unit and nothing is held."""
        r = self.reconciliation
        return r is not None and r.is_exact and r.held_micro == 0

    def add(self, result: TradeResult) -> None:
        """Count one result."""
        self.signals += 1
        if result.skipped is not None:
            self.skips[result.skipped] += 1
            return
        self.executed += result.success
        self.incomplete += not result.success
        self.unknown += len(result.unknown_orders)
        self.fills += sum(leg.filled_micro > 0 for leg in result.legs)
        self.expected_pnl_micro += result.expected_pnl_micro
        self.latencies.append(result.latency)

    def last_line(self) -> str:
        """Return the line that lets anyone compare two runs."""
        return (
            f"signals={self.signals} executed={self.executed} skipped={self.skipped} "
            f"unknown={self.unknown} reconciled={'yes' if self.reconciled else 'no'}"
        )


def format_result(number: int, result: TradeResult) -> str:
    """Return one line: what was tried, what became of every leg, how long each stage took."""
    signal = result.signal
    name = signal.strategy if isinstance(signal, ArbSignal) else "LEGS"
    head = f"{number:4d} {name.removeprefix('POLYMARKET_'):<24}"
    if result.skipped is not None:
        return f"{head} skipped {result.skipped}: {result.detail}"
    legs = "  ".join(
        f"{leg.side} {from_micro(leg.filled_micro)}/{from_micro(leg.size_micro)}"
        f"@{from_e4(leg.price_e4)} {leg.state}"
        for leg in result.legs
    )
    t = result.latency
    return (
        f"{head} {legs} | cost {_money(result.cost_micro)} pnl {_money(result.expected_pnl_micro)}"
        f" | us: validate {t.validate_us:.0f} reserve {t.reserve_us:.0f} price {t.price_us:.0f}"
        f" sign {t.sign_us:.0f} encode {t.encode_us:.0f} write {t.write_us:.0f}"
        f" response {t.response_us:.0f}"
    )


def format_summary(summary: Summary) -> list[str]:
    """Return the lines of the closing table."""
    rows: list[tuple[str, str]] = [
        ("signals", str(summary.signals)),
        ("executed groups", str(summary.executed)),
        ("incomplete groups", str(summary.incomplete)),
        ("legs filled", str(summary.fills)),
    ]
    rows += [(f"skipped: {reason}", str(n)) for reason, n in summary.skips.most_common()]
    r = summary.reconciliation
    if r is not None:
        rows += [
            ("balance before", _money(summary.balance_before_micro)),
            ("balance after, by the executor", f"{from_micro(r.ledger_micro):.6f}"),
            ("balance after, by the exchange", f"{from_micro(r.venue_micro):.6f}"),
            ("positions that differ", str(len(r.position_differences))),
            ("reserved", f"{from_micro(r.held_micro):.6f}"),
            ("taker fees paid", f"{from_micro(summary.fees_micro):.6f}"),
            ("expected pnl, fees in", _money(summary.expected_pnl_micro)),
        ]
    if summary.books_checked:
        agree = summary.books_checked - summary.book_mismatches
        rows.append(("best prices as stated", f"{agree} of {summary.books_checked}"))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value:>14}" for name, value in rows]
    if summary.latencies:
        lines += ["", f"{'stage (us)':<{width}}  {'p50':>10} {'p99':>10}"]
        for stage in _STAGES:
            values = sorted(getattr(latency, stage) for latency in summary.latencies)
            p50, p99 = _quantile(values, 50), _quantile(values, 99)
            lines.append(f"{stage.removesuffix('_us'):<{width}}  {p50:>10.1f} {p99:>10.1f}")
    return lines


def _quantile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _money(micro: int) -> str:
    return f"{Decimal(micro).scaleb(-6):.4f}"


Printer = Callable[[str], None]
