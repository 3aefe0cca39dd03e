"""A report's figures are exact, its frames typed, its page whole, and nothing hostile gets in."""

import builtins
import importlib.util
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

import polyexec as px
from polyexec.backtest import Report, capacity, plots, run, sensitivity
from polyexec.backtest.rows import LegRow, TradeRow
from tests.backtest.browser import opened
from tests.backtest.generated import SETTINGS, START_MS, Recorded, forms

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def plain() -> Report:
    return run(None, Recorded(rounds=12), forms=forms(), config=SETTINGS)


def resolved(hours: float = 10) -> Report:
    """Return a run whose first whole set resolves so that its first legs pay."""
    first = run(None, Recorded(), forms=forms(), config=SETTINGS)
    tokens = [leg.token_id for leg in first.legs if leg.trade == first.whole[0].number]
    form = next(one for one in forms() if [leg.token_id for leg in one.legs] == tokens)
    pays = dict(zip(tokens, (10**6 * each for each in form.outcomes[0]), strict=True)) if (
        form.outcomes
    ) else dict.fromkeys(tokens, 0) | dict.fromkeys(tokens[: form.payout], 10**6)  # fmt: skip
    every_ms = round(hours * 3_600_000 / 2)
    return run(None, Recorded(every_ms=every_ms, pays=pays), forms=forms(), config=SETTINGS)


def test_money_of_fills_curve_and_balance_is_the_same(plain: Report) -> None:
    spent = sum(fill.cost_micro for fill in plain.fills)
    assert spent > 0
    assert plain.balance_before_micro - plain.balance_micro == spent
    assert plain.curve[0].cash_micro == plain.balance_before_micro
    assert plain.curve[-1].cash_micro == plain.balance_micro
    assert plain.curve[-1].locked_micro == plain.capital.locked_micro == spent
    # What the legs paid is exact, and their fees are the most that it can be.
    assert plain.turnover_micro == sum(leg.paid_micro for leg in plain.legs)
    assert spent == plain.turnover_micro + plain.fees_micro
    assert 0 < plain.fees_micro <= sum(leg.fee_micro for leg in plain.legs)
    held: dict[str, int] = {}
    for fill in plain.fills:
        held[fill.token_id] = held.get(fill.token_id, 0) + fill.shares_micro
    assert held == dict(plain.unresolved)
    assert plain.profit_micro == -spent


def test_positions_are_valued_at_the_recorded_best_bids(plain: Report) -> None:
    bids: dict[str, Decimal] = {}
    for one in Recorded(rounds=1).events():
        book = json.loads(one.frame or b"")
        bids[book["asset_id"]] = max(Decimal(level["price"]) for level in book["bids"])
    worth = sum(int(shares * bids[token]) for token, shares in plain.unresolved)
    assert plain.curve[-1].value_micro == worth
    assert plain.marked_profit_micro == plain.profit_micro + worth
    assert plain.drawdown_micro == plain.balance_before_micro - plain.curve[-1].equity_micro


def test_a_token_that_no_form_names_is_valued_by_its_twin() -> None:
    form = next(one for one in forms() if one.strategy == "SELL_PARENT_BUY_CHILDREN")
    token, twin = form.legs[0].token_id, form.legs[0].complement_token_id
    common = {"size": 20, "order_type": "GTC", "tick_size": "0.001", "fee_rate": "0.07"}
    sent: list[int] = []

    def make_a_set(books, now_ms):
        top = books.top(token)
        if not top.best_ask_e4 or now_ms in sent or len(sent) == 2:
            return None
        sent.append(now_ms)
        # First an order that rests before all bids, then its own counterpart.
        resting = top.best_bid_e4 + 10
        own = (token, resting) if len(sent) == 1 else (twin, 10_000 - resting)
        leg = px.Leg(own[0], "BUY", px_price(own[1]), **common)
        return px.LegsSignal([leg])

    source = Recorded(rounds=5)
    report = run(make_a_set, source, forms=[form], config=SETTINGS)
    held = dict(report.unresolved)
    assert held == {token: 20_000_000, twin: 20_000_000}
    books = {
        book["asset_id"]: book
        for book in (json.loads(one.frame or b"") for one in source.events())
        if book["asset_id"] in held
    }
    worth = sum(max(Decimal(level["price"]) for level in book["bids"]) for book in books.values())
    assert len(books) == 2
    assert report.curve[-1].value_micro == 20_000_000 * worth


