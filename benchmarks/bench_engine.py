"""The market engine: a frame in, the sets that pay now out."""

from collections.abc import Callable
from time import monotonic_ns as now_ns
from typing import Any

import msgspec

from benchmarks import inputs, market
from benchmarks.baselines import engine as plain
from benchmarks.bench_wire import Paced
from benchmarks.harness import Row
from polyexec import _impl
from polyexec.core.market_events import PriceChanges, decode_frame
from polyexec.core.opportunities import SignalBuilder
from polyexec.engine.following import FeedSettings
from polyexec.engine.keeping import BookKeeper
from polyexec.enums import Side
from polyexec.models import TokenId
from polyexec.signals import Signal

FRAMES = 400
NOW_MS = inputs.TIMESTAMP_MS + 1_000
BURST = 100
PLAIN = "orjson and dicts"
SETTINGS = {
    "min_profit_micro": 1_000,
    "min_profit_bps": 5,
    "cooldown_ns": 5_000_000_000,
    "max_size_micro": 1_000_000_000,
    "max_age_ns": 3_600_000_000_000,
}


class Engine:
    """Table and evaluator behind a typed decoder, as a feed wires them."""

    def __init__(self, watched: market.Watched, settings: dict[str, int] = SETTINGS) -> None:
        self.table = _impl.PriceTable(1 << 16)
        self.evaluator = _impl.Evaluator(self.table, **settings)
        now = now_ns()
        for token, sides in watched.books.items():
            bids, asks = (
                [(market.text(price, 4), market.text(size, 6)) for price, size in levels]
                for levels in sides
            )
            slot = self.table.add(token, market.TICK_E4)
            flags = self.table.load_book(
                slot, bids, asks, tick_e4=market.TICK_E4, time_ms=0, received_ns=now
            )
            assert flags > 0
        for form in watched.forms:
            self.evaluator.add(form)
        self.apply = self.evaluator.apply_changes
        self.decode = msgspec.json.Decoder(PriceChanges).decode

    def on_frame(self, frame: bytes) -> tuple[Any, ...]:
        event = self.decode(frame)
        refused, found = self.apply(event.price_changes, event.timestamp, now_ns())
        if refused:
            raise ValueError(f"{refused}: {event}")
        return found


class Fed(Engine):
    """The same behind the feed's own keeper: doubts, staleness and hashes are kept up too."""

    def __init__(
        self,
        watched: market.Watched,
        settings: dict[str, int] = SETTINGS,
        submit: Callable[[Signal], object] | None = None,
    ) -> None:
        super().__init__(watched, settings)
        self.submit = submit
        self.builder = SignalBuilder()
        self.keeper = BookKeeper(
            self.table, FeedSettings(), on_touched=self.on_touched, on_wanted=lambda _: None
        )
        for token in watched.books:
            followed = self.keeper.follow(TokenId(token), 0)
            followed.is_loaded = True

    def on_touched(self, slot: int) -> None:
        for found in self.evaluator.touched(slot, now_ns()):
            if self.submit is not None:
                self.submit(self.builder.build(found, NOW_MS))

    def on_frame(self, frame: bytes) -> tuple[Any, ...]:
        received = now_ns()
        took = self.keeper.take(
            decode_frame(frame), owner=0, now_s=0.0, now_ms=NOW_MS, received_ns=received
        )
        if not took:
            raise ValueError(f"not taken: {self.keeper.counts}")
        return ()


def rows() -> list[Row]:
    watched = market.watched(500)
    frames = market.frames(watched.pairs, watched.books, FRAMES)
    return [
        Row(
            "engine_100_price_changes",
            f"{BURST} price_change frames in a row, of a random market of 500 trios (2,000 sets of "
            "legs): each decoded, its two changes applied and checked against the stated best "
            "prices, every set that takes a changed side evaluated; the other keeps dicts of "
            "integers and does the same. Decoding takes half of it",
            plain.player(Engine(watched), frames, BURST),
            {
                PLAIN: plain.player(
                    plain.Engine(watched.books, watched.forms, SETTINGS), frames, BURST
                )
            },
            check=lambda: check(watched, frames),
        ),
        Row(
            "engine_feed_100_price_changes",
            "the same through the live feed's keeper, which also doubts books, keeps up what "
            "hashes need and notes who was heard",
            plain.player(Fed(watched), frames, BURST),
            {
                PLAIN: plain.player(
                    plain.Engine(watched.books, watched.forms, SETTINGS), frames, BURST
                )
            },
        ),
        *_by_count(),
        _find_row(watched),
        _submit_row(),
    ]


