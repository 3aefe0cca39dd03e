"""Groups from the paper exchange's metadata and order book, over real TLS and HTTP/2."""

import json
import re
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from polyexec.clob.client import ClobClient
from polyexec.clob.gamma import GammaClient
from polyexec.core.forms import Form
from polyexec.core.range_overrides import RangeOverrides
from polyexec.core.ranges import RangeMarket, read_market
from polyexec.engine.groups import GroupBook, load_overrides
from polyexec.enums import Generation, Strategy
from polyexec.errors import (
    ConfigError,
    NotSentError,
    UnexpectedResponseError,
    VenueError,
)
from polyexec.paper import Fault, Listing, PaperExchange, PaperMarket, Request, Response

from . import ladders
from .ladders import ABOVE, AT_OR_ABOVE, BRACKET, money

STRIKES = (76_000, 78_000, 80_000)
DAY_MS = 86_400_000
NOW_MS = ladders.INSTANT_MS - DAY_MS


class Times:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def steady_s(self) -> float:
        return self.now_ms / 1000


class World:
    """A paper exchange with the two ladders of an expiry, and a book of its groups."""

    def __init__(self, exchange: PaperExchange, gamma: GammaClient, clob: ClobClient) -> None:
        self.exchange, self.gamma, self.clob = exchange, gamma, clob
        self.times = Times()
        self.markets: dict[str, PaperMarket] = {}
        self.listings: dict[str, Listing] = {}

    def book(self, **options: Any) -> GroupBook:
        return GroupBook(
            self.gamma,
            self.clob.market_record,
            tags=("bitcoin",),
            now_ms=lambda: self.times.now_ms,
            steady_s=self.times.steady_s,
            **options,
        )

    def add_ladders(self, above: str = AT_OR_ABOVE, **changes: Any) -> None:
        for strike in STRIKES:
            question = f"Will the price of Bitcoin be above ${money(strike)} on July 4?"
            self.add(f"above-{strike}", question, above, "a", money(strike), neg_risk=False)
        for low, high in pairwise(STRIKES):
            between = f"be between ${money(low)} and ${money(high)}"
            question = f"Will the price of Bitcoin {between} on July 4?"
            title = f"{money(low)}-{money(high)}"
            self.add(f"between-{low}", question, BRACKET, "b", title, neg_risk=True, **changes)
        question = f"Will the price of Bitcoin be less than ${money(STRIKES[0])} on July 4?"
        self.add("below", question, BRACKET, "b", f"<{money(STRIKES[0])}", neg_risk=True)
        question = f"Will the price of Bitcoin be greater than ${money(STRIKES[-1])} on July 4?"
        self.add("tail", question, BRACKET, "b", f">{money(STRIKES[-1])}", neg_risk=True)

    def add(
        self,
        slug: str,
        question: str,
        description: str,
        event: str,
        title: str,
        *,
        neg_risk: bool,
        generation: Generation = Generation.CLOB_V2,
        augmented: bool = False,
    ) -> None:
        market = self.exchange.add_market(
            slug, neg_risk=neg_risk, fee_rate="0.07", generation=generation
        )
        listing = Listing(
            question=question,
            description=description,
            end_ms=ladders.INSTANT_MS,
            event_slug=event,
            group_item_title=title,
            tags=("bitcoin", "crypto"),
            augmented=augmented,
        )
        self.markets[slug] = market
        self.list(slug, listing)

    def list(self, slug: str, listing: Listing) -> None:
        self.listings[slug] = listing
        self.exchange.list_market(self.markets[slug], listing)

    def change(self, slug: str, **fields: Any) -> None:
        old = self.listings[slug]
        kept = {name: getattr(old, name) for name in Listing.__dataclass_fields__}
        self.list(slug, Listing(**(kept | fields)))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with PaperExchange() as exchange:
        trust = exchange.ssl_context
        async with (
            GammaClient(exchange.url, ssl_context=trust) as gamma,
            ClobClient(exchange.url, ssl_context=trust) as clob,
        ):
            yield World(exchange, gamma, clob)


def children(forms: tuple[Form, ...]) -> set[tuple[str, ...]]:
    return {tuple(leg.market.market_slug for leg in form.legs[2:]) for form in forms}


async def test_ladders_of_the_exchange_become_forms(world: World) -> None:
    world.add_ladders()
    book = world.book()
    change = await book.refresh()
    assert change.added == book.forms
    assert change.removed == ()
    (group,) = book.groups
    assert group.key == "btc-2026-07-04T16:00:00.000Z"
    assert children(book.forms) == {
        ("between-76000",),
        ("between-78000",),
        ("between-76000", "between-78000"),
    }
    # Two trios of strikes and one that ends in the tail; two chains of both children, mirrored.
    assert len(book.forms) == 3 * 4 + 2 * 2
    triangle = next(
        form
        for form in book.forms
        if form.strategy is Strategy.POLYMARKET_TRIANGLE_BUY
        and form.legs[0].market.market_slug == "above-76000"
    )
    p, u, c = (world.markets[s] for s in ("above-76000", "above-78000", "between-76000"))
    assert [leg.token_id for leg in triangle.legs] == [p.yes, u.no, c.no]
    assert not await book.refresh()
    assert "1 groups, 3 trios" not in repr(book)
    assert repr(book) == "GroupBook(1 groups, 5 trios, 16 forms)"