def px_price(price_e4: int) -> Decimal:
    return Decimal(price_e4).scaleb(-4)


def test_what_resolved_is_realised_over_the_time_it_was_locked() -> None:
    report = resolved(hours=10)
    capital = report.capital
    assert capital.locked_micro == 0
    assert report.unresolved == ()
    assert (
        report.profit_micro
        == capital.realised_micro
        == report.resolved_micro - (report.balance_before_micro - report.balance_micro)
    )
    # Two rounds, so two sets: one locked for ten hours, one for five.
    assert capital.held_ms is not None
    assert 5 * 3_600_000 <= capital.held_ms <= 10 * 3_600_000
    exact = sum(
        fill.cost_micro * (report.resolutions[0].time_ms - fill.time_ms) for fill in report.fills
    )
    assert capital.released_micro_ms == exact
    year_ms = 365 * 86_400_000
    assert capital.annualised_return == capital.realised_micro * year_ms / exact
    assert report.curve[-1].value_micro == report.resolved_micro


def test_a_resolution_is_not_known_before_its_time() -> None:
    report = resolved()
    time_ms = report.resolutions[0].time_ms
    assert time_ms == report.last_ms
    assert all(one.time_ms <= time_ms for one in report.curve)
    assert report.curve[-2].value_micro != report.curve[-1].value_micro


def test_legging_losses_and_skips_are_counted_apart() -> None:
    rows = [
        trade(0, provisional_pnl_micro=-3, is_whole=False, at_risk_micro=5),
        trade(1, provisional_pnl_micro=-4, follow_ups=2),
        trade(2, provisional_pnl_micro=7),
        trade(3, skipped="OpportunityTooOld"),
        trade(4, provisional_pnl_micro=2, follow_ups=1),
    ]
    report = bare(trades=tuple(rows), legs=(leg(2),))
    assert [one.number for one in report.legged] == [0, 1, 4]
    assert report.legging_loss_micro == 7
    assert report.legging_at_risk_micro == 5
    assert report.skips == {"OpportunityTooOld": 1}
    assert [one.number for one in report.whole] == [2]


def test_summary_is_json_and_agrees_with_the_figures(plain: Report) -> None:
    summary = json.loads(json.dumps(plain.summary()))
    assert summary["profit_micro"] == plain.profit_micro
    assert summary["sent"] == len(plain.sent)
    assert dict(plain.figures())["digest"] == summary["digest"]


# --- frames ----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["legs", "trades", "curve", "fills"])
def test_frames_have_the_same_types_with_and_without_rows(plain: Report, what: str) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    for name in ("to_pandas", "to_polars", "to_arrow"):
        full, empty = getattr(plain, name)(what), getattr(bare(), name)(what)
        assert len(full) > 0 == len(empty)
        if name == "to_pandas":
            assert dict(full.dtypes) == dict(empty.dtypes)
            assert str(full.dtypes["time"]) == "datetime64[ms, UTC]"
            assert "object" not in {str(each) for each in empty.dtypes}
        else:
            assert full.schema == empty.schema
    frame = plain.to_pandas(what)
    assert frame["time"].astype("int64").tolist() == frame["time_ms"].tolist()
    assert plain.to_arrow(what).to_pylist() == plain.to_polars(what).to_dicts()


def test_frame_of_legs_is_the_legs(plain: Report) -> None:
    pytest.importorskip("pandas")
    frame = plain.to_pandas()
    assert frame["filled_micro"].sum() == sum(leg.filled_micro for leg in plain.legs)
    assert frame["time_ms"].min() == START_MS


def test_a_frame_of_nothing_known_is_refused() -> None:
    with pytest.raises(px.InputError, match="what='orders': must be one of legs, trades, curve"):
        bare().to_pandas("orders")  # type: ignore[arg-type]


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> object:
        if name.startswith(("polars", "tqdm")):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr("polyexec.backtest.frames.import_module", absent)
    with pytest.raises(px.UsageError, match=r"polars is not installed: pip install 'polyexec\[fra"):
        bare().to_polars()
    with pytest.raises(px.UsageError, match=r"tqdm is not installed: pip install 'polyexec\[backt"):
        run(None, Recorded(), forms=forms(), config=SETTINGS, progress=True)


