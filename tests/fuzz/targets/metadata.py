"""Market metadata: any JSON gives ranges or reasons, and what is built from it holds."""

import random
from typing import Any

from polyexec.core.answers import decode_json
from polyexec.core.range_wording import RangeKind, read_description, read_question, read_title
from polyexec.core.ranges import merge_record, read_event
from polyexec.core.trios import build_groups, forms_of
from tests.engine import ladders
from tests.fuzz import generate
from tests.fuzz.registry import target

EVENTS = ladders.ladders((76_000, 78_000, 80_000, 82_000))
RECORDS = {m["conditionId"]: ladders.record(m) for e in EVENTS for m in e["markets"]}


@target("metadata.groups", refuses=(ValueError,))
def groups(source: random.Random) -> None:
    # ValueError: the body is not JSON, which is the client's to refuse.
    events = [decode_json(generate.json_bytes(source, event)) for event in EVENTS]
    _build(source, events)


@target("metadata.one_change")
def one_change(source: random.Random) -> None:
    """One field of one market, so that most of the ladder stays good."""
    events = [{**event, "markets": [dict(m) for m in event["markets"]]} for event in EVENTS]
    market = source.choice(source.choice(events)["markets"])
    market[source.choice(list(market))] = generate.json_value(source)
    assert _build(source, events) <= 9


@target("metadata.wording")
def wording(source: random.Random) -> None:
    text = source.choice(
        [m[f] for e in EVENTS for m in e["markets"] for f in ("description", "question")]
    )
    cut = sorted(source.choices(range(len(text) + 1), k=2))
    text = text[: cut[0]] + generate.text(source) * source.randrange(3) + text[cut[1] :]
    read_question(text)
    read_title(text)
    for kind in RangeKind:
        rule = read_description(text, kind)
        assert rule.problem or rule.source


def _build(source: random.Random, events: list[Any]) -> int:
    markets = []
    for event in events:
        read, unread = read_event(event)
        assert all(item.reason for item in unread)
        for market in read:
            record = RECORDS.get(market.condition_id)
            if source.random() < 0.05:
                record = generate.mutated(source, record)
            markets.append(merge_record(market, record))
    trios = [trio for group in build_groups(markets)[0] for trio in group.trios]
    for trio in trios:
        for edge in {leg.lower for leg in trio.legs} | {leg.upper for leg in trio.legs}:
            if edge is not None:
                for price in (edge - 1, edge, edge + 1):
                    paid = [leg.pays(price) for leg in trio.legs]
                    assert None not in paid
                    assert paid[0] == sum(map(bool, paid[1:]))
        for form in forms_of(trio):
            assert len(form.outcomes) == len(trio.children) + 2
    return len(trios)