def _by_count() -> list[Row]:
    """Return the same changes to the same ten trios, with more and more others watched beside."""
    ten = market.watched(10)
    hot = market.frames(ten.pairs, ten.books, FRAMES)
    calls = {}
    for trios in (10, 1_000, 10_000):
        watched = market.watched(trios)
        calls[f"{trios:,} trios"] = plain.player(Engine(watched), hot, BURST)
    everywhere = market.frames(watched.pairs, watched.books, FRAMES)
    most = calls.pop("10,000 trios")
    return [
        Row(
            "engine_10000_trios",
            f"{BURST} price_change frames with 10,000 trios watched, the changes in ten of them; "
            "beside it the same frames with fewer watched. What is not touched costs nothing",
            most,
            calls,
        ),
        Row(
            "engine_10000_trios_cold",
            "the same with the changes anywhere in the 10,000: what memory costs when the books "
            "fit no cache",
            plain.player(Engine(watched), everywhere, BURST),
        ),
    ]


def _submit_row() -> Row:
    """Return what lies between a frame and the call of ``submit``, for one that makes a set pay."""
    watched = market.watched(10)
    child = watched.pairs[-1]
    books = {
        token: ({price: size for price, size in bids}, {price: size for price, size in asks})
        for token, (bids, asks) in watched.books.items()
    }
    size = 500_000_000
    # Nobody quotes the child, so that a bid in the middle crosses nothing.
    books[child[market.YES]] = ({100: size}, {9_900: size})
    books[child[market.NO]] = ({100: size}, {9_900: size})
    for token, (bids, asks) in books.items():
        watched.books[token] = sorted(bids.items()), sorted(asks.items(), reverse=True)
    pays = market._frame(books, child, 0, 6_000, size)
    ends = market._frame(books, child, 0, 6_000, 0)
    submitted: list[Signal] = []
    engine = Fed(watched, SETTINGS | {"cooldown_ns": 0}, submitted.append)

    def frame() -> None:
        submitted.clear()
        engine.on_frame(pays)

    def ended() -> None:
        assert submitted
        engine.on_frame(ends)

    return Row(
        "engine_frame_to_submit",
        "one price_change frame that makes sets pay, from its bytes to the calls of submit: "
        "decode, apply, evaluate, signals",
        Paced(frame, ended),
    )


def _find_row(watched: market.Watched) -> Row:
    """Return what the signal of a find costs."""
    engine = Engine(watched)
    form = watched.forms[0]
    for leg in form.legs:
        # Orders at prices that make the set pay.
        slot = engine.table.slot(leg.token_id)
        best_e4 = 9_000 if leg.side is Side.SELL else 1_000
        levels = [(market.text(best_e4, 4), "100")]
        bids, asks = (levels, []) if leg.side is Side.SELL else ([], levels)
        engine.table.load_book(slot, bids, asks, tick_e4=0, time_ms=1, received_ns=now_ns())
    slot = engine.table.slot(form.legs[1].token_id)
    builder = SignalBuilder()
    touched, now = engine.evaluator.touched, now_ns()
    (found,) = (one for one in touched(slot, now) if one.form is form)
    return Row(
        "engine_signal",
        "the signal of a find: three quotes and the record around them",
        lambda: builder.build(found, 1),
    )


def check(watched: market.Watched, frames: list[bytes]) -> None:
    """Hold both engines to the same finds and the same bests over a whole round of frames."""
    settings = SETTINGS | {"cooldown_ns": 0}
    ours = Engine(watched, settings)
    other = plain.Engine(watched.books, watched.forms, settings)
    finds = 0
    for frame in frames:
        mine = ours.on_frame(frame)
        theirs = other.on_frame(frame)
        finds += len(mine)
        assert [(one.form, one.size_micro, one.net_micro) for one in mine] == [
            (form, size, net) for form, size, _, net in theirs
        ]
    assert finds > len(frames) // 100
    for token, book in other.books.items():
        top = ours.table.top(ours.table.slot(token))
        assert (top.best_bid_e4, top.best_ask_e4) == (book.best_bid, book.best_ask)
