"""The check of groups runs on a sample in the ordinary test-suite, and sees a wrong figure."""

import pytest

from polyexec.core.evidence import OrderEvidence, Tally
from polyexec.enums import Settlement
from tests.exhaustive import groups


def test_exposure_and_worst_loss_are_those_of_the_model() -> None:
    cases, mismatches = groups.check(full=False, seed=1)
    assert mismatches == 0
    assert cases > 3_000


@pytest.mark.parametrize("lost", ["shares", "fee", "failed", "final"])
def test_a_lost_piece_is_seen(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true = OrderEvidence.tally

    def wrong(self: OrderEvidence, settlements: dict[str, Settlement]) -> Tally:
        if lost == "failed":
            settlements = {
                trade: Settlement.MINED if stands is Settlement.FAILED else stands
                for trade, stands in settlements.items()
            }
        tally = true(self, settlements)
        return Tally(
            shares_micro=tally.shares_micro - (lost == "shares" and tally.shares_micro > 0),
            paid_micro=tally.paid_micro,
            fee_micro=tally.fee_micro - (lost == "fee" and tally.fee_micro > 0),
            traded_micro=tally.traded_micro,
            is_on_chain=tally.is_on_chain,
            is_final=tally.is_final or lost == "final",
        )

    monkeypatch.setattr(OrderEvidence, "tally", wrong)
    monkeypatch.setattr(groups, "SAMPLE", 0.002)
    cases, mismatches = groups.check(full=False, seed=1)
    assert cases > mismatches > cases // 10
