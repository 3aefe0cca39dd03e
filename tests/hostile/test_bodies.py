"""Answers with status 200 that say nothing: no leg may be taken for accepted or refused."""

from typing import Any

import pytest

from polyexec.core.outcome import SentLeg, classify
from polyexec.core.ports import Answer
from polyexec.enums import LegState, OrderType, Side
from polyexec.models import OrderId
from tests.hostile.cases import Case
from tests.hostile.play import play
from tests.hostile.scripts import answered_with
from tests.implementations import COMPILED
from tests.unit.clob.framings import DATA, END_STREAM, answer, frame

LEGS = [
    SentLeg(
        order_id=OrderId(f"0x{digit * 64}"),
        side=Side.BUY,
        order_type=OrderType.GTC,
        maker_micro=4_500_000,
        taker_micro=10_000_000,
    )
    for digit in "abc"
]
LIVE = '{"success":true,"orderID":"0x%s","status":"live"}'
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "deep list": b"[" * 200_000,
    "deep list, closed": b"[" * 200_000 + b"]" * 200_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep leg": b'[{"success":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    "bad UTF-8": b'[{"success":true,"orderID":"\xff\xfe"}]',
    "bad UTF-8 in a name": b'[{"succ\xc3ess":true}]',
    "overlong UTF-8": b'[{"success":true,"orderID":"\xc0\xaf"}]',
    "a lone surrogate": b'[{"success":true,"orderID":"\\ud800"}]',
    "UTF-16": '[{"success":true}]'.encode("utf-16"),
    "a byte-order mark": b"\xef\xbb\xbf[]",
    "NUL": bytes(1000),
    "HTML": b"<!DOCTYPE html><title>Just a moment...</title>",
    "cut short": b'[{"success":true,"orderID":"0x',
    "two documents": b"[][]",
    "a comment": b"[] // all fine",
    "NaN": b"[NaN, Infinity, -Infinity]",
    "an object": b'{"success":true}',
    "a text": b'"success"',
    "true": b"true",
    "an empty list": b"[]",
    "a list of null": b"[null,null,null]",
    "a list of numbers": b"[1,2,3]",
    "a list of lists": b"[[],[],[]]",
    "too few": f"[{LIVE % ('d' * 64)}]".encode(),
    "foreign orders": f"[{','.join(LIVE % (digit * 64) for digit in 'def')}]".encode(),
    "one order three times": f"[{','.join([LIVE % ('a' * 64)] * 3)}]".encode(),
    "success as text": b'[{"success":"true","orderID":"0x1","status":"live"}]' * 1,
    "success without an id": b'[{"success":true,"status":"live"}]',
    "a number of 5000 digits": b"[" + b"9" * 5000 + b"]",
    "an exponent": b"[1e999999999]",
    "amounts of 5000 digits": b'[{"success":true,"orderID":"0x'
    + b"a" * 64
    + b'","status":"matched","makingAmount":"'
    + b"9" * 5000
    + b'","takingAmount":"1"}]',
    "a million commas": b"[" + b"," * 1_000_000 + b"]",
    "a name a million times": b"{" + b'"a":1,' * 500_000 + b'"a":1}',
}


@pytest.mark.parametrize("framing", [pytest.param("fast", marks=COMPILED), "h2"])
@pytest.mark.parametrize("name", BODIES)
async def test_no_leg_is_taken_for_accepted(name: str, framing: Any) -> None:
    body = BODIES[name]
    frames = [frame(DATA, 0, 3, body[at : at + 16_384]) for at in range(0, len(body), 16_384)]
    script = answered_with(answer(3), *frames, frame(DATA, END_STREAM, 3))
    seen = await play(Case(name, script, 200, True), framing)
    assert (seen.verdict, seen.survived, seen.calls, seen.faults) == (200, True, 1, [])
    assert isinstance(seen.answer, Answer)
    assert seen.answer.body == body
    outcomes = classify(LEGS, seen.answer)
    assert [outcome.state for outcome in outcomes] == [LegState.UNKNOWN] * 3
