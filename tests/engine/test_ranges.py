"""Ranges from metadata: real files, real wordings, and whatever else arrives."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec.core.range_overrides import RangeOverrides, parse_overrides
from polyexec.core.range_wording import Bounds, RangeKind, read_question, read_title
from polyexec.core.ranges import (
    MatchDelay,
    RangeMarket,
    Unread,
    merge_record,
    read_event,
    read_market,
)
from polyexec.enums import Generation
from polyexec.errors import ConfigError

from . import ladders
from .ladders import ABOVE, AT_OR_ABOVE, BRACKET, above, below, between, event, record, tail


def read(fields: dict[str, Any], overrides: RangeOverrides | None = None) -> RangeMarket:
    market = read_market(fields, {"slug": "e", "negRiskAugmented": False}, overrides)
    assert isinstance(market, RangeMarket), market
    return market


# --- real files ------------------------------------------------------------------------------


@pytest.mark.parametrize("day", ["2026-01-07", "2026-02-05"])
def test_bounds_of_real_groups_follow_from_their_questions(shared_dir: Path, day: str) -> None:
    path = shared_dir / "data" / "captured" / "range_groups" / f"group_btc-{day}.json"
    group = json.loads(path.read_text())["group"]
    kinds = {"above": RangeKind.ABOVE, "below": RangeKind.BELOW, "range": RangeKind.BETWEEN}
    rows = group["children"] + group["parents"] + group["unmatched"]
    assert len(rows) == 22
    for row in rows:
        question = read_question(row["question"])
        assert question is not None
        assert question.asset == group["crypto"]
        assert question.bounds.kind is kinds[row["kind"]]
        found = {"lower": question.bounds.lower, "upper": question.bounds.upper}
        assert {k: v for k, v in found.items() if v is not None} == row["bounds"]
        assert f"{question.month:02d}-{question.day:02d}" in group["groupKey"]


def test_titles_of_real_ladders_are_read(shared_dir: Path) -> None:
    path = shared_dir / "data" / "captured" / "range_groups"
    (file,) = path.glob("btc_ladder_quotes_*.jsonl.gz")
    titles = set()
    for line in gzip.decompress(file.read_bytes()).splitlines():
        titles |= {row["question"] for row in json.loads(line)["rows"]}
    assert len(titles) == 37
    assert [title for title in titles if read_title(title) is None] == []


def test_every_real_market_gives_a_range_or_a_reason(shared_dir: Path) -> None:
    found: list[RangeMarket] = []
    unread: list[Unread] = []
    for file in sorted((shared_dir / "data" / "captured" / "gamma").iterdir()):
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        if ".jsonl" in file.name:
            items = [json.loads(line)["raw"] for line in raw.splitlines()]
        else:
            data = json.loads(raw)
            items = data if isinstance(data, list) else [data]
        for item in items:
            if "markets" in item:
                ranges, others = read_event(item)
                found += ranges
                unread += others
            else:
                market = read_market(item)
                (unread if isinstance(market, Unread) else found).append(market)  # type: ignore[arg-type]
    assert len(unread) > 350
    assert all(market.reason for market in unread)
    (market,) = found
    assert market.slug == "bitcoin-above-60k-on-july-4-2026"
    assert market.asset == "btc"
    assert market.source == "Binance BTC/USDT 1m close at 12:00 ET"
    assert market.instant_ms == ladders.INSTANT_MS
    assert (market.kind, market.lower, market.upper) == (RangeKind.ABOVE, 60_000, None)
    # "higher than": a price of exactly 60,000 is a No.
    assert market.lower_inclusive is False
    assert market.terms.tick_e4 == 100
    assert market.terms.min_order_size_micro == 5_000_000
    assert (market.terms.fee_rate_micro, market.terms.fee_exponent) == (70_000, 1)
    # Recorded before the exchange told versions; the delay is never in the metadata.
    assert market.terms.generation is None
    assert {name for name, _ in market.missing} == {"generation", "delay"}


# --- wording ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("60,000", Decimal(60_000)),
        ("$0.18", Decimal("0.18")),
        ("76,000-78,000", Bounds(Decimal(76_000), Decimal(78_000))),
        ("<70,000", Bounds(None, Decimal(70_000))),
        (">88,000", Bounds(Decimal(88_000), None)),
        ("<103k", Bounds(None, Decimal(103_000))),
        ("103-105k", Bounds(Decimal(103_000), Decimal(105_000))),
        ("90-88k", Bounds(Decimal(88_000), Decimal(90_000))),
        ("2400–2500", Bounds(Decimal(2400), Decimal(2500))),
        ("103k-105", None),
        ("5-5", None),
        ("0", None),
        ("↑ 100,000", None),
        ("Spain", None),
        ("1,0000", None),
        ("٦٠", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_titles(title: str, expected: Any) -> None:
    assert read_title(title) == expected


@pytest.mark.parametrize(
    "question",
    [
        "Will Bitcoin reach $100,000 in July?",
        "Will Bitcoin dip to $70,000 in April?",
        "Bitcoin Up or Down on April 25?",
        "Will the price of Bitcoin be above $60,000 at any time on July 4?",
        "Will the price of Bitcoin be above $60,000 on Smarch 4?",
        "Will the price of Bitcoin be above $60,000 on July 44?",
        "Will the price of Bitcoin be above $60,000 on July 4 at 13PM ET?",
        "Will the price of Bitcoin be between $80,000 and $80,000 on July 4?",
        "Will the price of Bitcoin be above $0 on July 4?",
    ],
)
def test_other_questions_are_not_read(question: str) -> None:
    assert read_question(question) is None


def test_the_time_of_a_question_has_to_be_that_of_the_description() -> None:
    fields = above(60_000)
    fields["question"] = fields["question"].replace("July 4?", "July 4, 2026 at 12PM ET?")
    assert read(fields).instant_ms == ladders.INSTANT_MS
    fields["question"] = fields["question"].replace("12PM", "5PM")
    assert "New York" in read(fields).why_missing("instant")


@pytest.mark.parametrize(
    ("fields", "inclusive"),
    [
        (above(60_000, ABOVE), (False, None)),
        (above(60_000, AT_OR_ABOVE), (True, None)),
        (above(60_000, ABOVE.replace('"Close"', "“Close”")), (False, None)),
        (below(60_000, ABOVE.replace("higher than", "lower than")), (None, False)),
    ],
)
def test_thresholds_say_what_a_price_on_them_does(fields: Any, inclusive: Any) -> None:
    market = read(fields)
    assert (market.lower_inclusive, market.upper_inclusive) == inclusive


@pytest.mark.parametrize(
    ("word", "at_76", "at_78"), [("higher", "mid", "top"), ("lower", "low", "mid")]
)
def test_a_price_between_two_brackets_is_in_one_of_them(word: str, at_76: str, at_78: str) -> None:
    text = BRACKET.replace("the higher range", f"the {word} range")
    markets, unread = read_event(
        event("e", [below(76_000, text), between(76_000, 78_000, text), tail(78_000, text)])
    )
    assert unread == []
    named = dict(zip(("low", "mid", "top"), markets, strict=True))
    for price, expected in ((76_000, at_76), (78_000, at_78), (77_000, "mid"), (1, "low")):
        assert [n for n, m in named.items() if m.pays(Decimal(price))] == [expected]


def test_the_rule_for_ties_needs_two_brackets() -> None:
    (market,), _ = read_event(event("e", [between(76_000, 78_000)]))
    assert (market.lower_inclusive, market.upper_inclusive) == (None, None)
    assert "one bracket at the lower bound" in market.why_missing("lower_inclusive")
    assert market.pays(Decimal(76_000)) is None
    # The words of a bracket, copied to a market that stands alone.
    assert read(below(1400)).upper_inclusive is None


TIE = next(line for line in BRACKET.splitlines() if "two brackets" in line)


@pytest.mark.parametrize(
    ("change", "gap", "words"),
    [
        (lambda t: t.replace("higher than", "higher or lower than"), "lower_inclusive", "says"),
        (lambda t: t.replace("higher than", "lower than"), "source", "'lower than'"),
        (lambda _: BRACKET.replace("If the reported", "If no reported"), "source", "not known"),
        (lambda _: BRACKET.replace(TIE, ""), "lower_inclusive", "between two brackets"),
        (lambda t: t + "\n\n" + TIE, "lower_inclusive", "one strike and of two brackets"),
        (lambda t: t.replace('final "Close"', 'final "High"'), "source", "not known"),
        (
            lambda t: t.replace("the Binance 1 minute", "any Binance 1 minute"),
            "source",
            "not known",
        ),
        (lambda t: t.replace("1 minute", "1 hour"), "source", "not known"),
        (lambda t: t + "\n\nIf the market is paused it resolves 50-50.", "source", "50-50"),
        (lambda t: t.replace("according to Binance BTC", "according to Binance ETH"), "source", ""),
        (lambda t: t.replace("BTC_USDT", "ETH_USDT"), "source", "not known"),
        (lambda t: t.replace("12:00 in", "25:00 in"), "source", "time"),
        (lambda t: t.replace("12:00 in", "15:00 in"), "instant", "15:00 ET"),
        (lambda t: t.replace("BTC", "ETH"), "asset", "btc"),
        (lambda _: "", "source", "no description"),
    ],
)
def test_wordings_that_are_not_known_leave_a_gap(change: Any, gap: str, words: str) -> None:
    market = read(above(60_000, change(ABOVE)))
    assert words in market.why_missing(gap)
    assert market.why_missing(gap)


def test_a_pair_is_the_same_with_and_without_a_slash() -> None:
    text = ABOVE.replace("BTC/USDT", "BTCUSDT")
    assert read(above(60_000, text)).source == read(above(60_000, ABOVE)).source


# --- fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"conditionId": None}, "conditionId"),
        ({"conditionId": "0x12"}, "conditionId"),
        ({"outcomes": '["Up", "Down"]'}, "outcomes"),
        ({"outcomes": "[" * 10_000}, "outcomes"),
        ({"clobTokenIds": '["1"]'}, "clobTokenIds"),
        ({"clobTokenIds": '["7", "7"]'}, "clobTokenIds"),
        ({"clobTokenIds": f'["{"9" * 90}", "7"]'}, "clobTokenIds"),
        ({"clobTokenIds": [1, 2]}, "clobTokenIds"),
        ({"groupItemTitle": "62,000"}, "differ"),
        ({"groupItemTitle": ">62,000"}, "differ"),
        ({"groupItemTitle": "↑ 60,000"}, "no strike"),
        ({"question": None}, "question"),
    ],
)
def test_markets_that_make_no_range_say_why(changes: Any, reason: str) -> None:
    found = read_market(above(60_000, **changes))
    assert isinstance(found, Unread)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ({"endDate": None}, "instant"),
        ({"endDate": "2026-07-04"}, "instant"),
        ({"endDate": "2026-07-04T18:00:00Z"}, "instant"),
        ({"endDate": "2026-07-05T16:00:00Z"}, "instant"),
        ({"endDate": "9999-12-31T23:59:59-14:00"}, "instant"),
        ({"endDate": "0001-01-01T00:00:00+14:00"}, "instant"),
        ({"resolutionSource": "https://www.binance.com/en/trade/ETH_USDT"}, "source"),
        ({"orderPriceMinTickSize": 0.03}, "tick"),
        ({"orderPriceMinTickSize": float("nan")}, "tick"),
        ({"orderMinSize": 0}, "minimum"),
        ({"orderMinSize": 10**400}, "minimum"),
        ({"orderMinSize": -5}, "minimum"),
        ({"feesEnabled": None}, "fee"),
        ({"feeSchedule": None}, "fee"),
        ({"feeSchedule": {"rate": 7, "exponent": 1}}, "fee"),
        ({"feeSchedule": {"rate": 0.07, "exponent": 1.5}}, "fee"),
        ({"feeSchedule": {"rate": 0.07, "exponent": [1]}}, "fee"),
        ({"version": None}, "generation"),
        ({"version": "v9"}, "generation"),
        ({"negRisk": None}, "neg_risk"),
        ({"negRiskOther": True}, "neg_risk"),
        ({"secondsDelay": "3"}, "seconds_delay"),
        ({"secondsDelay": -1}, "seconds_delay"),
        ({"closed": True}, "open"),
        ({"acceptingOrders": False}, "open"),
        ({"archived": True}, "open"),
    ],
)
def test_fields_that_cannot_be_used_are_gaps(changes: Any, gap: str) -> None:
    assert read(above(60_000, **changes)).why_missing(gap)


def test_fees_that_are_off_are_known() -> None:
    market = read(above(60_000, feesEnabled=False, feeSchedule=None))
    assert (market.terms.fee_rate_micro, market.terms.fee_exponent) == (0, 1)


def test_a_protocol_v2_market_is_traded_by_its_position_ids() -> None:
    first = 1 << 248 | int.from_bytes(b"\x07" * 16) << 120 | 2 << 104
    fields = above(
        60_000, version="v2", positionIds=[str(first), str(first + 1)], conditionId="0x" + "ab" * 31
    )
    market = read(fields)
    assert (market.yes, market.no) == (str(first), str(first + 1))
    assert market.terms.generation is Generation.EXCHANGE_V3
    assert market.condition_id == "0x" + "ab" * 31 + "00"
    swapped = read(fields | {"version": "v1"})
    assert swapped.terms.generation is Generation.CLOB_V2
    odd = read(fields | {"version": "v1", "clobTokenIds": fields["positionIds"]})
    assert "token ids" in odd.why_missing("generation")


def test_outcomes_say_which_token_is_yes() -> None:
    fields = above(60_000)
    market = read(fields)
    mirrored = read(fields | {"outcomes": ["No", "Yes"]})
    assert (market.yes, market.no) == (mirrored.no, mirrored.yes)


def test_the_record_of_the_order_book_decides() -> None:
    fields = above(60_000)
    market = merge_record(read(fields), record(fields, mts=0.001, mos=15, itode=True))
    assert market.missing == ()
    assert market.terms.tick_e4 == 10
    assert market.terms.min_order_size_micro == 15_000_000
    assert market.terms.delay is MatchDelay.TAKER


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ({"mts": None}, "tick"),
        ({"mos": "x"}, "minimum"),
        ({"itode": None}, "delay"),
        ({"fd": {"r": 0.05, "e": 1}}, "fee"),
        ({"fd": None}, "fee"),
        ({"fd": [1]}, "fee"),
        ({"nr": True}, "neg_risk"),
        ({"t": None}, "tokens"),
        ({"t": [{"t": "1", "o": "Yes"}, {"t": "2", "o": "No"}]}, "tokens"),
        ({"t": [{"t": [], "o": {}}, 7]}, "tokens"),
        ({"t": 7}, "tokens"),
    ],
)
def test_what_the_order_book_contradicts_is_not_known(changes: Any, gap: str) -> None:
    fields = above(60_000)
    assert merge_record(read(fields), record(fields, **changes)).why_missing(gap)


def test_a_record_that_is_none_is_a_gap() -> None:
    assert merge_record(read(above(60_000)), None).why_missing("record")


def test_sports_markets_are_delayed_whatever_the_order_book_says() -> None:
    fields = above(60_000, secondsDelay=3)
    assert merge_record(read(fields), record(fields)).terms.delay is MatchDelay.SECONDS


# --- overrides -------------------------------------------------------------------------------


def test_overrides_replace_what_is_read() -> None:
    fields = above(60_000, "Nobody knows these words.", version=None)
    overrides = parse_overrides(
        {
            "market": {
                fields["slug"]: {
                    "lower": 61_000,
                    "lower_inclusive": True,
                    "source": "by hand",
                    "generation": 2,
                }
            }
        },
        "f.toml",
    )
    market = read(fields, overrides)
    assert (market.lower, market.upper, market.lower_inclusive) == (61_000, None, True)
    assert market.source == "by hand"
    assert market.instant_ms == ladders.INSTANT_MS
    assert market.terms.generation is Generation.CLOB_V2
    assert {name for name, _ in market.missing} == {"delay"}


def test_a_market_can_be_skipped_by_its_condition() -> None:
    fields = above(60_000)
    name = fields["conditionId"].upper().replace("0X", "0x")
    overrides = parse_overrides({"market": {name: {"skip": True}}}, "f.toml")
    found = read_market(fields, None, overrides)
    assert isinstance(found, Unread)
    assert "overrides" in found.reason


def test_a_bracket_that_is_skipped_still_ends_its_neighbours() -> None:
    low, high = between(76_000, 78_000), between(78_000, 80_000)
    overrides = parse_overrides({"market": {high["slug"]: {"skip": True}}}, "f.toml")
    (market,), (skipped,) = read_event(event("e", [low, high]), overrides)
    assert skipped.slug == high["slug"]
    assert market.upper_inclusive is False


def test_what_is_said_of_one_bracket_leaves_its_neighbours() -> None:
    low, high = between(76_000, 78_000), between(78_000, 80_000)
    said = {"lower_inclusive": True, "upper_inclusive": False, "asset": "BTC"}
    overrides = parse_overrides({"market": {high["slug"]: said}}, "f.toml")
    markets, _ = read_event(event("e", [low, high]), overrides)
    assert [m.upper_inclusive for m in markets] == [False, False]
    assert [m.lower_inclusive for m in markets] == [None, True]
    assert [m.asset for m in markets] == ["btc", "btc"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"markets": {}}, "markets: the tables are"),
        ({"market": 3}, "market: the tables are"),
        ({"market": {"a": 3}}, "market.a=3: must be a table"),
        ({"market": {"a": {"skp": True}}}, "market.a.skp: is not known"),
        ({"market": {"a": {"skip": "no"}}}, "market.a.skip='no': must be true or false"),
        ({"market": {"a": {"lower": "x"}}}, "market.a.lower='x': is not a decimal number"),
        ({"market": {"a": {"lower": -1}}}, "market.a.lower=-1: must be dollars"),
        ({"market": {"a": {"lower": True}}}, "market.a.lower=True"),
        ({"market": {"a": {"upper": float("inf")}}}, "market.a.upper=inf: must be finite"),
        ({"market": {"a": {"lower": 2, "upper": 1}}}, "market.a.upper=1: must be above lower=2"),
        ({"market": {"a": {"source": " "}}}, "market.a.source=' '"),
        ({"market": {"a": {"asset": "b/c"}}}, "market.a.asset='b/c': must be a symbol"),
        ({"market": {"a": {"generation": 7}}}, "market.a.generation=7"),
        ({"asset": {"btc": {"accept_boundary": 1}}}, "asset.btc.accept_boundary=1"),
        ({"group": {"g": {"skip": True}}}, "group.g.skip: is not known"),
    ],
)
def test_overrides_that_cannot_be_used_are_named(data: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(data, "f.toml")
    assert str(caught.value).startswith(f"f.toml: {words}")


# --- anything --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = [*sorted(between(1, 2)), "positionIds", "secondsDelay", "events", "resolutionSource"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), JSON, JSON)
def test_nothing_that_arrives_raises(changes: Any, whole: Any, row: Any) -> None:
    fields = between(76_000, 78_000) | changes
    for found in (read_market(fields, whole), read_market(whole), read_market(fields)):
        if isinstance(found, RangeMarket):
            merge_record(found, whole)
            merge_record(found, {"t": whole, "fd": row, "mts": row, "mos": row, "itode": row})
        else:
            assert found.reason
    read_event(whole)
    read_event({"slug": row, "markets": [fields, whole]})
