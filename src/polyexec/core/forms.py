"""Sets of legs that pay a fixed sum whatever happens: what the evaluator watches.

A trio of ranges gives four of them, one for each :class:`Strategy`; several children between two
parents give the general form, which has no strategy of its own.
"""

import msgspec

from polyexec.enums import Side, Strategy
from polyexec.models import Market, TokenId

__all__ = ["Form", "FormLeg"]


class FormLeg(msgspec.Struct, frozen=True):
    """One leg: a BUY takes the asks of the token, a SELL its bids."""

    market: Market
    """Of the token that is traded: where a leg buys NO, the NO token's."""
    side: Side
    complement_token_id: TokenId
    """The market's other token, which pays 1 minus this one."""

    @property
    def token_id(self) -> TokenId:
        """The token that is traded."""
        return self.market.token_id


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """Legs that are worth ``payout`` dollars per set at resolution, in every outcome.

    A SELL at b counts as buying the complement at 1 - b, as in ``core.strategy``.
    """

    legs: tuple[FormLeg, ...]
    """2 to 15. With a strategy: parent, parent_upper, child."""
    payout: int
    strategy: Strategy | None = None
    """None: the general form, which goes to the executor as a ``LegsSignal``."""
    outcomes: tuple[tuple[int, ...], ...] = ()
    """Dollars that each leg's token pays, a row per outcome; as in ``LegsSignal``."""
    group_key: str = ""
    event_slug: str = ""
    crypto: str = ""