def test_a_run_loads_no_library_that_it_does_not_need() -> None:
    code = (
        "import sys, polyexec.backtest as b; b.run, b.sweep, b.Report, b.sensitivity\n"
        "names = {'pandas', 'polars', 'pyarrow', 'plotly', 'matplotlib', 'tqdm', 'distributed'}\n"
        "print(sorted(names & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


# --- plots and pages -------------------------------------------------------------------------


def test_plot_draws_every_panel_with_plotly(plain: Report) -> None:
    graph = pytest.importorskip("plotly.graph_objects")
    figure = plain.plot()
    assert isinstance(figure, graph.Figure)
    panels = plots.panels_of(plain)
    assert len(figure.data) == sum(len(panel.series) for panel in panels)
    cash = next(trace for trace in figure.data if trace.name.startswith("collateral"))
    assert cash.y[-1] == plain.balance_micro / 1e6
    assert isinstance(bare().plot(), graph.Figure)


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make libraries look as if they were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        plots, "find_spec", lambda name: None if name in names else find(name)
    )  # fmt: skip
    load = builtins.__import__

    def guarded(name: str, *rest: object) -> object:
        assert name.split(".", maxsplit=1)[0] not in names
        return load(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", guarded)


def test_plot_and_page_fall_back_to_matplotlib(
    plain: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    without(monkeypatch, "plotly")
    figure = plain.plot()
    assert isinstance(figure, figures.Figure)
    assert len(figure.axes) == len(plots.panels_of(plain))
    text = hostile().to_html(tmp_path / "page.html").read_text()
    assert text.count("<svg") == len(plots.panels_of(hostile()))
    assert "<script>document" not in text
    assert "<img" not in text


def test_without_a_library_that_draws_the_extra_is_named(
    plain: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, "plotly", "matplotlib")
    with pytest.raises(px.UsageError, match=r"polyexec\[viz\]"):
        plain.plot()
    with pytest.raises(px.UsageError, match=r"polyexec\[viz\]"):
        plain.to_html(tmp_path / "page.html")


def test_a_page_that_cannot_be_written_is_named(plain: Report, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    with pytest.raises(px.InputError, match="cannot be written"):
        plain.to_html(tmp_path / "missing" / "page.html")


def test_page_loads_nothing_and_holds_everything(plain: Report, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    text = plain.to_html(tmp_path / "page.html", title="My <day>").read_text()
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", own)
    assert "default-src 'none'" in own
    assert "My &lt;day&gt;" in own
    assert plain.digest in own
    for one in plain.sent[:3]:
        assert one.group_key in own


@pytest.mark.slow
def test_browser_draws_every_plot_without_a_complaint(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    report = hostile()
    studies = [
        sensitivity(Recorded(), latencies_ms=[0, 50], forms=forms(), config=SETTINGS),
        capacity(Recorded(), sizes=[5, "20.5"], forms=forms(), config=SETTINGS),
    ]
    panels = [
        *plots.panels_of(report),
        *(each for one in studies for each in plots.panels_of_study(one)),
    ]
    where = report.to_html(tmp_path / "page.html", *studies, title=HOSTILE)
    page = opened(where, tmp_path / "profile")
    assert page.console == []
    assert (
        "owned" not in re.search(r"<title>(.*?)</title>", page.dom, re.DOTALL)[1].split("&lt;")[0]
    )
    drawn = re.findall(r'<div[^>]*id="plot-(\d+)"', page.dom)
    assert drawn == [str(number) for number in range(len(panels))]
    parts = re.split(r'<div[^>]*id="plot-\d+"', page.dom)[1:]
    for panel, part in zip(panels, parts, strict=True):
        assert 'class="main-svg"' in part, panel.title
        marks = len(re.findall(r'class="(?:trace scatter|trace bars)', part))
        assert marks == len(panel.series), panel.title
    assert "<img src=" not in page.dom
    # Nothing offers to send the trades of somebody to somebody else.
    assert 'data-title="Zoom' in page.dom
    assert "Share" not in re.sub(r"<script.*?</script>", "", page.dom, flags=re.DOTALL)


@pytest.mark.slow
def test_a_figure_of_its_own_does_not_offer_to_send_itself_away(
    plain: Report, tmp_path: Path
) -> None:
    pytest.importorskip("plotly")
    where = tmp_path / "figure.html"
    plain.plot().write_html(where)
    page = opened(where, tmp_path / "profile")
    assert 'data-title="Zoom' in page.dom
    assert "Share" not in re.sub(r"<script.*?</script>", "", page.dom, flags=re.DOTALL)


@pytest.mark.slow
def test_the_browser_test_can_fail(tmp_path: Path) -> None:
    where = tmp_path / "broken.html"
    where.write_text("<script>throw new Error('broken on purpose')</script>")
    page = opened(where, tmp_path / "profile")
    assert any("broken on purpose" in line for line in page.console)


def test_hostile_texts_stay_texts_in_card_and_page(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    report = hostile()
    card = report._repr_html_()
    text = report.to_html(tmp_path / "page.html").read_text()
    for shown in (card, text):
        assert "<script>document" not in shown
        assert "<img" not in re.sub(r"<script>.*?</script>", "", shown, flags=re.DOTALL)
    assert "&lt;script&gt;document" in card
    assert "&lt;script&gt;document" in text


def test_no_secret_gets_into_report_card_page_or_pickle(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    secrets = {
        "private_key": "7" * 64,
        "api_key": "0a1b2c3d-0000-4000-8000-00000badcafe",
        "api_secret": "c2VjcmV0LXRoYXQtbXVzdC1ub3QtYmUtc2Vlbg==",
        "api_passphrase": "passphrase-not-to-be-seen",
        "telegram_bot_token": "123456:token-not-to-be-seen",
    }
    report = run(None, Recorded(), forms=forms(), config=px.ExecutorConfig(**secrets, **SETTINGS))
    shown = [
        str(report),
        repr(report),
        report._repr_html_(),
        report.to_html(tmp_path / "page.html").read_text(),
        json.dumps(report.summary()),
        msgspec.json.encode(report).decode(),
    ]
    for text in shown:
        assert not [name for name, value in secrets.items() if value in text]


# --- made up ---------------------------------------------------------------------------------


def trade(number: int, **changes: object) -> TradeRow:
    row = TradeRow(
        number=number,
        time_ms=START_MS + number,
        finished_ms=START_MS + number + 40,
        group_key="btc",
        strategy="",
        skipped="",
        is_whole=True,
        cost_micro=10,
        expected_pnl_micro=1,
        at_risk_micro=0,
    )
    return msgspec.structs.replace(row, **changes)


def leg(number: int, **changes: object) -> LegRow:
    row = LegRow(
        trade=number,
        token_id="1",
        side="BUY",
        price_e4=5000,
        size_micro=10,
        filled_micro=10,
        paid_micro=5,
        fee_micro=0,
        state="MATCHED",
        error="",
    )
    return msgspec.structs.replace(row, **changes)


def bare(**changes: object) -> Report:
    report = Report(
        trades=(),
        legs=(),
        balance_before_micro=100,
        balance_micro=100,
        resolved_micro=0,
        unresolved=(),
        events=0,
        first_ms=START_MS,
        last_ms=START_MS,
        digest="0" * 64,
        is_cancelled=False,
        partial=(),
    )
    return msgspec.structs.replace(report, **changes)


def hostile() -> Report:
    """Return a run in which every text of the data is an attack."""
    found = run(None, Recorded(), forms=forms(), config=SETTINGS)
    return msgspec.structs.replace(
        found,
        trades=tuple(
            msgspec.structs.replace(
                one,
                group_key=f"{HOSTILE}{one.number % 3}",
                strategy=HOSTILE,
                skipped=HOSTILE if one.skipped else "",
            )
            for one in found.trades
        ),
        legs=tuple(msgspec.structs.replace(one, error=HOSTILE) for one in found.legs),
        partial=(HOSTILE,),
    )
