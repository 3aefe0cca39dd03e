"""Records, what a replay leaves open, and orders that are made again after a crash."""

from typing import Any

import msgspec
import pytest

import polyexec as px
from polyexec import _impl
from polyexec.core.journal import (
    Ack,
    Answered,
    Close,
    Intent,
    NullJournal,
    OpenLeg,
    Record,
    Recovered,
    Release,
    Replay,
    Sent,
    Signed,
    Spent,
    account_of,
)
from polyexec.core.orders import Order, encode_orders
from polyexec.core.outcome import LegOutcome
from polyexec.core.rebuilding import rebuild
from polyexec.enums import Generation, LegState, OrderType
from polyexec.errors import InputError, InternalError
from polyexec.models import OrderId
from tests.unit.core.support import intent_leg, leg, priced
from tests.unit.journal.support import (
    KEY,
    NOW,
    OWNER,
    fill,
    ids,
    intent,
    life,
    release,
    trade,
)

FUNDER = "0x" + "11" * 20


def replayed(*records: Record) -> Replay:
    replay = Replay()
    for record in records:
        assert replay.add(record)
    return replay


def only_legs(replay: Replay) -> tuple[OpenLeg, ...]:
    (group,) = replay.groups()
    return group.legs


def signed_by_builder(signer: px.OrderSigner, made: Intent) -> tuple[bytes, tuple[str, ...]]:
    """Return what the pipeline sends: V2 and V3 in one pass, a batch with V1 one by one."""
    kinds = list(_impl.ORDER_TYPES)
    return signer.batch_builder(owner=made.owner, builder=made.builder).build(
        [
            (
                leg.priced.generation,
                leg.priced.neg_risk,
                leg.priced.token_id,
                leg.priced.maker_micro,
                leg.priced.taker_micro,
                leg.priced.side.code,
                leg.salt,
                leg.priced.expiration,
                kinds.index(leg.priced.order_type),
                leg.priced.post_only,
            )
            for leg in made.legs
        ],
        made.timestamp_ms,
    )


def three(generation: Generation, neg_risk: bool) -> Intent:
    """Return an intent with each side, order type and flag that a batch can have."""
    common: dict[str, Any] = {"generation": generation, "neg_risk": neg_risk}
    legs = priced(
        leg(2**255 + 7, post_only=True, **common),
        leg(2, "SELL", "0.71", 12, order_type="FAK", **common),
        leg(3, order_type="GTD", expiration=NOW // 1000 + 100, **common),
    )
    return msgspec.structs.replace(
        intent(1),
        legs=tuple(intent_leg(leg, 2**53 - 1 - number) for number, leg in enumerate(legs)),
    )


def reread(record: Record) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record)


@pytest.mark.parametrize("kind", list(px.SignatureType))
@pytest.mark.parametrize("neg_risk", [False, True])
@pytest.mark.parametrize("generation", [Generation.CLOB_V2, Generation.EXCHANGE_V3])
def test_an_intent_gives_the_bytes_that_were_sent(
    generation: Generation, neg_risk: bool, kind: px.SignatureType
) -> None:
    funder = None if kind is px.SignatureType.EOA else FUNDER
    signer = px.OrderSigner(KEY, signature_type=kind, funder=funder)
    made = three(generation, neg_risk)
    assert rebuild(reread(made), signer) == signed_by_builder(signer, made)


def test_an_intent_of_v1_orders_gives_the_bytes_that_were_sent() -> None:
    signer = px.OrderSigner(KEY)
    made = three(Generation.CLOB_V1, neg_risk=False)
    orders = [
        Order(
            generation=Generation.CLOB_V1,
            token_id=leg.priced.token_id,
            side=leg.priced.side,
            maker_micro=leg.priced.maker_micro,
            taker_micro=leg.priced.taker_micro,
            salt=leg.salt,
            expiration=leg.priced.expiration,
        )
        for leg in made.legs
    ]
    signed = signer.sign_batch(orders)
    types = [OrderType.GTC, OrderType.FAK, OrderType.GTD]
    flags = [True, False, False]
    body = encode_orders(signed, owner=OWNER, order_type=types, post_only=flags)
    assert rebuild(reread(made), signer) == (body, tuple(order.order_id for order in signed))


def test_another_key_gives_other_order_ids() -> None:
    made = three(Generation.CLOB_V2, neg_risk=False)
    other = px.OrderSigner("0x" + "36" * 32)
    assert set(rebuild(made, other)[1]).isdisjoint(rebuild(made, px.OrderSigner(KEY))[1])