async def test_other_asset_of_generation_three(world: World) -> None:
    world.add_ladders(generation=Generation.EXCHANGE_V3)
    book = world.book(most_children=1)
    await book.refresh()
    assert len(book.forms) == 12
    legs = {leg.market.generation for form in book.forms for leg in form.legs}
    assert legs == {Generation.CLOB_V2, Generation.EXCHANGE_V3}


async def test_the_real_wording_needs_the_risk_to_be_accepted(world: World) -> None:
    world.add_ladders(ABOVE)
    book = world.book()
    await book.refresh()
    assert book.forms == ()
    assert "unproven for boundary" in book.explain()
    assert "at exactly 76000 yes is paid by between-76000" in book.explain()
    accepting = world.book(overrides=RangeOverrides(accepted=frozenset({"btc"})))
    await accepting.refresh()
    assert len(accepting.forms) == 16


async def test_a_changed_tick_gives_new_forms(world: World) -> None:
    world.add_ladders()
    book = world.book(most_children=1)
    before = (await book.refresh()).added
    market = world.markets["above-76000"]
    world.exchange.set_tick_size(market.yes, "0.001")
    assert not await book.refresh()  # the record is young
    book.forget(before[0].legs[0].market.condition_id)
    change = await book.refresh()
    touched = {f for f in before if market.slug in {leg.market.market_slug for leg in f.legs}}
    assert set(change.removed) == touched
    assert len(change.added) == len(touched) == 4
    ticks = {leg.market.tick_e4 for f in change.added for leg in f.legs}
    assert ticks == {10, 100}


async def test_a_market_that_takes_no_orders_leaves_and_comes_back(world: World) -> None:
    world.add_ladders()
    book = world.book()
    added = (await book.refresh()).added
    for fields in ({"accepting_orders": False}, {"closed": True}):
        world.change("between-76000", **fields)
        change = await book.refresh()
        assert change.added == ()
        assert children(change.removed) == {
            ("between-76000",),
            ("between-76000", "between-78000"),
        }
        assert "open: between-76000: it takes no orders" in book.explain()
        world.change("between-76000", accepting_orders=True, closed=False)
        assert set((await book.refresh()).added) == set(change.removed)
    assert set(book.forms) == set(added)


async def test_an_expired_group_leaves_before_its_instant(world: World) -> None:
    world.add_ladders()
    book = world.book(margin_s=60)
    forms = (await book.refresh()).added
    world.times.now_ms = ladders.INSTANT_MS - 60_001
    assert not book.expire()
    assert not await book.refresh()
    world.times.now_ms += 1
    change = book.expire()
    assert set(change.removed) == set(forms)
    assert (book.forms, book.groups) == ((), ())
    # The exchange still shows it.
    assert not await book.refresh()
    assert book.groups == ()


async def test_groups_beyond_the_horizon_are_not_looked_at(world: World) -> None:
    world.add_ladders()
    assert not await world.book(horizon_s=DAY_MS / 1000 - 1).refresh()
    assert await world.book(horizon_s=DAY_MS / 1000).refresh()


async def test_records_are_asked_for_once_in_a_while(world: World) -> None:
    world.add_ladders()
    asked: list[str] = []

    async def look(request: Request) -> None:
        if request.path.startswith("/clob-markets/"):
            asked.append(request.path)

    world.exchange.on_request = look
    book = world.book(record_age_s=600)
    await book.refresh()
    # Every market that can be a leg: not "less than".
    assert len(asked) == len(set(asked)) == 6
    world.times.now_ms += 299_000
    await book.refresh()
    assert len(asked) == 6
    world.times.now_ms += 1_000
    await book.refresh()
    assert len(asked) == 12


async def test_an_order_book_that_does_not_answer_makes_legs_unproven_in_time(world: World) -> None:
    world.add_ladders()
    book = world.book(record_age_s=600)
    forms = (await book.refresh()).added
    refused = [Response(500, b"{}")]

    async def refuse(request: Request) -> Response | None:
        return refused[0] if request.path.startswith("/clob-markets/") else None

    world.exchange.on_request = refuse
    world.times.now_ms += 599_000
    assert not await book.refresh()
    world.times.now_ms += 1_000
    for answer in (refused[0], Response(200, b"[]"), Response(200, b"nonsense")):
        refused[0] = answer
        change = await book.refresh()
        assert (set(change.removed), book.forms) == (set(forms), ())
        assert "order book's record" in book.explain()
        world.exchange.on_request = None
        book._records.clear()
        assert set((await book.refresh()).added) == set(forms)
        world.exchange.on_request = refuse
        book._records.clear()


