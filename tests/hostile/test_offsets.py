"""Every 97th byte of what ``python -m tests.hostile.offsets`` tries, and that it can fail."""

import pytest

from polyexec.clob import connection
from polyexec.enums import SentState
from tests.hostile import handshakes, offsets
from tests.hostile.offsets import CUT, DELAY, LATE, RESENT, RESET, Lane, _sweep, measure
from tests.hostile.proxy import Fault, Way

STRIDE = 97


@pytest.mark.parametrize(
    ("lane", "stride"),
    [(CUT, STRIDE), (RESET, STRIDE), (DELAY, STRIDE), (LATE, 4 * STRIDE), (RESENT, 4 * STRIDE)],
    ids=["cut", "reset", "delay", "late", "cut-sent-again"],
)
async def test_a_fault_inside_a_post_is_told_as_it_is(lane: Lane, stride: int) -> None:
    lengths = await measure()
    assert lengths[Way.REQUEST] > 2000
    assert lengths[Way.RESPONSE] > 500
    for way in Way:
        counts = await _sweep(lane, way, range(0, lengths[way] + 1, stride))
        assert counts.reports == ()
        assert (counts.wrong, counts.duplicates) == (0, 0)
        assert counts.cases > 0


@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_inside_a_handshake_sends_nothing(fault: Fault) -> None:
    lengths = await handshakes.measure()
    for way in Way:
        cases, wrong = await handshakes.sweep(fault, way, range(0, lengths[way] + 1, 31))
        assert wrong == []
        assert cases > 10


async def test_a_verdict_that_lies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = connection._no_answer
    monkeypatch.setattr(connection, "_no_answer", lambda why, _: honest(why, SentState.NO))
    async with offsets.open_desk(CUT) as desk:
        _, wrong = await offsets.strike(desk, CUT, Way.RESPONSE, 0)
    assert wrong.count("NOT_SENT, and the exchange has it") == 3
