"""A tape plays what its sources said: the same books, finds and trades."""

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

pytest.importorskip("pyarrow", reason="tapes need pyarrow")

import polyexec as px
from benchmarks import market
from polyexec._pure.tapes import COLUMNS, Kind, Stop
from polyexec.backtest import Tape, cache, run
from polyexec.backtest.readers import DataApiTrades
from polyexec.backtest.stream import Coverage, Stamped
from polyexec.core.market_events import decode_frame
from polyexec.engine.following import FeedSettings
from polyexec.engine.keeping import BookKeeper
from polyexec.models import TokenId
from tests.implementations import BOTH

START_MS = 1_790_000_000_000
TRIOS = 80
SETTINGS = {"order_type": "FOK", "opportunity_timeout_ms": 0}


class Listed:
    """A source out of a list."""

    truth = "L2"

    def __init__(self, events: Sequence[Stamped], name: str = "listed") -> None:
        self._events, self.name = events, name

    def events(self) -> Iterator[Stamped]:
        return iter(self._events)

    def coverage(self) -> Coverage:
        return Coverage(is_partial=True, detail="12 of 24 hours")


def recorded(seed: int, count: int = 600) -> list[Stamped]:
    """Return books, changes and everything that can be wrong with them."""
    random = Random(seed)
    watched = market.watched(TRIOS)
    found: list[Stamped] = []
    now_ns = START_MS * 10**6

    def say(frame: Any) -> None:
        data = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        found.append(Stamped(received_ns=now_ns, frame=data))

    for token, (bids, asks) in watched.books.items():
        say(_book(token, bids, asks, START_MS))
    for number, frame in enumerate(market.frames(watched.pairs, watched.books, count)):
        now_ns += random.choice((0, 0, 10**5, 10**6, 10**9))
        event = json.loads(frame)
        event["timestamp"] = str(now_ns // 10**6)
        token = random.choice(event["price_changes"])["asset_id"]
        what = random.randrange(40)
        if what == 0:
            found.append(Stamped(received_ns=now_ns, kind="gap", tokens=(token,)))
        elif what == 1:
            say({"event_type": "last_trade_price", "asset_id": token, "price": "0.5",
                 "size": "7", "side": "BUY", "timestamp": event["timestamp"]})  # fmt: skip
        elif what == 2:
            field = random.choice(("price", "size", "side", "best_bid", "best_ask"))
            text = random.choice(("", "x", "0.12345", "9", "-1", "0.0333", "99999999999999999999"))
            event["price_changes"][-1][field] = text
        elif what == 3:
            event["timestamp"] = random.choice(("", "never", "1", str(START_MS + 10**8)))
        elif what == 4:
            say({"event_type": "tick_size_change", "asset_id": token, "old_tick_size": "0.001",
                 "new_tick_size": random.choice(("0.01", "0.0001")),
                 "timestamp": event["timestamp"]})  # fmt: skip
        elif what == 5:
            say(b'{"event_type": "price_change", "market": "0x' + b"4f" * 32 + b'"}')
        elif what == 6:
            say([event, event])
            continue
        elif what == 7:
            event["price_changes"].append(event["price_changes"][0])
        elif what < 14 or number % 10 == 0:
            bids, asks = watched.books[token]
            say(_book(token, bids, asks, now_ns // 10**6, bad=what == 8))
            continue
        say(event)
    token = watched.forms[0].legs[0].token_id
    say(_book(token, *watched.books[token], now_ns // 10**6))
    old = {"asset_id": token, "side": "BUY", "price": "0.001", "size": "1"}
    say({"event_type": "price_change", "price_changes": [old], "timestamp": str(START_MS)})
    found.append(
        Stamped(received_ns=now_ns, kind="resolution", tokens=(token,), pays_micro=500_000)
    )
    return found


def _book(token: str, bids: Any, asks: Any, time_ms: int, *, bad: bool = False) -> dict[str, Any]:
    sides = [
        [{"price": market.text(price, 4), "size": market.text(size, 6)} for price, size in levels]
        for levels in (bids, asks)
    ]
    if bad:
        sides[0].append(sides[0][0])
    return {"event_type": "book", "asset_id": token, "timestamp": str(time_ms),
            "tick_size": "0.001", "bids": sides[0], "asks": sides[1]}  # fmt: skip


def blocks(tape: Tape) -> Iterator[list[Any]]:
    for block in tape.blocks():
        yield [array(code, column) for (_, code), column in zip(COLUMNS, block, strict=True)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("functions", BOTH)
def test_leaves_the_books_that_the_live_keeper_leaves(
    functions: Any, seed: int, tmp_path: Path
) -> None:
    events = recorded(seed)
    tape = cache(Listed(events), tmp_path / "a.tape")
    forms = market.watched(TRIOS).forms
    figures = {"min_profit_micro": 1_000, "min_profit_bps": 5, "cooldown_ns": 10**9,
               "max_size_micro": 10**9, "max_age_ns": 10**12}  # fmt: skip
    found: list[list[tuple[Any, ...]]] = [[], []]

    live = functions.PriceTable(1000)
    evaluator = functions.Evaluator(live, **figures)
    touched: list[int] = []
    keeper = BookKeeper(live, FeedSettings(), on_touched=touched.append, on_wanted=lambda _: None)
    for form in forms:
        evaluator.add(form)
    tokens = {leg.token_id: leg.market for form in forms for leg in form.legs}
    for token, described in tokens.items():
        keeper.describe(described)
        keeper.follow(token, 0)

    def take(one: Stamped) -> None:
        if one.kind == "gap":
            if one.tokens[0] in keeper.tokens:
                keeper.void(keeper.tokens[TokenId(one.tokens[0])])
        elif one.frame is not None:
            # Each event is a message, as a player has it.
            for event in decode_frame(one.frame):
                touched.clear()
                keeper.take(
                    [event],
                    owner=0,
                    now_s=1.0,
                    now_ms=one.received_ns // 10**6,
                    received_ns=one.received_ns,
                )
                found[0].extend(
                    (each.form.legs, each.limits_e4, each.size_micro, one.received_ns)
                    for slot in touched
                    for each in evaluator.touched(slot, one.received_ns)
                )

    for one in events:
        take(one)

    table = functions.PriceTable(1000)
    second = functions.Evaluator(table, **figures)
    for form in forms:
        second.add(form)
    slots = [table.slot(token) for token in tape.tokens]
    player = functions.TapePlayer(second, table, slots, ahead_ms=FeedSettings().ahead_ms)
    for block in blocks(tape):
        player.load(block)
        while (why := player.play(2**63 - 1)) is not Stop.END:
            if why is Stop.FOUND:
                found[1].extend(
                    (each.form.legs, each.limits_e4, each.size_micro, player.received_ns)
                    for finds in player.finds
                    for each in finds
                )
            else:
                kind, number = block[2][player.row - 1], block[4][player.row - 1]
                token = tape.tokens[number] if number >= 0 else ""
                if kind == Kind.GAP:
                    for each in tokens if token.startswith("@") else [token]:
                        if each in table:
                            table.invalidate(table.slot(each))
                elif kind == Kind.TICK and token in table:
                    table.start_epoch(table.slot(token), block[6][player.row - 1])
    assert found[0] == found[1]
    assert found[0]
    for token in tokens:
        old, new = live.slot(token), table.slot(token)
        assert live.top(old)._replace(epoch=0) == table.top(new)._replace(epoch=0), token
        for side in ("BUY", "SELL"):
            assert live.levels(old, side) == table.levels(new, side)
    counts, of_player = keeper.counts, player.counts()
    assert (counts.books, counts.changes, counts.old, counts.unloaded) == tuple(
        of_player[name] for name in ("books", "changes", "old", "unloaded")
    )
    assert of_player["books"]
    assert of_player["old"]
    assert player.faults_by_number()


@pytest.mark.parametrize("seed", range(3))
def test_a_backtest_of_a_tape_is_the_backtest_of_its_sources(seed: int, tmp_path: Path) -> None:
    source = Listed(recorded(seed))
    tape = cache(source, tmp_path / "a.tape")
    arguments: dict[str, Any] = {"forms": market.watched(TRIOS).forms, "config": SETTINGS}
    plain, fast = run(None, source, **arguments), run(None, tape, **arguments)
    assert plain.digest == fast.digest
    assert plain.legs
    again = run(None, Listed(list(tape.events())), **arguments)
    assert again.digest == plain.digest
    assert fast.partial == (f"{tape.name}: 12 of 24 hours",)
    cancelled = run(None, tape, stop=_Set(), **arguments)
    assert cancelled.is_cancelled


class _Set:
    def is_set(self) -> bool:
        return True


def test_a_strategy_is_called_as_often_and_sees_the_same(tmp_path: Path) -> None:
    source = Listed(recorded(9, 200))
    forms = market.watched(TRIOS).forms
    token = forms[0].legs[0].token_id

    def seen_of(data: Any) -> list[Any]:
        seen: list[Any] = []

        def rest_once(books: Any, now_ms: int) -> Any:
            top = books.top(token)
            seen.append((now_ms, top))
            if len(seen) == 5 and top.best_bid_e4:
                leg = px.Leg(token, "BUY", top.best_bid_e4 / 10_000, 10, "GTC", tick_size="0.001",
                             fee_rate="0.07")  # fmt: skip
                return px.LegsSignal([leg])
            return None

        seen.append(run(rest_once, data, forms=forms, config={}).digest)
        return seen

    assert seen_of(source) == seen_of(cache(source, tmp_path / "a.tape"))


def test_is_made_once_and_anew_when_a_file_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "frames.jsonl"
    book = _book("7", [(4_000, 10**7)], [(6_000, 10**7)], START_MS)
    file.write_text(json.dumps(book) + "\n")
    source, path = px.backtest.open_source(file), tmp_path / "frames.tape"
    first = cache(source, path)
    made = path.stat().st_mtime_ns
    assert cache(source, path).made_of == first.made_of
    assert path.stat().st_mtime_ns == made
    later = {**book, "timestamp": str(START_MS + 1)}
    file.write_text("\n".join(json.dumps(one) for one in (book, later)))
    assert len(list(cache(source, path).events())) == 2
    path.write_bytes(path.read_bytes()[:-9])
    assert len(list(cache(source, path).events())) == 2
    os.utime(path)
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".part"] == []


def test_is_made_anew_for_other_options_and_for_every_file(tmp_path: Path) -> None:
    files, path = [tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "trades.tape"
    for number, file in enumerate(files, 1):
        lines = [f"{START_MS // 1000 + number},{token},0.4,5,BUY" for token in (7, 8)]
        file.write_text("\n".join(["timestamp,asset,price,size,side", *lines]))

    def tokens_of(*tokens: str) -> list[str]:
        source = DataApiTrades(files, tokens=tokens or None)
        return [one.event.asset_id for one in cache(source, path).events() if one.event]  # type: ignore[union-attr]

    assert tokens_of("7") == ["7", "7"]
    made = path.stat().st_ino, path.stat().st_mtime_ns
    assert tokens_of("7") == ["7", "7"]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == made
    assert tokens_of("8") == ["8", "8"]
    assert tokens_of() == ["7", "8", "7", "8"]
    files[1].write_text(files[0].read_text())
    assert len(tokens_of("7")) == 1  # the same trade, once


def test_what_is_no_tape_is_refused_and_a_bad_source_leaves_none(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    import pyarrow as arrow

    with pytest.raises(px.InputError, match="cannot be read"):
        Tape(tmp_path / "none")
    (tmp_path / "text").write_text("no")
    with pytest.raises(px.InputError, match="cannot be read"):
        Tape(tmp_path / "text")
    pyarrow.write_table(arrow.table({"a": [1]}), tmp_path / "other")
    with pytest.raises(px.InputError, match="is not a tape"):
        Tape(tmp_path / "other")
    file = tmp_path / "frames.jsonl"
    file.write_text(json.dumps(_book("7", [], [], START_MS)) + "\n{}\n")
    with pytest.raises(px.InputError, match=":2"):
        cache(px.backtest.open_source(file), tmp_path / "a.tape")
    assert not (tmp_path / "a.tape").exists()
    with pytest.raises(px.InputError, match="cannot be written"):
        cache(Listed([]), tmp_path / "nowhere" / "a.tape")
    with pytest.raises(px.InputError, match="no event"):
        run(None, cache(Listed([]), tmp_path / "b.tape"), forms=market.watched(1).forms)


@pytest.mark.parametrize("functions", BOTH)
def test_blocks_that_end_too_early_are_refused(functions: Any) -> None:
    table = functions.PriceTable(4)
    evaluator = functions.Evaluator(table, min_profit_micro=0, min_profit_bps=0, cooldown_ns=0,
                                    max_size_micro=1, max_age_ns=1)  # fmt: skip
    slot = table.add("7")
    player = functions.TapePlayer(evaluator, table, [slot], ahead_ms=0)
    row = dict.fromkeys((name for name, _ in COLUMNS), 0)

    def block(**changes: int) -> list[Any]:
        return [array(code, [(row | changes)[name]]) for name, code in COLUMNS]

    player.load(block(kind=Kind.CHANGE))
    with pytest.raises(ValueError, match="within a message"):
        player.play(1)
    player.load(block(kind=Kind.BOOK, size_micro=1, is_last=1))
    with pytest.raises(ValueError, match="within a book"):
        player.play(1)
    player.load(block(kind=Kind.BOOK, size_micro=-1, is_last=1))
    with pytest.raises(ValueError, match="within a book"):
        player.play(1)
    with pytest.raises(ValueError, match="columns must be"):
        player.load([])
    uneven = block()
    uneven[3].append(1)
    with pytest.raises(ValueError, match="is_last has 2 rows, not 1"):
        player.load(uneven)
    with pytest.raises(IndexError):
        functions.TapePlayer(evaluator, table, [3], ahead_ms=0)
    with pytest.raises(ValueError, match="the one that the evaluator reads"):
        functions.TapePlayer(evaluator, functions.PriceTable(1), [], ahead_ms=0)


def test_books_of_one_frame_are_looked_at_one_by_one_as_a_feed_does(tmp_path: Path) -> None:
    watched = market.watched(TRIOS)
    first = [_book(token, *book, START_MS) for token, book in watched.books.items()]
    source = Listed([Stamped(received_ns=START_MS * 10**6, frame=json.dumps(first).encode())])
    arguments: dict[str, Any] = {"forms": watched.forms, "config": SETTINGS}
    plain = run(None, source, **arguments)
    tape = run(None, cache(source, tmp_path / "a.tape"), **arguments)
    assert plain.trades
    assert plain.digest == tape.digest


def test_the_report_of_a_tape_is_that_of_its_sources(tmp_path: Path) -> None:
    source = Listed(recorded(1))
    arguments: dict[str, Any] = {"forms": market.watched(TRIOS).forms, "config": SETTINGS}
    plain = run(None, source, **arguments)
    tape = run(None, cache(source, tmp_path / "a.tape"), **arguments)
    assert len({point.value_micro for point in plain.curve}) > 3
    # A tape leaves out what is no news of a book, and has a name of its own.
    same = {"events": 0, "partial": ()}
    assert msgspec.structs.replace(plain, **same) == msgspec.structs.replace(tape, **same)


def test_a_trade_of_the_other_token_reaches_a_resting_order_on_a_tape(tmp_path: Path) -> None:
    form = market.watched(TRIOS).forms[0]
    leg = form.legs[0]

    def say(event: dict[str, Any], after_ms: int) -> Stamped:
        now_ms = START_MS + after_ms
        event |= {"timestamp": str(now_ms)}
        return Stamped(received_ns=now_ms * 10**6, frame=json.dumps(event).encode())

    trade = {"event_type": "last_trade_price", "asset_id": leg.complement_token_id,
             "price": "0.65", "size": "7", "side": "BUY"}  # fmt: skip
    book = _book(leg.token_id, [(4_000, 10**7)], [(6_000, 10**7)], START_MS)
    source = Listed([say(book, 0), say(trade, 1_000), say(book, 2_000)])

    def rest(books: Any, now_ms: int) -> Any:
        if now_ms > START_MS:
            return None
        return px.LegsSignal(
            [px.Leg(leg.token_id, "BUY", "0.4", 10, "GTC", tick_size="0.001", fee_rate="0.07")]
        )

    def bought(data: Any) -> list[int]:
        return [fill.shares_micro for fill in run(rest, data, forms=[form], config={}).fills]

    assert bought(source) == bought(cache(source, tmp_path / "a.tape")) == [7 * 10**6]


def test_a_fault_ends_own_impact_on_a_tape_too(tmp_path: Path) -> None:
    form = market.watched(TRIOS).forms[0]
    token = form.legs[0].token_id

    def say(event: dict[str, Any], after_ms: int) -> Stamped:
        now_ms = START_MS + after_ms
        data = json.dumps({**event, "timestamp": str(now_ms)}).encode()
        return Stamped(received_ns=now_ms * 10**6, frame=data)

    book = _book(token, [(4_000, 10**7)], [(6_000, 5 * 10**7)], START_MS)
    change = {"asset_id": token, "side": "BUY", "price": "0.39", "size": "1", "best_bid": "0.7"}
    torn = {"event_type": "price_change", "price_changes": [change]}
    source = Listed([say(book, 0), say(torn, 1_000), say(book, 2_000), say(book, 3_000)])

    def take(books: Any, now_ms: int) -> Any:
        terms: dict[str, Any] = {"tick_size": "0.001", "fee_rate": "0.07"}
        return px.LegsSignal([px.Leg(token, "BUY", "0.6", 40, "FAK", **terms)])

    def bought(data: Any) -> list[int]:
        return [fill.shares_micro for fill in run(take, data, forms=[form], config=SETTINGS).fills]

    # The book that comes after the fault is another one, and the rest of it is the rest of it.
    plain = bought(source)
    assert plain == [40 * 10**6, 40 * 10**6, 10 * 10**6]
    assert bought(cache(source, tmp_path / "a.tape")) == plain


def test_a_market_without_a_winner_pays_nobody_on_a_tape_either(tmp_path: Path) -> None:
    leg = market.watched(TRIOS).forms[0].legs[0]
    drawn = {"event_type": "market_resolved", "assets_ids": [leg.token_id, leg.complement_token_id],
             "winning_asset_id": "", "market": "0x00", "timestamp": str(START_MS)}  # fmt: skip
    source = Listed([Stamped(received_ns=START_MS * 10**6, frame=json.dumps(drawn).encode())])
    assert [*cache(source, tmp_path / "a.tape").events()] == []
