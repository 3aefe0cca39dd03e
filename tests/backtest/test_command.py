"""``polyexec backtest``: from files to figures, and in words why not."""

import json
from pathlib import Path

import pytest

import polyexec as px
from polyexec.backtest import forms_from_metadata, load_forms, save_forms
from polyexec.cli import main
from polyexec.core.ranges import MatchDelay
from polyexec.core.trios import build_groups, forms_of
from tests.backtest.generated import START_MS, Recorded, forms, levels
from tests.engine import ladders

STRIKES = (100_000, 102_000, 104_000)
SETTINGS = ("--set", "order_type=FOK", "--set", "opportunity_timeout_ms=0")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with a recording and its forms."""
    frames = [one.frame or b"" for one in Recorded(rounds=2).events()]
    (tmp_path / "frames.jsonl").write_bytes(b"\n".join(frames) + b"\n")
    save_forms(forms(), tmp_path / "forms.json")
    return tmp_path


def backtest(*arguments: object) -> int:
    return main(["backtest", *map(str, arguments)])


def figures(text: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in text.splitlines()[-1].split())


def events() -> list:
    return ladders.ladders(STRIKES)


def records() -> list:
    return [ladders.record(market) for event in events() for market in event["markets"]]


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


# --- the command -----------------------------------------------------------------------------


def test_ends_with_figures_and_says_the_same_again(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (files / "frames.jsonl", "--forms", files / "forms.json", *SETTINGS)
    assert backtest(*asked) == 0
    out = capsys.readouterr().out
    told = figures(out)
    assert list(told) == [
        "signals", "executed", "skipped", "legged", "events", "partial", "digest",
    ]  # fmt: skip
    report = px.backtest.run(
        None,
        Recorded(rounds=2),
        forms=forms(),
        config={"order_type": "FOK", "opportunity_timeout_ms": 0},
    )
    assert told["digest"] == report.digest
    assert int(told["executed"]) == len(report.whole) > 0
    assert int(told["signals"]) == len(report.trades)
    assert str(report) in out
    backtest(*asked, "--seed", 5)
    assert figures(capsys.readouterr().out)["digest"] == report.digest


def test_settings_latency_and_balance_reach_the_run(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (files / "frames.jsonl", "--forms", files / "forms.json", *SETTINGS, "--json")
    found = []
    for more in (
        (),
        ("--set", "default_size=50.5"),
        ("--latency", "0"),
        ("--latency", "0,300"),
        ("--balance", "12.5"),
        ("--set", "min_profit_bps=9000"),
    ):
        assert backtest(*asked, *more) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert len({one["digest"] for one in found}) == len(found)
    assert found[4]["balance_before_micro"] == 12_500_000
    assert found[5]["signals"] == 0


def test_json_is_one_document_with_the_studies(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (files / "frames.jsonl", "--forms", files / "forms.json", *SETTINGS)
    assert backtest(*asked, "--json", "--latencies", "0,20", "--sizes", "5,50") == 0
    told = json.loads(capsys.readouterr().out)
    latency, size = told["studies"]["latency"], told["studies"]["size"]
    assert [row["value"] for row in latency] == [0.0, 20.0]
    assert latency[1]["digest"] == told["digest"]
    assert size[1]["turnover_micro"] > size[0]["turnover_micro"]


def test_writes_the_page_with_studies_of_other_processes(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("plotly")
    page = files / "page.html"
    asked = (files / "frames.jsonl", "--forms", files / "forms.json", *SETTINGS)
    assert backtest(*asked, "--html", page, "--sizes", "5,50", "--processes", 2) == 0
    digest = figures(capsys.readouterr().out)["digest"]
    text = page.read_text()
    assert digest in text
    assert "By size" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "nope=1"), "--set='nope': is no setting"),
        (("--set", "default_size"), "--set='default_size': must be NAME=VALUE"),
        (("--set", "default_size=-1"), "default_size=-1: must not be negative"),
        (("--set", "order_type=XYZ"), "order_type='XYZ': must be GTC, GTD, FOK or FAK"),
        (("--set", "queue_size=2", "--set", "queue_size=3"), "queue_size': is given twice"),
        (("--set", "clob_url=https://x"), "'clob_url': is not used in a backtest"),
        (("--latency", "1,2,3"), "--latency='1,2,3': must be milliseconds there and back"),
        (("--latency", "-5"), "--latency='-5': must be whole milliseconds"),
        (("--balance", "much"), "balance='much': is not a decimal number"),
        (("--latencies", "a"), "--latencies='a': must be whole milliseconds"),
        (("--sizes", "5,x"), "sizes[1]='x': is not a decimal number"),
        (("--sizes", "5", "--processes", "0"), "--processes=0: must be 1 or more"),
        (("--delay", "none"), "--delay='none': goes with --metadata only"),
    ],
)
def test_arguments_that_cannot_work_are_said_in_a_line(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    given = [arguments[0], f"{arguments[1]}", *arguments[2:]]
    if arguments[1].startswith("-"):
        given = [f"{arguments[0]}={arguments[1]}", *arguments[2:]]
    assert backtest(files / "frames.jsonl", "--forms", files / "forms.json", *given) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_key_on_the_command_line_is_refused_and_not_shown(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (files / "frames.jsonl", "--forms", files / "forms.json")
    for pair in ("private_key=" + "9" * 64, "9" * 64, "api_secret=" + "9" * 64):
        assert backtest(*asked, "--set", pair) == 2
        captured = capsys.readouterr()
        assert "leave it out" in captured.err or "NAME=VALUE" in captured.err
        assert "99999999" not in captured.err + captured.out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("forms.json", None, "cannot be read"),
        ("forms.json", "{}", "is no list of forms: Expected `array`, got `object`"),
        ("forms.json", "[]", "has no form"),
        ("forms.json", '[{"legs": [], "payout": "1"}]', "Expected `int`, got `str` - at `$[0]"),
        ("frames.jsonl", None, "cannot be read"),
        ("frames.jsonl", "what\n", "is not JSON"),
    ],
)
def test_files_that_cannot_work_are_named(
    files: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, said: str
) -> None:
    path = files / name
    path.unlink() if content is None else path.write_text(content)
    assert backtest(files / "frames.jsonl", "--forms", files / "forms.json") == 2
    error = capsys.readouterr().err
    assert said in error
    assert name in error


# --- forms -----------------------------------------------------------------------------------


def test_forms_survive_their_file(tmp_path: Path) -> None:
    general = forms_from_metadata(
        [write(tmp_path / "e.json", events()), write(tmp_path / "r.json", records())]
    )[0]
    assert any(form.strategy is None for form in general)
    for each in (tuple(forms()), general):
        assert load_forms(save_forms(each, tmp_path / "forms.json")) == each


def test_metadata_gives_the_forms_of_the_live_engine(tmp_path: Path) -> None:
    found, unproven = forms_from_metadata(
        [write(tmp_path / "events.json", events()), write(tmp_path / "records.json", records())]
    )
    groups, _ = build_groups(ladders.read_all(events()))
    assert found == tuple(
        form for group in groups for trio in group.trios for form in forms_of(trio)
    )
    assert len(found) > 8
    assert all(str(one) for one in unproven)


def test_without_records_nothing_is_proven_unless_the_delay_is_supposed(tmp_path: Path) -> None:
    path = write(tmp_path / "events.json", events())
    found, unproven = forms_from_metadata([path])
    assert found == ()
    assert any("itode" in str(one) for one in unproven)
    supposed, _ = forms_from_metadata([path], delay=MatchDelay.NONE)
    told, _ = forms_from_metadata([path, write(tmp_path / "records.json", records())])
    assert supposed == told
    with pytest.raises(px.InputError, match="delay='soon': must be one of none, taker, seconds"):
        forms_from_metadata([path], delay="soon")


def test_a_market_that_has_closed_since_was_open_then(tmp_path: Path) -> None:
    over = events()
    for event in over:
        for market in event["markets"]:
            market.update(closed=True, active=False, acceptingOrders=False)
    path = write(tmp_path / "events.json", over)
    assert (
        forms_from_metadata([path], delay="none")[0]
        == (forms_from_metadata([write(tmp_path / "open.json", events())], delay="none")[0])
    )


def test_metadata_may_be_lines_and_lists_in_any_order(tmp_path: Path) -> None:
    lines = tmp_path / "all.jsonl"
    lines.write_text("\n".join(json.dumps(one) for one in [records(), *events()]) + "\n")
    whole = [write(tmp_path / "e.json", events()), write(tmp_path / "r.json", records())]
    assert forms_from_metadata([lines])[0] == forms_from_metadata(whole)[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is neither JSON nor lines of JSON"),
        ("[1]", "must hold objects"),
        ('[{"markets": []}, {"a": 1}]', "meta.json, object 2=['a']: is neither an event"),
    ],
)
def test_metadata_that_is_something_else_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "meta.json"
    path.write_text(content)
    with pytest.raises(px.InputError) as caught:
        forms_from_metadata([path])
    assert said in str(caught.value)
    assert "meta.json" in str(caught.value)


def test_metadata_on_the_command_line_trades_what_it_proves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [json.dumps(each) for each in books({STRIKES[0]: 7000, STRIKES[1]: 5000}, 200)]
    recording = tmp_path / "frames.jsonl"
    recording.write_text("\n".join(frames) + "\n")
    asked = (recording, *SETTINGS, "--set", "default_size=50", "--metadata",
             write(tmp_path / "events.json", events()))  # fmt: skip
    assert backtest(*asked) == 2
    said = capsys.readouterr().err
    assert "not evaluated: " in said
    assert "itode" in said
    assert "proves no set of legs" in said
    saved = tmp_path / "forms.json"
    assert backtest(*asked, "--delay", "none", "--save-forms", saved) == 0
    told = figures(capsys.readouterr().out)
    assert int(told["executed"]) >= 1
    assert backtest(recording, *SETTINGS, "--set", "default_size=50", "--forms", saved) == 0
    assert figures(capsys.readouterr().out) == told
    assert backtest(*asked, "--overrides", tmp_path / "none.toml") == 2
    assert "none.toml" in capsys.readouterr().err


def books(above: dict[int, int], between: int) -> list[dict]:
    """Return snapshots of the first trio's six tokens around prices in 1e-4 dollars."""
    fair = {f"bitcoin-above-{strike}-on-july-4": price for strike, price in above.items()}
    fair[f"bitcoin-between-{STRIKES[0]}-{STRIKES[1]}-on-july-4"] = between
    found = []
    for slug, price in fair.items():
        for side, at in (("yes", price), ("no", 10_000 - price)):
            found.append(
                {
                    "event_type": "book",
                    "asset_id": ladders.token(f"{slug}/{side}"),
                    "timestamp": str(START_MS),
                    "tick_size": "0.01",
                    "bids": levels([(at - 100, 500_000_000)]),
                    "asks": levels([(at + 100, 500_000_000)]),
                }
            )
    return [*found, *({**each, "timestamp": str(START_MS + 5_000)} for each in found)]
