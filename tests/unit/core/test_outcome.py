"""Every way a POST can end, row by row of the REST notes, sections 2, 3 and 6."""

import json
from pathlib import Path
from typing import Any

import pytest

from polyexec.core.outcome import LegOutcome, SentLeg, classify
from polyexec.core.ports import Answer, NoAnswer
from polyexec.core.refusals import refusal_code
from polyexec.enums import LegState, OrderType, Side
from polyexec.errors import NotSentError, OutcomeUnknownError, TransportError
from polyexec.models import OrderId

A, B, C = (OrderId("0x" + digit * 64) for digit in "abc")
UNKNOWN, REJECTED = LegState.UNKNOWN, LegState.REJECTED


def sent(
    order_id: OrderId = A,
    side: Side = Side.BUY,
    kind: OrderType = OrderType.GTC,
    maker: int = 4_000_000,
    taker: int = 10_000_000,
) -> SentLeg:
    return SentLeg(
        order_id=order_id, side=side, order_type=kind, maker_micro=maker, taker_micro=taker
    )


THREE = [sent(A), sent(B), sent(C)]


def entry(order_id: str = A, status: str = "live", **changes: Any) -> dict[str, Any]:
    return {
        "success": True,
        "errorMsg": "",
        "orderID": order_id,
        "status": status,
        "makingAmount": "",
        "takingAmount": "",
    } | changes


def matched(making: Any, taking: Any, **changes: Any) -> dict[str, Any]:
    return entry(status="matched") | {"makingAmount": making, "takingAmount": taking} | changes


def refused(text: str, **changes: Any) -> dict[str, Any]:
    return entry(order_id="", status="", errorMsg=text, **changes)


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status=status, body=raw, headers=headers or {})


def classify_one(body: Any, leg: SentLeg | None = None) -> LegOutcome:
    (outcome,) = classify([leg or sent()], answer([body]))
    return outcome


def states(legs: list[SentLeg], outcome: Answer | NoAnswer) -> list[LegState]:
    return [one.state for one in classify(legs, outcome)]


# accepted -----------------------------------------------------------------------------------------


def test_live_rests_in_the_book() -> None:
    assert classify_one(entry()) == LegOutcome(state=LegState.LIVE)


@pytest.mark.parametrize("status", ["LIVE", "Live"])
def test_status_is_read_whatever_its_case(status: str) -> None:
    assert classify_one(entry(status=status)).state is LegState.LIVE


def test_an_order_id_is_compared_whatever_its_case() -> None:
    assert classify_one(entry(order_id=A.upper().replace("X", "x"))).state is LegState.LIVE


def test_error_and_amounts_may_be_absent_or_null() -> None:
    body = {"success": True, "orderID": A, "status": "live"}
    assert classify_one(body).state is LegState.LIVE
    assert classify_one(body | {"errorMsg": None, "tradeIDs": None}).state is LegState.LIVE


@pytest.mark.parametrize("kind", OrderType)
def test_an_immediate_order_answered_live_is_followed_and_not_written_off(kind: OrderType) -> None:
    outcome = classify_one(entry(makingAmount="0", takingAmount="0"), sent(kind=kind))
    assert outcome.state is LegState.LIVE
    assert outcome.state.is_open


def test_delayed_is_a_live_risk() -> None:
    outcome = classify_one(entry(status="delayed", makingAmount="0", takingAmount="0"))
    assert outcome.state is LegState.DELAYED
    assert outcome.state.is_open


@pytest.mark.parametrize("success", [True, False])
def test_unmatched_is_neither_filled_nor_forgotten(success: bool) -> None:
    state = classify_one(entry(status="unmatched", success=success)).state
    assert state.is_open
    assert not state.is_accepted


def test_unmatched_is_told_apart_from_a_status_that_nobody_knows() -> None:
    outcome = classify_one(entry(status="unmatched"))
    assert outcome == LegOutcome(state=LegState.UNMATCHED, error="status 'unmatched'")


@pytest.mark.parametrize("status", ["canceled", "resting", "zero"])
def test_amounts_beside_a_status_that_nobody_knows_are_no_match(status: str) -> None:
    outcome = classify_one(matched("4", "10", status=status))
    assert outcome == LegOutcome(state=UNKNOWN, error=f"status {status!r}")


@pytest.mark.parametrize(("status", "said"), [("", "missing"), ("resting", "resting")])
def test_an_unclear_answer_says_its_status(status: str, said: str) -> None:
    outcome = classify_one(entry(status=status, success=False))
    assert outcome.error == f"unclear answer, status {said!r}"


