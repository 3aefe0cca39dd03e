"""What an answered group costs and is expected to earn, in micro-dollars."""

from polyexec.core.candidates import Edge, PricedLeg
from polyexec.enums import LegState, Side
from polyexec.results import LegResult

__all__ = ["cost_of", "expected_pnl"]


def cost_of(leg: PricedLeg, result: LegResult) -> int:
    """Cost of what an accepted leg bought, and of what it still may buy at its limit."""
    if not result.state.is_accepted:
        return 0
    buys = leg.side is Side.BUY
    filled = result.paid_micro if buys else result.filled_micro - result.paid_micro
    cost = filled + result.fee_micro
    if result.state is not LegState.MATCHED:
        # the open part, pro rata of the cost at the limit
        cost += leg.cost_micro * (leg.size_micro - result.filled_micro) // leg.size_micro
    return cost


def expected_pnl(
    edge: Edge | None,
    legs: tuple[PricedLeg, ...],
    results: tuple[LegResult, ...],
    cost_micro: int,
) -> int:
    """Profit if what was accepted trades in full; 0 unless every leg was, or without an edge."""
    if edge is None or not all(result.state.is_accepted for result in results):
        return 0
    sets = min(
        result.filled_micro if result.state is LegState.MATCHED else leg.size_micro
        for leg, result in zip(legs, results, strict=True)
    )
    size = min(leg.size_micro for leg in legs)
    return edge.payout_micro * sets // size - cost_micro
