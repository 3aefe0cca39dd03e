"""A replay runs the live code: same digest, real fills, clear refusals."""

import ast
import asyncio
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import polyexec as px
from polyexec.backtest import run, sweep
from tests.backtest.generated import SETTINGS, START_MS, Recorded, forms

CONFIG = px.ExecutorConfig(private_key="1" * 64, **SETTINGS)


def play(**arguments):
    return run(None, Recorded(), forms=forms(), config=CONFIG, **arguments)


def test_trades_and_gives_the_same_digest_again() -> None:
    first, again = play(), play()
    assert any(leg.filled_micro for leg in first.legs)
    assert first.digest == again.digest == play(seed=7).digest
    assert first.balance_micro < first.balance_before_micro


def test_other_latency_is_another_run() -> None:
    assert play(latency_ms=(0, 0)).digest != play(latency_ms=(300, 300)).digest


def test_fills_at_or_better_than_the_limit_and_pays_no_more_than_the_money() -> None:
    report = play(balance=30)
    bought = [leg for leg in report.legs if leg.side == "BUY" and leg.filled_micro]
    assert all(leg.paid_micro * 10_000 <= leg.filled_micro * leg.price_e4 for leg in bought)
    assert report.balance_micro >= 0


def test_a_sweep_over_processes_is_the_sweep_here() -> None:
    grid = [{"latency_ms": (ms, ms)} for ms in (0, 50, 300)]
    here = sweep(grid, Recorded(), forms=forms(), config=SETTINGS)
    with ProcessPoolExecutor(2) as pool:
        there = sweep(grid, Recorded(), executor=pool, forms=forms(), config=SETTINGS)
    assert here == there


def test_a_callable_sees_books_and_trades() -> None:
    form = forms()[0]
    leg = form.legs[0]

    def buy_once(books, now_ms):
        ask = books.top(leg.token_id).best_ask_e4
        if not ask or done:
            return None
        done.append(now_ms)
        return px.LegsSignal(
            [px.Leg(leg.token_id, "BUY", ask / 10_000, 10, "FOK", tick_size="0.001",
                    fee_rate="0.07")]
        )  # fmt: skip

    done: list[int] = []
    report = run(buy_once, Recorded(), forms=[form], config=CONFIG)
    assert [one.filled_micro >= 10_000_000 for one in report.legs] == [True]
    assert report.unresolved[0][0] == leg.token_id


def test_stop_gives_a_partial_report_that_says_so() -> None:
    stop = threading.Event()
    stop.set()
    report = run(None, Recorded(), forms=forms(), config=CONFIG, stop=stop)
    assert report.is_cancelled
    assert "cancelled" in str(report)


def test_a_partial_day_is_told() -> None:
    report = run(None, Recorded(is_partial=True), forms=forms(), config=CONFIG)
    assert report.partial == ("generated: 12 of 24 hours",)
    assert "12 of 24 hours" in report._repr_html_()


def test_bad_input_is_named() -> None:
    with pytest.raises(px.InputError, match="forms"):
        run(None, Recorded(), forms=[])
    with pytest.raises(px.InputError, match="no event"):
        run(None, Recorded(rounds=0), forms=forms())
    with pytest.raises(px.InputError, match="no snapshot"):
        run(None, Recorded(0 + 1), forms=forms()[-1:])
    with pytest.raises(px.InputError, match="latency_ms"):
        play(latency_ms=(-1, 0))
    with pytest.raises(px.InputError, match="strategy"):
        run("mine", Recorded(), forms=forms())


def test_nothing_here_prices_sizes_gates_or_keeps_a_ledger_of_its_own() -> None:
    forbidden = ("gate", "ledger", "sizing", "pricing", "evaluator", "pipeline")
    for path in (Path(px.__file__).parent / "backtest").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                assert not any(word in node.name.lower() for word in forbidden), (path, node.name)
            if isinstance(node, ast.ImportFrom):
                parts = (node.module or "").split(".")
                assert parts[:2] != ["polyexec", "demo"]
                assert not set(forbidden) & set(parts), (path, node.module)


def test_decides_at_the_time_of_the_data() -> None:
    assert play().trades[0].time_ms == START_MS == play().first_ms


def test_the_whole_report_is_the_same_again_ids_of_orders_included() -> None:
    token = forms()[0].legs[0].token_id

    def rest(books, now_ms):
        bid = books.top(token).best_bid_e4
        terms = {"tick_size": "0.001", "fee_rate": "0.07"}
        return px.LegsSignal(
            [px.Leg(token, "BUY", bid / 10_000, 10, "GTC", **terms)] if bid else []
        )

    def rested():
        return run(rest, Recorded(rounds=1), forms=forms()[:1], config=CONFIG)

    assert rested().queues
    assert rested() == rested()


def test_the_settings_of_a_live_account_can_be_replayed(tmp_path: Path) -> None:
    live = px.ExecutorConfig(
        private_key="2" * 64,
        proxy_address="0x" + "ab" * 20,
        signature_type=px.SignatureType.POLY_GNOSIS_SAFE,
        signer_address=px.OrderSigner("2" * 64).address,
        journal_mode="fsync",
        journal_folder=str(tmp_path / "journal"),
        executor_mode="off",
        chain_id=80002,
        **SETTINGS,
    )
    assert run(None, Recorded(), forms=forms(), config=live).digest == play().digest
    assert not (tmp_path / "journal").exists()


def test_runs_in_a_notebook_too_where_a_loop_runs_already() -> None:
    async def cell() -> str:
        return play().digest

    assert asyncio.run(cell()) == play().digest


@pytest.mark.parametrize("where", ["here", "notebook"])
def test_control_c_gives_a_partial_report_that_says_so(
    where: str, request: pytest.FixtureRequest
) -> None:
    # Whoever starts the tests in the background may have switched it off.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    seen: list[int] = []

    def interrupt(books, now_ms):
        seen.append(now_ms)
        if len(seen) == 40:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def whole():
        return run(interrupt, Recorded(rounds=50), forms=forms(), config=CONFIG)

    async def cell():
        return whole()

    if where == "here":
        report = whole()
    else:
        loop = asyncio.new_event_loop()  # without asyncio's own way with Ctrl-C
        report = loop.run_until_complete(cell())
        loop.close()
    assert report.is_cancelled
    assert 40 <= len(seen) < 160 * 50


def test_the_books_of_a_strategy_show_themselves_with_their_prices() -> None:
    shown = []

    def look(books: px.backtest.Books, now_ms: int) -> None:
        shown.append(books._repr_html_())

    run(look, Recorded(3), forms=forms(3), config=CONFIG)
    tokens = {leg.token_id for form in forms(3) for leg in form.legs}
    assert shown[-1].count("<tr>") == 1 + len(tokens)
    assert all(f"{token[:8]}…" in shown[-1] for token in tokens)
    assert shown[0].count("empty") == len(tokens) - 1
    assert shown[-1].count("live") == len(tokens)


def test_what_a_policy_does_later_is_in_the_report() -> None:
    def report_of(policy: str) -> px.backtest.Report:
        return run(
            None,
            Recorded(rounds=40),
            forms=forms(),
            config={**SETTINGS, "group_policy": policy},
            conditions=px.paper.Conditions(reject_rate="0.3", seed=3),
        )

    hold, unwind = report_of("hold"), report_of("unwind")
    assert not any(trade.follow_ups for trade in hold.trades)
    assert any(trade.follow_ups for trade in unwind.trades)
    assert hold.digest != unwind.digest