def test_a_full_match_reads_its_sizes_from_the_answer() -> None:
    outcome = classify_one(matched("4", "10", tradeIDs=["t1", "t2"]))
    assert outcome == LegOutcome(
        state=LegState.MATCHED,
        filled_micro=10_000_000,
        paid_micro=4_000_000,
        trade_ids=("t1", "t2"),
    )


@pytest.mark.parametrize(
    ("side", "kind", "making", "taking", "state", "filled", "paid"),
    [
        # GTC BUY bought below its limit: the same shares for less money
        ("BUY", "GTC", "3.9", "10", "MATCHED", 10_000_000, 3_900_000),
        ("BUY", "GTC", "4", "10.5", "MATCHED", 10_500_000, 4_000_000),
        ("BUY", "GTC", "2", "5", "PARTIAL", 5_000_000, 2_000_000),
        ("BUY", "GTD", "2", "9.999999", "PARTIAL", 9_999_999, 2_000_000),
        # FOK and FAK BUY that improve spend the same and get more
        ("BUY", "FOK", "4", "12.5", "MATCHED", 12_500_000, 4_000_000),
        ("BUY", "FAK", "4", "10", "MATCHED", 10_000_000, 4_000_000),
        # what a FAK does not fill dies
        ("BUY", "FAK", "2", "5", "MATCHED", 5_000_000, 2_000_000),
        # SELL: 4 shares for 10 at least
        ("SELL", "GTC", "4", "10", "MATCHED", 4_000_000, 10_000_000),
        ("SELL", "GTC", "4", "11", "MATCHED", 4_000_000, 11_000_000),
        ("SELL", "GTC", "1", "2.5", "PARTIAL", 1_000_000, 2_500_000),
        ("SELL", "FAK", "1", "2.5", "MATCHED", 1_000_000, 2_500_000),
    ],
)
def test_what_is_left_of_a_resting_order_rests_and_of_an_immediate_one_dies(
    side: str, kind: str, making: str, taking: str, state: str, filled: int, paid: int
) -> None:
    outcome = classify_one(matched(making, taking), sent(side=Side(side), kind=OrderType(kind)))
    assert (outcome.state, outcome.filled_micro, outcome.paid_micro) == (state, filled, paid)


@pytest.mark.parametrize(
    ("making", "taking"),
    [("0", "0"), ("", ""), ("4", "0"), ("0", "10"), ("4.000001", "10"), ("5", "12.5")],
)
@pytest.mark.parametrize("kind", OrderType)
def test_a_match_with_amounts_that_cannot_be_is_unknown(
    making: str, taking: str, kind: OrderType
) -> None:
    outcome = classify_one(matched(making, taking, tradeIDs=["t"]), sent(kind=kind))
    assert outcome.state is UNKNOWN
    assert (outcome.filled_micro, outcome.paid_micro) == (0, 0)
    assert outcome.trade_ids == ("t",)


@pytest.mark.parametrize(
    ("making", "taking"),
    [("4e0", "1e1"), (4, 10), ("abc", "10"), ("-4", "10"), ("nan", "10"), (True, "10"), ([], "1")],
)
def test_amounts_are_read_exactly_or_not_at_all(making: Any, taking: Any) -> None:
    outcome = classify_one(matched(making, taking))
    if outcome.state is LegState.MATCHED:
        assert (outcome.paid_micro, outcome.filled_micro) == (4_000_000, 10_000_000)
    else:
        assert outcome.state is UNKNOWN


# refused, leg by leg ------------------------------------------------------------------------------

REFUSALS = [
    "invalid signature",
    "not enough balance / allowance: the balance is not enough -> balance: 1, order amount: 2",
    "invalid post-only order: order crosses book",
    "order couldn't be fully filled. FOK orders are fully filled or killed.",
    "no orders found to match with FAK order. FAK orders are partially filled or killed.",
    "order 0x1 is invalid. Price (0.5100011) breaks minimum tick size rule: 0.01",
    "the market is not yet ready to process new orders",
    "post-only mode: only post-only orders and cancels are allowed",
]


@pytest.mark.parametrize("text", REFUSALS)
@pytest.mark.parametrize("success", [True, False])
def test_no_order_id_and_a_reason_is_a_refusal_even_with_success_true(
    text: str, success: bool
) -> None:
    expected = LegOutcome(state=REJECTED, code=refusal_code(text), error=text)
    assert classify_one(refused(text, success=success)) == expected


def test_the_other_shape_of_a_refused_leg_is_a_refusal_although_it_says_delayed() -> None:
    text = "Rate limit exceeded for tokenId 1"
    body = refused(text, success=False) | {"status": "delayed"}
    assert classify_one(body).state is REJECTED


@pytest.mark.parametrize("text", REFUSALS)
def test_a_reason_together_with_an_order_id_is_unknown(text: str) -> None:
    for order_id in (A, 5, [A]):
        outcome = classify_one(entry(errorMsg=text) | {"orderID": order_id})
        assert (outcome.state, outcome.error) == (UNKNOWN, text)


