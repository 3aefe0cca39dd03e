"""A short run of the soak sessions, and proof that its checks can fail."""

import pytest

from polyexec.core.ledger import Ledger
from tests.soak.world import run


def test_no_session_with_faults_loses_or_doubles_anything() -> None:
    world = run(60, seed=7)
    assert world.violations == []
    assert world.faults > 60


def test_a_ledger_that_frees_money_for_unknown_orders_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ledger, "held", lambda self, asset="": 0)
    assert run(10, seed=7).violations
