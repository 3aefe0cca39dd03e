"""Every case against the real order transport, over both framings."""

from collections import Counter
from typing import Any

import pytest
import uvloop

from tests.hostile.cases import WHEN, Case, generated
from tests.hostile.play import Seen, play_all
from tests.hostile.scripts import written
from tests.implementations import COMPILED

MADE, WRITTEN = list(generated()), list(written())
CASES = MADE + WRITTEN
# The made ones over h2 are as many again and seldom news.
PAIRS = [
    *(pytest.param(case, "fast", id=f"{case.name}-fast", marks=COMPILED) for case in CASES),
    *(pytest.param(case, "h2", id=f"{case.name}-h2", marks=pytest.mark.slow) for case in MADE),
    *(pytest.param(case, "h2", id=f"{case.name}-h2") for case in WRITTEN),
]


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest) -> dict[tuple[str, str], Seen]:
    """Play the cases that were selected, side by side; each has a test of its own."""
    chosen: list[tuple[Case, Any]] = [
        (item.callspec.params["case"], item.callspec.params["framing"])
        for item in request.session.items
        if getattr(item, "function", None) is test_verdict
    ]
    return uvloop.run(play_all(chosen))


@pytest.mark.parametrize(("case", "framing"), PAIRS)
def test_verdict(case: Case, framing: str, seen: dict[tuple[str, str], Seen]) -> None:
    found = seen[case.name, framing]
    assert found.faults == []
    assert (found.verdict, found.survived) == case.expected(framing)
    assert found.calls == 1
    assert set(found.second) <= case.second


def test_the_table_is_whole() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 250
    at_each_point = Counter(when for when in WHEN for case in MADE if case.name.endswith(when))
    assert min(at_each_point.values()) >= 150
    kinds = {"DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE"}
    kinds |= {"PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"}
    assert kinds <= {case.name.split()[0].rstrip(",") for case in MADE}
