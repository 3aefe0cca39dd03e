"""The same trade from the other side: a SELL at p is a BUY of the complement at 1 - p.

YES and NO of one market share one book, so both forms meet the same orders: the bid for one token
is the ask for the other. The fee curve is symmetric, tick and minimums belong to the market.
"""

from polyexec.enums import Side
from polyexec.errors import InputError
from polyexec.models import Leg, Quote
from polyexec.numbers import PRICE_SCALE, from_e4

__all__ = ["complement_leg", "complement_quote"]


def complement_leg(leg: Leg) -> Leg | None:
    """Return the BUY leg that is the same trade as a SELL leg.

    It costs ``size * (1 - price)`` and pays 1 minus what the sold token pays, so against keeping
    the shares cost and payoff agree with the SELL in every outcome, fee included. A FOK or FAK
    spends whole cents, which can make it smaller than the SELL by less than a cent's worth.

    Parameters
    ----------
    leg : Leg
        With side SELL.

    Returns
    -------
    Leg or None
        ``None`` when the leg does not name its ``complement_token_id``.

    Raises
    ------
    InputError
        The leg is a BUY.
    """
    if leg.side is not Side.SELL:
        raise InputError("side", leg.side, "only a SELL is replaced by its complement")
    if leg.complement_token_id is None:
        return None
    return leg.replace(
        token_id=leg.complement_token_id,
        complement_token_id=leg.token_id,
        side=Side.BUY,
        price=from_e4(PRICE_SCALE - leg.price_e4),
    )


def complement_quote(quote: Quote) -> Quote | None:
    """Return the quote of the other token: bid and ask change places at 1 - p.

    ``None`` when the quote does not name its ``complement_token_id``.
    """
    if quote.complement_token_id is None:
        return None
    bid, ask = quote.best_bid_e4, quote.best_ask_e4
    return quote.replace(
        token_id=quote.complement_token_id,
        complement_token_id=quote.token_id,
        best_bid=None if ask is None else from_e4(PRICE_SCALE - ask),
        best_ask=None if bid is None else from_e4(PRICE_SCALE - bid),
        best_bid_size=quote.best_ask_size,
        best_ask_size=quote.best_bid_size,
    )