def test_prepared_nonces_are_never_signed_again() -> None:
    made = msgspec.structs.replace(three(Generation.CLOB_V2, neg_risk=False), resignable=False)
    with pytest.raises(InputError, match="SIGNED record"):
        rebuild(made, px.OrderSigner(KEY))


def test_a_signer_with_prepared_nonces_rebuilds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = px.OrderSigner(KEY)
    monkeypatch.setattr(px.OrderSigner, "presign_info", lambda _: {"ready": 1})
    with pytest.raises(InputError, match="prepares nonces"):
        rebuild(three(Generation.CLOB_V2, neg_risk=False), signer)


@pytest.mark.parametrize("record", life(1), ids=lambda record: type(record).__name__)
def test_a_record_reads_back_as_it_was(record: Record) -> None:
    again = reread(record)
    assert again == record
    assert type(again) is type(record)


def test_records_do_not_print_signatures() -> None:
    assert "signature" not in repr(Signed(group=1, order_ids=ids(1), body=b'{"signature":1}'))


def test_account_tells_wallets_of_one_key_apart() -> None:
    accounts = {
        account_of(px.OrderSigner(KEY, signature_type=kind, funder=funder))
        for kind, funder in ((0, None), (1, FUNDER), (2, FUNDER), (2, "0x" + "22" * 20))
    }
    assert len(accounts) == 4


def test_an_intent_alone_is_unknown_because_the_post_may_have_left() -> None:
    replay = replayed(intent(7))
    (group,) = replay.groups()
    assert (group.group, group.signed, group.sent_ms) == (7, None, None)
    assert [(leg.order_id, leg.state) for leg in group.legs] == [(None, LegState.UNKNOWN)] * 3
    assert all(leg.is_unresolved for leg in group.legs)
    assert replay.next_group == 8


def test_evidence_moves_a_leg_and_a_release_resolves_it() -> None:
    replay = replayed(*life(1)[:4])
    assert [leg.state for leg in only_legs(replay)] == ["MATCHED", "LIVE", "REJECTED"]
    assert [leg.is_unresolved for leg in only_legs(replay)] == [False, True, False]
    order_id = ids(1)[1]
    assert replay.add(trade(order_id, state=LegState.CANCELLED))
    assert not only_legs(replay)[1].is_unresolved
    assert replay.add(trade(order_id, state=LegState.LIVE))
    assert only_legs(replay)[1].is_unresolved
    ended = release(order_id, 5, index=1)
    assert replay.add(ended)
    assert not only_legs(replay)[1].is_unresolved
    assert only_legs(replay)[1].release == ended
    assert only_legs(replay)[0].release is None


def test_an_operator_resolves_an_unknown_order() -> None:
    replay = replayed(*life(1)[:2])
    ack = Ack(order_id=ids(1)[2], at_ms=NOW, note="support ticket 7")
    assert replay.add(ack)
    assert [leg.is_unresolved for leg in only_legs(replay)] == [True, True, False]
    assert only_legs(replay)[2].ack == ack


def test_a_later_trade_replaces_the_earlier_one() -> None:
    order_id = ids(1)[0]
    fills = (fill(order_id), fill(order_id, trade_id="trade-2"))
    replay = replayed(*life(1)[:4], trade(order_id), trade(ids(1)[1]), trade(order_id, fills=fills))
    assert only_legs(replay)[0].trade == trade(order_id, fills=fills)
    assert len(list(replay.records())) == 6


