"""The full backtest, from a recording to a report: books, evaluator, executor, exchange."""

import atexit
import gc
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import market
from benchmarks.baselines import backtest as plain
from benchmarks.harness import Row
from benchmarks.peers import nautilus
from benchmarks.peers.worker import Remote
from benchmarks.recorded import Lines, Recorded
from polyexec.backtest import Report, Tape, run
from polyexec.backtest.tape import write_tape

MESSAGES = 100_000
TRIOS = 500
FEW_MESSAGES, FEW_TRIOS = 20_000, 10
PUBLIC_ROW = "backtest_few"
FRAMES = "orjson and dicts, frames"
INTEGERS = "dicts, integers of the tape"
COOLDOWN_MS = 300_000
CONFIG = {"order_type": "FOK", "default_size": 1_000, "opportunity_timeout_ms": COOLDOWN_MS}
SETTINGS = {
    "min_profit_micro": 0,
    "min_profit_bps": 5,
    "cooldown_ns": COOLDOWN_MS * 1_000_000,
    "max_size_micro": 1_000_000_000,
    "max_age_ns": 60_000_000_000,
}


Inputs = tuple[market.Watched, Lines, Tape]


@cache
def _inputs(trios: int = TRIOS, messages: int = MESSAGES) -> Inputs:
    """Return one recording, as a file of frames and as a tape."""
    folder = Path(tempfile.mkdtemp(prefix="polyexec-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    watched = market.watched(trios)
    recorded = Recorded(watched, messages)
    return watched, Lines.write(recorded, folder / "frames"), write_tape([recorded], folder / "t")


def _few() -> Inputs:
    return _inputs(FEW_TRIOS, FEW_MESSAGES)


def _few_opening() -> dict[str, Any]:
    watched, lines, _ = _few()
    forms = [
        (
            form.payout,
            [(leg.token_id, str(leg.side), leg.market.fee_rate_micro, 0) for leg in form.legs],
        )
        for form in watched.forms
    ]
    return {
        "path": lines.name,
        "tokens": list(watched.books),
        "forms": forms,
        "settings": SETTINGS,
    }


def _run(data: Any, watched: market.Watched | None = None) -> Report:
    return run(None, data, forms=(watched or _inputs()[0]).forms, config=CONFIG)


def _run_few() -> Report:
    watched, _, tape = _few()
    return _run(tape, watched)


def _plain(how: str) -> plain.Backtest:
    watched, lines, tape = _inputs()
    one = plain.Backtest(watched.books, watched.forms, SETTINGS)
    if how == FRAMES:
        one.play_frames(lines.pairs())
    else:
        one.play_columns(tape.tokens, tape.blocks())
    return one


def rows() -> list[Row]:
    what = (
        f"{MESSAGES:,} price_change messages of two changes in 500 trios (2,000 sets of legs), "
        "from the recording to the report"
    )
    public = nautilus.contestant(_few_opening)
    return [
        Row(
            PUBLIC_ROW,
            f"{FEW_MESSAGES:,} such messages in {FEW_TRIOS} trios, a tape again; nautilus_trader "
            "has its data objects made beforehand, and its strategy looks at best prices only. "
            "(With 500 trios its cost per event is 25 times as high, for every event visits every "
            "instrument.)",
            _run_few,
            public,
            check=lambda: check_public(public),
            before=gc.collect,
            least=5,
        ),
        Row(
            "backtest_tape",
            f"{what}: the tape through the live books, evaluator and executor, every order signed, "
            "checked and matched; the others keep dicts and take money off a balance",
            lambda: _run(_inputs()[2]),
            {FRAMES: lambda: _plain(FRAMES), INTEGERS: lambda: _plain(INTEGERS)},
            check=check,
            before=gc.collect,
            least=10,
        ),
        Row(
            "backtest_frames",
            f"{what}: out of a file of frames, each decoded and taken by the feed's keeper",
            lambda: _run(_inputs()[1]),
            {FRAMES: lambda: _plain(FRAMES)},
            before=gc.collect,
            least=5,
        ),
    ]


def check() -> None:
    """Hold tape, frames and plain Python to the same finds, in the same order."""
    report = _run(_inputs()[2])
    assert report.digest == _run(_inputs()[1]).digest
    ours = [(one.time_ms, one.group_key) for one in report.trades]
    for how in (FRAMES, INTEGERS):
        found = [(now // 10**6, one[0].group_key) for now, one in _plain(how).found]
        assert sorted(found) == sorted(ours), how
    assert len(ours) > 20


def check_public(public: dict[str, Remote]) -> None:
    """Hold the public backtester to as many finds."""
    for one in public.values():
        assert one.output()["found"] == len(_run_few().trades)