@pytest.mark.parametrize(
    "text", [f"order {A} is invalid. Duplicated.", "order match delayed due to market conditions"]
)
@pytest.mark.parametrize("status", [200, 400])
def test_duplicated_and_delayed_prove_that_an_order_was_seen(text: str, status: int) -> None:
    body = [refused(text)] if status == 200 else {"error": text}
    (outcome,) = classify([sent()], answer(body, status))
    assert (outcome.state, outcome.error) == (UNKNOWN, text)


@pytest.mark.parametrize(
    "body",
    [
        entry(order_id=""),
        entry(success=False),
        entry(success=False, status="matched", makingAmount="4", takingAmount="10"),
        entry(status=""),
        entry(status="resting"),
        entry(success="true"),
        entry(success=None),
        {},
        None,
        "live",
        [],
        {"error": "invalid signature"},
        entry(errorMsg=5),
        entry(orderID=5),
        entry(tradeIDs="t"),
        entry(order_id="0x" + "9" * 64),
    ],
    ids=str,
)
def test_an_answer_that_fails_the_acceptance_rule_without_a_reason_is_unknown(body: Any) -> None:
    outcome = classify_one(body)
    assert outcome.state is UNKNOWN
    assert outcome.error


# pairing answers with legs ------------------------------------------------------------------------


def test_answers_in_request_order_need_no_ids_for_refusals() -> None:
    body = [entry(A), refused("invalid signature"), entry(C, "delayed")]
    assert states(THREE, answer(body)) == [LegState.LIVE, REJECTED, LegState.DELAYED]


def test_answers_in_another_order_are_paired_by_id() -> None:
    body = [entry(C, "delayed"), matched("4", "10") | {"orderID": A}, entry(B)]
    assert states(THREE, answer(body)) == [LegState.MATCHED, LegState.LIVE, LegState.DELAYED]


def test_a_refusal_among_swapped_answers_belongs_to_nobody_for_certain() -> None:
    body = [refused("invalid signature"), entry(A), entry(C)]
    assert states(THREE, answer(body)) == [LegState.LIVE, UNKNOWN, LegState.LIVE]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], [UNKNOWN] * 3),
        ([entry(B)], [UNKNOWN, LegState.LIVE, UNKNOWN]),
        ([refused("invalid signature")], [UNKNOWN] * 3),
        ([refused("x"), refused("x")], [UNKNOWN] * 3),
        ([entry(A), entry(B), entry(C), refused("x")], [LegState.LIVE] * 3),
        ([refused("x")] * 4, [UNKNOWN] * 3),
        (entry(A), [LegState.LIVE, UNKNOWN, UNKNOWN]),
    ],
)
def test_a_wrong_number_of_answers_decides_only_by_id(body: Any, expected: list[LegState]) -> None:
    outcomes = classify(THREE, answer(body))
    assert [one.state for one in outcomes] == expected
    assert all(one.error for one in outcomes if one.state is UNKNOWN)


@pytest.mark.parametrize("digit", ["9", "f"])
def test_a_foreign_order_id_is_unknown_and_taints_no_other_leg(digit: str) -> None:
    body = [entry(A), entry("0x" + digit * 64), entry(C)]
    assert states(THREE, answer(body)) == [LegState.LIVE, UNKNOWN, LegState.LIVE]


def test_two_answers_with_one_id_that_disagree_are_unknown() -> None:
    body = [entry(A), entry(A, "unmatched"), entry(C)]
    assert states(THREE, answer(body))[:2] == [UNKNOWN, UNKNOWN]