def test_a_closed_group_is_gone_and_late_news_of_it_is_dropped() -> None:
    replay = replayed(*life(1), *life(2)[:3])
    assert [group.group for group in replay.groups()] == [2]
    before = list(replay.records())
    late: list[Record] = [
        Sent(group=1, at_ms=NOW),
        Answered(group=1, at_ms=NOW, legs=()),
        Signed(group=1, order_ids=ids(1), body=b""),
        trade(ids(1)[0]),
        release(ids(1)[0]),
        Ack(order_id=ids(1)[0], at_ms=NOW, note=""),
        Close(group=1, at_ms=NOW),
    ]
    assert [replay.add(record) for record in late] == [False] * len(late)
    assert list(replay.records()) == before


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (intent(1), "open already"),
        (msgspec.structs.replace(intent(9), legs=()), "no leg"),
        (intent(0), "open already"),
        (Answered(group=1, at_ms=NOW, legs=(LegOutcome(state=LegState.LIVE),)), "1 answers for 3"),
        (Signed(group=1, order_ids=ids(8), body=b""), "other order ids"),
        (Signed(group=2, order_ids=ids(1), body=b""), "another group"),
        (Signed(group=2, order_ids=ids(2)[:2], body=b""), "2 order ids for 3"),
        (Signed(group=2, order_ids=(OrderId("0x1"),) * 3, body=b""), "1 order ids for 3"),
        (release(ids(1)[0]), "ended already"),
        (
            Release(order_id=ids(1)[1], at_ms=NOW, spent_micro=1, released_micro=1),
            "is not the reserved",
        ),
        (
            Release(order_id=ids(1)[1], at_ms=NOW, spent_micro=-1, released_micro=3_000_001),
            "is not the reserved",
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_contradiction_is_refused_and_changes_nothing(record: Record, words: str) -> None:
    replay = replayed(*life(1)[:4], release(ids(1)[0]), intent(2))
    before = replay.groups(), replay.next_group
    with pytest.raises(InternalError, match=words):
        replay.add(record)
    assert (replay.groups(), replay.next_group) == before


def test_sealing_again_after_a_rebuild_is_the_same_group() -> None:
    replay = replayed(*life(1)[:2], Signed(group=1, order_ids=ids(1), body=b"again"))
    (group,) = replay.groups()
    assert group.signed is not None
    assert group.signed.body == b"again"


def test_an_answer_of_megabytes_is_shortened() -> None:
    legs = (LegOutcome(state=LegState.REJECTED, error="x" * 10**6),) * 3
    short = Answered(group=1, at_ms=NOW, legs=legs).shortened()
    assert [leg.error for leg in short.legs] == ["x" * 500] * 3


def test_the_null_journal_numbers_groups_and_keeps_nothing() -> None:
    journal = NullJournal()
    assert [journal.new_group() for _ in range(3)] == [1, 2, 3]
    journal.begin(intent(1))
    journal.seal(1, b"", ids(1))
    journal.append(Close(group=1, at_ms=NOW))
    journal.close()
    assert journal.failure is None
    assert journal.recovered == Recovered()


# the costs of days --------------------------------------------------------------------------------

DAY_MS = 86_400_000


def test_a_closed_group_leaves_its_cost_to_its_day() -> None:
    replay = Replay()
    spent = 0
    for record in life(1):
        assert replay.add(record)
        spent += record.spent_micro if isinstance(record, Release) else 0
    assert replay.groups() == ()
    assert spent > 0
    assert replay.spent() == (Spent(day=NOW // DAY_MS, cost_micro=spent),)
    assert replayed(*replay.records()).spent() == replay.spent()


def test_what_was_reserved_counts_where_an_end_is_not_known() -> None:
    made = intent(1)
    replay = replayed(made, Signed(group=1, order_ids=ids(1), body=b""))
    (group,) = replay.groups()
    reserved = sum(leg.reserved_micro for leg in made.legs)
    assert group.cost_micro == reserved
    replay.add(release(ids(1)[0], 1_000_000))
    (group,) = replay.groups()
    assert group.cost_micro == reserved - 1_000_000
    replay.add(Close(group=1, at_ms=NOW))
    assert replay.spent()[0].cost_micro == reserved - 1_000_000


def test_a_group_that_was_never_signed_cost_nothing() -> None:
    replay = replayed(intent(1), Close(group=1, at_ms=NOW))
    assert replay.spent() == ()


@pytest.mark.parametrize("is_sent", [True, False])
def test_only_what_was_held_back_before_its_post_costs_nothing(is_sent: bool) -> None:
    replay = Replay()
    replay.add(intent(1))
    replay.add(Signed(group=1, order_ids=ids(1), body=b""))
    if is_sent:
        replay.add(Sent(group=1, at_ms=NOW))
    replay.add(Close(group=1, at_ms=NOW))
    assert len(replay.spent()) == is_sent


def test_only_the_newest_days_are_kept() -> None:
    replay = Replay()
    for group in range(1, 6):
        at_ms = NOW + group * DAY_MS
        replay.add(intent(group, at_ms=at_ms))
        replay.add(Signed(group=group, order_ids=ids(group), body=b""))
        replay.add(Sent(group=group, at_ms=at_ms))
        replay.add(Close(group=group, at_ms=at_ms))
    assert [spent.day - NOW // DAY_MS for spent in replay.spent()] == [4, 5]


def test_a_negative_cost_of_a_day_is_damage() -> None:
    with pytest.raises(InternalError, match="negative cost"):
        Replay().add(Spent(day=1, cost_micro=-1))
