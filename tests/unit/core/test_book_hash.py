"""The hash of a book, against the exchange's words and against another implementation."""

from hypothesis import given
from hypothesis import strategies as st

from polyexec.core.book_hash import HashedBook, price_text, size_text, trade_price_text
from polyexec.core.market_events import Level
from polyexec.paper.book import decimal_text
from polyexec.paper.book import price_text as paper_price_text
from polyexec.paper.views import book_hash

SIDES = st.lists(
    st.tuples(st.integers(1, 9999), st.integers(1, 10**15)), max_size=8, unique_by=lambda x: x[0]
)


@given(SIDES, SIDES, st.booleans(), st.sampled_from(["", "0.070", "0.5001"]))
def test_it_is_that_of_the_paper_exchange(
    bids: list[tuple[int, int]], asks: list[tuple[int, int]], neg_risk: bool, last: str
) -> None:
    sides = [sorted(bids, reverse=True), sorted(asks)]
    texts = [
        [{"price": paper_price_text(p), "size": decimal_text(s)} for p, s in reversed(side)]
        for side in sides
    ]
    sent = {
        "market": "0xm",
        "asset_id": "12",
        "timestamp": "1782852249137",
        "hash": "",
        "bids": texts[0],
        "asks": texts[1],
        "min_order_size": "5",
        "tick_size": "0.001",
        "neg_risk": neg_risk,
        "last_trade_price": last,
    }
    ours, theirs = map(HashedBook.levels_of, sides)
    assert ours == HashedBook.texts_of([Level(**level) for level in texts[0]])
    book = HashedBook(
        market="0xm",
        token_id="12",
        timestamp="1782852249137",
        bids=ours,
        asks=theirs,
        min_order_size="5",
        tick_size="0.001",
        neg_risk=neg_risk,
    )
    assert book.sha1(last) == book_hash(sent)
    assert book.sha1(last) == book_hash(sent)  # it can be asked again
    assert book.sha1(last + "0") != book_hash(sent)


def test_texts_are_the_shortest() -> None:
    assert [price_text(p) for p in (1, 70, 5000, 9999)] == ["0.0001", "0.007", "0.5", "0.9999"]
    assert [size_text(s) for s in (0, 1, 5_000_000, 8_534_580_000)] == [
        "0",
        "0.000001",
        "5",
        "8534.58",
    ]
    assert [trade_price_text(p) for p in ("0.07", "0.5", "0.1234", "1")] == [
        "0.070",
        "0.500",
        "0.1234",
        "1.000",
    ]
