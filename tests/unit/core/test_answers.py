"""Answers to orders: read exactly, and what cannot be read is said, never guessed."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec.core.answers import OrderAnswer, decode_json, parse_error, parse_order_answers
from polyexec.enums import VenueMode
from polyexec.errors import (
    AuthError,
    RateLimitedError,
    UnexpectedResponseError,
    VenueError,
    VenueModeError,
)

MATCHED = {
    "success": True,
    "errorMsg": "",
    "orderID": "0xabc",
    "status": "matched",
    "makingAmount": "4.9152",
    "takingAmount": "5.12",
    "transactionsHashes": ["0x1"],
    "tradeIDs": ["t1", "t2"],
}


def one(leg: Any) -> OrderAnswer:
    answers = parse_order_answers(json.dumps([leg]).encode())
    assert answers is not None
    (answer,) = answers
    return answer


def test_matched_leg_is_read_exactly():
    assert one(MATCHED) == OrderAnswer(
        success=True,
        error="",
        order_id="0xabc",
        status="matched",
        making_micro=4_915_200,
        taking_micro=5_120_000,
        trade_ids=("t1", "t2"),
    )


def test_a_leg_that_cannot_be_read_says_nothing():
    broken = one("live")
    assert broken == OrderAnswer(
        success=False,
        error="",
        order_id="",
        status="",
        making_micro=0,
        taking_micro=0,
        malformed="the answer is not an object",
    )


def test_an_answer_is_written_by_name_and_never_changes():
    answer = one(MATCHED)
    names = OrderAnswer.__struct_fields__
    for name in names:
        with pytest.raises(AttributeError):
            setattr(answer, name, None)
    with pytest.raises(TypeError):
        OrderAnswer(*(getattr(answer, name) for name in names))


@pytest.mark.parametrize("success", [1, "true", None])
def test_only_true_itself_is_success(success):
    assert one({**MATCHED, "success": success}).success is False


def test_legs_keep_their_order_and_a_broken_one_does_not_hide_the_others():
    body = json.dumps([MATCHED, None, {**MATCHED, "orderID": "0xdef"}]).encode()
    first, broken, last = parse_order_answers(body) or ()
    assert (first.order_id, last.order_id) == ("0xabc", "0xdef")
    assert broken.malformed
    assert not broken.success


def test_refused_leg_that_says_success_keeps_its_reason():
    answer = one({"success": True, "orderID": "", "errorMsg": "crosses the book"})
    assert (answer.success, answer.order_id, answer.status) == (True, "", "")
    assert answer.error == "crosses the book"
    assert not answer.malformed


@pytest.mark.parametrize("amount", ["", "0", None, 0])
def test_nothing_matched_is_zero(amount):
    answer = one({**MATCHED, "makingAmount": amount, "takingAmount": amount})
    assert (answer.making_micro, answer.taking_micro, answer.malformed) == (0, 0, "")


def test_missing_optional_fields_are_empty():
    answer = one({"success": True, "orderID": "0xabc", "status": "LIVE"})
    assert (answer.error, answer.status, answer.trade_ids) == ("", "live", ())
    assert not answer.malformed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("success", "true"),
        ("success", None),
        ("success", 1),
        ("errorMsg", {"a": 1}),
        ("errorMsg", 5),
        ("orderID", 17),
        ("orderID", ["0x"]),
        ("status", False),
        ("makingAmount", "NaN"),
        ("makingAmount", "-1"),
        ("makingAmount", "1e30"),
        ("makingAmount", "0.0000001"),
        ("makingAmount", "five"),
        ("takingAmount", True),
        ("takingAmount", {}),
        ("tradeIDs", "t1"),
        ("tradeIDs", [1]),
    ],
)
def test_odd_field_is_named_and_not_guessed(field, value):
    answer = one({**MATCHED, field: value})
    assert answer.malformed == f"unreadable: {field}"
    read = {
        "success": answer.success,
        "errorMsg": answer.error,
        "orderID": answer.order_id,
        "status": answer.status,
        "makingAmount": answer.making_micro,
        "takingAmount": answer.taking_micro,
        "tradeIDs": answer.trade_ids,
    }
    assert not read[field]


def test_every_odd_field_is_named():
    assert one({"makingAmount": "x", "status": 1}).malformed == (
        "unreadable: success, makingAmount, status"
    )


def test_json_number_amount_does_not_pass_through_a_float():
    body = b'[{"success":true,"orderID":"0x1","status":"matched","makingAmount":0.29,'
    body += b'"takingAmount":9007199254.740993}]'
    (answer,) = parse_order_answers(body) or ()
    assert (answer.making_micro, answer.taking_micro) == (290_000, 9_007_199_254_740_993)


def test_single_order_answer_is_one_leg():
    assert parse_order_answers(json.dumps(MATCHED).encode()) == (one(MATCHED),)


@pytest.mark.parametrize("leg", [{"success": True}, {"orderID": "0x1"}])
def test_one_word_of_an_order_answer_makes_an_object_one(leg):
    assert parse_order_answers(json.dumps(leg).encode()) == (one(leg),)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error":"x"}', b"7", b"null", b'"ok"', b"[" * 5000, b"[{", b"\xff"]
)
def test_what_is_no_order_answer_is_none(body):
    assert parse_order_answers(body) is None


def test_no_answers_is_an_empty_tuple():
    assert parse_order_answers(b"[]") == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_exception(body):
    parse_order_answers(body)
    assert parse_error(500, body, {}).status == 500


words = st.text("0x19.-matched", max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(MATCHED)), json_values))
def test_any_leg_is_read_without_an_exception(leg):
    text = json.dumps(leg).replace("Infinity", "1e999")
    (answer,) = parse_order_answers(f"[{text}]".encode()) or ()
    assert answer.making_micro >= 0
    assert answer.malformed or isinstance(leg.get("success"), bool)


def test_recorded_answers_are_read(shared_dir):
    path = shared_dir / "data/captured/rest/order_responses_observed.jsonl"
    matched = 0
    for line in path.read_text().splitlines():
        record = json.loads(line)
        body = record["body"]
        raw = json.dumps(body).encode()
        if isinstance(body, dict) and "error" in body:
            error = parse_error(record["http_status"] or 400, raw, {})
            assert error.message == body["error"]
            assert type(error) is VenueError
            assert parse_order_answers(raw) is None
        elif isinstance(body, dict):
            (answer,) = parse_order_answers(raw) or ()
            assert (answer.status, answer.success, answer.malformed) == ("matched", True, "")
            assert (answer.making_micro, answer.taking_micro) == (9_999_999, 14_925_372)
            matched += 1
    assert matched == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid signature"}, VenueError),
        (401, {"error": "Unauthorized/Invalid api key"}, AuthError),
        (403, {"error": "Trading restricted in your region"}, AuthError),
        (404, {"error": "No orderbook exists"}, VenueError),
        (429, {"error": "slow down"}, RateLimitedError),
        (500, {"error": "order timed out"}, VenueError),
        (503, {"error": "upstream connect error"}, VenueError),
    ],
)
def test_status_chooses_the_exception_and_the_text_is_kept(status, body, kind):
    error = parse_error(status, json.dumps(body).encode(), {})
    assert type(error) is kind
    assert (error.status, error.message) == (status, body["error"])


@pytest.mark.parametrize(
    ("status", "body", "mode"),
    [
        (425, {}, VenueMode.RESTARTING),
        (503, {"error": "Trading is currently disabled"}, VenueMode.DISABLED),
        (503, {"error": "trading is disabled"}, VenueMode.DISABLED),
        (
            503,
            {
                "error": "Trading is currently cancel-only. New orders are not accepted, "
                "but cancels are allowed."
            },
            VenueMode.CANCEL_ONLY,
        ),
        (503, {"error": "x", "code": "post_only_mode"}, VenueMode.POST_ONLY),
        (
            503,
            {"error": "post-only mode: only post-only orders and cancels are allowed"},
            VenueMode.POST_ONLY,
        ),
    ],
)
def test_mode_of_the_exchange_is_recognised(status, body, mode):
    error = parse_error(status, json.dumps(body).encode(), {})
    assert isinstance(error, VenueModeError)
    assert error.mode is mode


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "trading is disabled"),
        (502, "trading is disabled"),
        (504, "post-only mode"),
        (503, "trading is slow"),
        (503, "this endpoint is disabled"),
    ],
)
def test_another_status_or_half_of_the_words_is_no_mode(status, text):
    error = parse_error(status, json.dumps({"error": text}).encode(), {})
    assert type(error) is VenueError


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("0", 0), ("0.5", 0.5), ("86400", 86_400), ("86401", None), ("-0.5", None)],
)
def test_a_pause_is_between_nothing_and_a_day(given, seconds):
    assert parse_error(429, b"{}", {"retry-after": given}).retry_after_s == seconds


@pytest.mark.parametrize("odd", [None, [1], {"s": 1}])
def test_a_pause_that_is_no_number_is_none(odd):
    body = json.dumps({"error": "x", "retry_after_seconds": odd}).encode()
    assert parse_error(503, body, {}).retry_after_s is None


def test_retry_after_comes_from_the_header_or_the_body():
    body = b'{"error":"x","code":"post_only_mode","retry_after_seconds":79}'
    assert parse_error(503, body, {}).retry_after_s == 79
    assert parse_error(503, body, {"retry-after": "3"}).retry_after_s == 3
    assert parse_error(503, body, {}).code == "post_only_mode"
    for odd in ("Wed, 21 Oct 2026 07:28:00 GMT", "nan", "-1", "1e9", ""):
        assert parse_error(429, b"{}", {"retry-after": odd}).retry_after_s is None


@pytest.mark.parametrize("status", [403, 429, 502])
def test_html_is_described_by_its_title(status):
    error = parse_error(status, b"<!doctype html><TITLE>Attention!</title>" + b"x" * 9999, {})
    assert error.message == "HTML page: Attention!"


def test_a_title_is_looked_for_in_the_first_4096_bytes():
    title = b"<title>A"
    last = b"x" * (4096 - len(title)) + title
    assert parse_error(502, last, {}).message == "HTML page: A"
    assert parse_error(502, b"x" + last, {}).message == "unreadable answer of 4097 bytes"


def test_html_of_a_gateway_is_unexpected_not_a_refusal():
    assert type(parse_error(502, b"<html>", {})) is UnexpectedResponseError
    assert type(parse_error(503, b"<html>trading is disabled", {})) is UnexpectedResponseError
    assert parse_error(500, b"", {}).message == "empty answer"


def test_error_text_that_is_an_object_is_shown():
    assert parse_error(400, b'{"error":{"a":1}}', {}).message == '{"a":1}'
    assert parse_error(400, b'{"errorMsg":"b"}', {}).message == "b"


@pytest.mark.parametrize("first", [5, "", {}, [], None, False])
def test_the_first_field_that_says_something_is_the_text(first):
    body = json.dumps({"error": first, "message": "b"}).encode()
    assert parse_error(400, body, {}).message == "b"


def test_a_long_text_is_cut():
    for text in ("x" * 501, ["x" * 501]):
        message = parse_error(400, json.dumps({"error": text}).encode(), {}).message
        assert len(message) == 500


def test_exponent_beyond_any_decimal_is_no_json():
    body = b'[{"makingAmount": 1e9999999999999999999}]'
    with pytest.raises(ValueError, match="not JSON"):
        decode_json(body)
    assert parse_order_answers(body) is None


def test_deep_json_is_refused():
    with pytest.raises(ValueError, match="not JSON"):
        decode_json(b"[" * 100_000)


@pytest.mark.parametrize("piece", [b"[", b'{"a":', b'[{"a":'])
def test_deep_json_does_not_overflow_the_stack_where_a_library_raised_the_limit(piece):
    # Without a limit of its own the decoder would end the process.
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        with pytest.raises(ValueError, match="not JSON"):
            decode_json(piece * 200_000)
    finally:
        sys.setrecursionlimit(limit)
