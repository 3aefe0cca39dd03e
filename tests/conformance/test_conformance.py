"""A few thousand scripts, and that the comparison sees what it is there to see."""

import random
from collections import Counter

import pytest

from polyexec.clob import fast_framing
from polyexec.clob.http2 import Closing, ConnectionLost, Response, StreamLost
from polyexec.enums import SentState
from tests.conformance import compare, run
from tests.conformance.scripts import Ask, GiveUp, script
from tests.implementations import COMPILED

pytestmark = COMPILED

STREAMS = 3000


def test_framings_agree() -> None:
    documented, reports = run.batch("suite", 0, STREAMS)
    assert reports == []
    assert documented.total() < STREAMS / 10


def test_scripts_reach_what_they_are_meant_to_reach() -> None:
    seen: Counter[str] = Counter()
    for number in range(1000):
        client = compare.Client("fast")
        steps = script(random.Random(f"reach:{number}"))
        for step in steps:
            if isinstance(step, bytes):
                client.read(step)
            else:
                client.act(step)
        seen.update({str(fact[0]) for fact in client.facts})
        seen.update({str(fact[2]) for fact in client.facts if fact[0] == "stream lost"})
        seen.update({type(step).__name__ for step in steps if isinstance(step, (Ask, GiveUp))})
        seen["untouched"] += ("connection lost",) not in client.facts
    for what in ("response", "closing", "connection lost", "refused", "pong", "untouched"):
        assert seen[what] > 10, what
    assert seen[str(SentState.NO)] > 5
    assert seen[str(SentState.MAYBE)] > 20
    assert seen["GiveUp"] > 20


def changed(event):
    """Return an event that is a lie about the one given, or None to keep silent."""
    if isinstance(event, Response):
        return Response(event.stream_id, event.status, event.headers, event.body + b"!")
    if isinstance(event, StreamLost):
        other = SentState.MAYBE if event.sent is SentState.NO else SentState.NO
        return StreamLost(event.stream_id, other, event.reason)
    return None


@pytest.mark.parametrize("kind", [Response, StreamLost, Closing, ConnectionLost])
def test_a_planted_fault_is_found(kind, monkeypatch: pytest.MonkeyPatch) -> None:
    true = fast_framing.Http2Client.receive

    def receive(self, data):
        events = [changed(e) if isinstance(e, kind) else e for e in true(self, data)]
        return [event for event in events if event is not None]

    monkeypatch.setattr(fast_framing.Http2Client, "receive", receive)
    _, reports = run.batch("planted", 0, 300)
    assert reports


def test_a_case_is_the_same_again() -> None:
    first, second = (script(random.Random("suite:5")) for _ in range(2))
    assert first == second


def test_the_command_counts(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["run", "--streams", "50", "--processes", "1", "--seed", "x"])
    assert run.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "streams=50 differences=0 seed=x"