# the batch as a whole -----------------------------------------------------------------------------

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"
POST_ONLY = {
    "error": "post-only mode: only post-only orders and cancels are allowed",
    "code": "post_only_mode",
    "retry_after_seconds": 79,
}


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (400, {"error": "Invalid order payload"}, REJECTED),
        (400, {"error": "Too many orders in payload: 16, max allowed: 15"}, REJECTED),
        (400, {"error": "order_version_mismatch"}, REJECTED),
        (401, {"error": "Unauthorized/Invalid api key"}, REJECTED),
        (403, {"error": "Trading restricted in your region, please refer to ..."}, REJECTED),
        (403, HTML, REJECTED),
        (404, {"error": "No orderbook exists for the requested token id"}, REJECTED),
        (405, b"", REJECTED),
        (425, {"error": "too early"}, REJECTED),
        (425, b"", REJECTED),
        (429, {"error": "rate limit exceeded"}, REJECTED),
        (429, HTML, REJECTED),
        (500, {"error": "order timed out"}, REJECTED),
        (500, {"error": "Order Timed Out"}, REJECTED),
        (500, {"error": "there are no matching orders"}, UNKNOWN),
        (500, {"error": "FOK orders are filled or killed"}, UNKNOWN),
        (500, {"error": "could not insert order"}, UNKNOWN),
        (500, {"error": "Internal server error"}, UNKNOWN),
        (500, HTML, UNKNOWN),
        (500, b"order timed out", UNKNOWN),
        (502, HTML, UNKNOWN),
        (502, {"error": "order timed out"}, UNKNOWN),
        (504, b"", UNKNOWN),
        (503, {"error": "Trading is currently disabled"}, REJECTED),
        (
            503,
            {
                "error": "Trading is currently cancel-only. New orders are not accepted, but "
                "cancels are allowed."
            },
            REJECTED,
        ),
        (503, {"error": "trading is disabled"}, REJECTED),
        (503, POST_ONLY, REJECTED),
        (503, {"error": "service unavailable"}, UNKNOWN),
        (503, HTML, UNKNOWN),
        (503, b"", UNKNOWN),
        (520, HTML, UNKNOWN),
        (408, {"error": "request timeout"}, UNKNOWN),
        (408, {"error": "order timed out"}, UNKNOWN),
        (409, {"error": "conflict"}, UNKNOWN),
        (424, {"error": "failed dependency"}, UNKNOWN),
        (426, {"error": "upgrade required"}, UNKNOWN),
        (302, b"", UNKNOWN),
        (202, [], UNKNOWN),
        (200, HTML, UNKNOWN),
        (200, b"", UNKNOWN),
        (200, b"[", UNKNOWN),
        (200, b"\xff\xfe", UNKNOWN),
        (200, b"[" * 5000, UNKNOWN),
        (200, {"error": "invalid signature"}, UNKNOWN),
        (200, "OK", UNKNOWN),
        (200, 5, UNKNOWN),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_answer_to_the_whole_batch_decides_every_leg_alike(
    status: int, body: Any, state: LegState
) -> None:
    outcomes = classify(THREE, answer(body, status))
    assert [one.state for one in outcomes] == [state] * 3
    assert all(one.error for one in outcomes)
    assert not any(one.filled_micro or one.paid_micro for one in outcomes)


@pytest.mark.parametrize("status", [199, 201, 202])
def test_only_status_200_accepts_orders(status: int) -> None:
    body = [entry(A), entry(B), entry(C)]
    assert states(THREE, answer(body, status)) == [UNKNOWN] * 3


def test_the_exchanges_own_words_are_kept() -> None:
    outcomes = classify(THREE, answer({"error": "Invalid order payload"}, 400))
    assert {one.error for one in outcomes} == {"Invalid order payload"}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NotSentError("connection refused"), LegState.NOT_SENT),
        (OutcomeUnknownError("timed out after 5 s"), UNKNOWN),
        (TransportError("?"), UNKNOWN),
    ],
)
def test_no_answer_is_unknown_unless_nothing_was_sent(
    error: TransportError, state: LegState
) -> None:
    outcomes = classify(THREE, NoAnswer(error=error))
    assert [(one.state, one.error) for one in outcomes] == [(state, str(error))] * 3


@pytest.mark.parametrize("kind", [SentLeg, LegOutcome])
def test_records_are_written_by_name_and_never_change(kind: Any) -> None:
    record = sent() if kind is SentLeg else LegOutcome(state=UNKNOWN)
    for name in kind.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(record, name, None)
    with pytest.raises(TypeError):
        kind(*(getattr(record, name) for name in kind.__struct_fields__))


# what was observed --------------------------------------------------------------------------------


def observed(folder: Path) -> list[dict[str, Any]]:
    path = folder / "data/captured/rest/order_responses_observed.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_refusal_that_was_ever_observed_is_a_refusal(shared_dir: Path) -> None:
    rows = [row for row in observed(shared_dir) if "error" in row["body"]]
    assert len(rows) > 10
    for row in rows:
        # the sources that state no status are refusals of one order, which come with 400
        outcomes = classify(THREE, answer(row["body"], row["http_status"] or 400))
        assert [one.state for one in outcomes] == [REJECTED] * 3
        assert outcomes[0].error == row["body"]["error"]


def test_the_observed_success_is_a_match_to_the_last_micro_unit(shared_dir: Path) -> None:
    (row,) = [row for row in observed(shared_dir) if "orderID" in row["body"]]
    body = row["body"] | {"orderID": A}  # masked by its reporter
    leg = sent(kind=OrderType.FAK, maker=10_000_000, taker=14_900_000)
    (outcome,) = classify([leg], answer(body))
    assert outcome.state is LegState.MATCHED
    assert (outcome.filled_micro, outcome.paid_micro) == (14_925_372, 9_999_999)