async def test_metadata_that_cannot_be_read_leaves_everything_as_it_was(world: World) -> None:
    world.add_ladders()
    book = world.book()
    forms = (await book.refresh()).added
    answers: list[tuple[Response | Fault, type[Exception]]] = [
        (Response(503, b"{}"), VenueError),
        (Response(200, b"{}"), UnexpectedResponseError),
        (Response(200, b"[" * 100_000), UnexpectedResponseError),
        (Response(200, b"<html>"), UnexpectedResponseError),
        (Response(302, b"", {"location": "https://elsewhere.example"}), VenueError),
    ]
    for answer, error in answers:

        async def instead(_: Request, answer: Response | Fault = answer) -> Response | Fault:
            return answer

        world.exchange.on_request = instead
        with pytest.raises(error):
            await book.refresh()
        assert book.forms == forms
    world.times.now_ms = ladders.INSTANT_MS
    assert set(book.expire().removed) == set(forms)


async def test_odd_rows_are_told_and_passed_over(world: World) -> None:
    world.add_ladders()
    rows: list[Any] = [None, 7, {}, {"id": "e", "slug": "x", "markets": [None, {"slug": "s"}]}]
    good = await world.gamma.events(tag_slug="bitcoin")

    async def instead(request: Request) -> Response | None:
        if request.path != "/events":
            return None
        return Response(200, json.dumps(rows + good, default=float).encode())

    world.exchange.on_request = instead
    book = world.book()
    await book.refresh()
    assert len(book.forms) == 16
    assert len(book.unread) >= 3
    assert all(item.reason for item in book.unread)


async def test_pages_are_read_to_their_end_and_no_row_twice(world: World) -> None:
    pages: list[Callable[[], list[Any]]] = [
        lambda: [{"id": str(n)} for n in range(100)],
        lambda: [{"id": str(n)} for n in range(99, 199)],
        lambda: [{"id": "200"}],
    ]
    seen: list[str] = []

    async def instead(request: Request) -> Response:
        seen.append(request.query["offset"])
        return Response(200, json.dumps(pages[int(seen[-1]) // 100]()).encode())

    world.exchange.on_request = instead
    rows = await world.gamma.events()
    assert seen == ["0", "100", "200"]
    assert len(rows) == 200

    async def endless(_: Request) -> Response:
        return Response(200, json.dumps([{"id": str(n)} for n in range(100)]).encode())

    world.exchange.on_request = endless
    with pytest.raises(UnexpectedResponseError, match="pages"):
        await world.gamma.events()


async def test_a_single_market_is_found_by_its_condition(world: World) -> None:
    world.add_ladders()
    market = world.markets["above-76000"]
    found = read_market(await world.gamma.market(market.condition_id))
    assert isinstance(found, RangeMarket)
    assert found.yes == market.yes
    assert await world.gamma.market("0x" + "00" * 32) is None


async def test_no_other_host_than_the_configured_one() -> None:
    for url in ("http://127.0.0.1:1", "https://u:p@h", "https://h/p", "https://"):
        with pytest.raises(ConfigError, match="gamma_url"):
            GammaClient(url)
    async with GammaClient("https://127.0.0.1:9", timeout_s=1) as client:
        assert repr(client) == "GammaClient('https://127.0.0.1:9')"
        with pytest.raises(NotSentError):
            await client.events()


async def test_questions_the_paper_exchange_cannot_read_are_refused(world: World) -> None:
    for query in ({"limit": "x"}, {"offset": "-1"}, {"end_date_min": "soon"}):
        world.add_ladders() if not world.markets else None
        answer = world.exchange.handle(Request("GET", "/events", query))
        assert answer.status == 422


# --- the overrides file ----------------------------------------------------------------------


def test_an_overrides_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "groups.toml"
    path.write_text('[asset.btc]\naccept_boundary = true\n\n[market."a-slug"]\nskip = true\n')
    overrides = load_overrides(path)
    assert overrides.accepts_boundary("btc", "")
    assert overrides.of_market("0x1", "a-slug").skip
    assert load_overrides("") == RangeOverrides()


def test_the_file_in_the_docs_is_read(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "topics" / "groups.md"
    (content,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    path = tmp_path / "groups.toml"
    path.write_text(content)
    overrides = load_overrides(path)
    assert overrides.accepts_boundary("btc", "")
    assert overrides.accepts_boundary("", "eth-2026-07-04T16:00:00.000Z")
    assert len(overrides.markets) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[market", "groups.toml"),
        (b"\xff", "groups.toml"),
        (b"[market.a]\nlower = 'x'", "groups.toml: market.a.lower='x'"),
        (b"accept_boundary = true", "groups.toml: accept_boundary"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "groups.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        load_overrides(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load_overrides(tmp_path / "missing.toml")
