"""Records that come out. Integers inside, ``Decimal`` where a person looks."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from polyexec.cards import card, grid, stacked
from polyexec.enums import LegState, OrderType, RejectCode, Side, SkipReason
from polyexec.models import OrderId, TokenId
from polyexec.numbers import from_e4, from_micro
from polyexec.signals import Signal

__all__ = ["Latency", "LegResult", "TradeResult"]


class LegResult(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one leg. Integers inside, ``Decimal`` outside."""

    state: LegState
    order_id: OrderId
    """EIP-712 digest, known before the POST."""
    token_id: TokenId
    market_slug: str
    side: Side
    order_type: OrderType
    neg_risk: bool
    price_e4: int
    """Limit price that was signed."""
    size_micro: int
    """Shares that were asked for."""
    filled_micro: int = 0
    """Shares that traded, by the answer."""
    paid_micro: int = 0
    """Collateral that changed hands for them (spent by a BUY, received by a SELL), without fee."""
    fee_micro: int = 0
    """Taker fee of the filled part, at most: exact once the fills are known."""
    code: RejectCode | None = None
    """Class of the exchange's refusal; only with ``REJECTED``."""
    error: str = ""
    """The exchange's own text, or ours when nothing was sent."""
    trade_ids: tuple[str, ...] = ()

    @property
    def price(self) -> Decimal:
        """Limit price, dollars per share."""
        return from_e4(self.price_e4)

    @property
    def size(self) -> Decimal:
        """Shares asked for."""
        return from_micro(self.size_micro)

    @property
    def filled_size(self) -> Decimal:
        """Shares traded."""
        return from_micro(self.filled_micro)

    @property
    def fee(self) -> Decimal:
        """Dollars."""
        return from_micro(self.fee_micro)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds per stage; a stage that was not reached is 0."""

    validate_us: float = 0.0
    reserve_us: float = 0.0
    price_us: float = 0.0
    sign_us: float = 0.0
    encode_us: float = 0.0
    write_us: float = 0.0
    response_us: float = 0.0
    total_us: float = 0.0


class TradeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The one answer to a submitted signal."""

    signal: Signal
    skipped: SkipReason | None = None
    detail: str = ""
    """For people: why it was skipped, or what failed for the whole batch."""
    legs: tuple[LegResult, ...] = ()
    cost_micro: int = 0
    """Collateral of the accepted legs: filled part as paid, open part at its limit; fees in."""
    expected_pnl_micro: int = 0
    """Payout minus cost of the complete sets, fees in; 0 when the payout is not known."""
    follow_ups: tuple[LegResult, ...] = ()
    """Orders that the group policy sent because only some legs had traded."""
    is_whole: bool = True
    """Nothing but complete sets has traded."""
    worst_loss_micro: int = 0
    """Before the POST: the most that a partial outcome of the group could lose."""
    at_risk_micro: int = 0
    """Exposure left: the most that can still be lost by what has traded."""
    provisional_pnl_micro: int = 0
    """Profit of what has traded in the worst outcome, follow-ups and fees in."""
    final_pnl_micro: int | None = None
    """The same once every trade is settled for good; ``None`` before."""
    latency: Latency = Latency()
    finished_ms: int = 0

    @property
    def success(self) -> bool:
        """Every leg was accepted, or follow-ups made the group whole.

        An immediate order that died unfilled was not accepted.
        """
        if self.follow_ups:
            return self.is_whole and any(leg.filled_micro for leg in self.legs)
        return bool(self.legs) and all(leg.state.is_accepted for leg in self.legs)

    @property
    def order_ids(self) -> tuple[OrderId, ...]:
        """Ids of the accepted orders."""
        return tuple(leg.order_id for leg in self.successful_orders)

    @property
    def successful_orders(self) -> tuple[LegResult, ...]:
        """Legs that the exchange accepted."""
        return tuple(leg for leg in self.legs if leg.state.is_accepted)

    @property
    def failed_orders(self) -> tuple[LegResult, ...]:
        """Legs that certainly do not exist at the exchange."""
        return tuple(
            leg for leg in self.legs if not leg.state.is_accepted and not leg.state.is_open
        )

    @property
    def unknown_orders(self) -> tuple[LegResult, ...]:
        """Legs that may exist: their money is still held."""
        return tuple(
            leg for leg in self.legs if leg.state in (LegState.UNKNOWN, LegState.UNMATCHED)
        )

    @property
    def total_cost(self) -> Decimal:
        """Dollars; see ``cost_micro``."""
        return from_micro(self.cost_micro)

    @property
    def expected_pnl(self) -> Decimal:
        """Dollars; see ``expected_pnl_micro``."""
        return from_micro(self.expected_pnl_micro)

    @property
    def worst_loss(self) -> Decimal:
        """Dollars; see ``worst_loss_micro``."""
        return from_micro(self.worst_loss_micro)

    @property
    def at_risk(self) -> Decimal:
        """Dollars; see ``at_risk_micro``."""
        return from_micro(self.at_risk_micro)

    @property
    def provisional_pnl(self) -> Decimal:
        """Dollars; see ``provisional_pnl_micro``."""
        return from_micro(self.provisional_pnl_micro)

    @property
    def final_pnl(self) -> Decimal | None:
        """Dollars; see ``final_pnl_micro``."""
        return None if self.final_pnl_micro is None else from_micro(self.final_pnl_micro)

    def _repr_html_(self) -> str:
        rows = [
            *(_cells(leg) for leg in self.legs),
            *(("follow-up: " + kind, *rest) for kind, *rest in map(_cells, self.follow_ups)),
        ]
        head = ("state", "side", "size", "limit", "filled", "paid", "fee", "market", "error")
        return stacked(card(self._figures()), *([grid(head, rows)] if rows else []))

    def _figures(self) -> Iterator[tuple[str, str]]:
        if self.skipped is None:
            outcome = "success" if self.success else "not a success"
            yield "outcome", outcome if self.is_whole else f"{outcome}: only some legs traded"
        else:
            yield "outcome", f"skipped: {self.skipped}"
        if self.detail:
            yield "detail", self.detail
        if self.signal.group_key:
            yield "group", self.signal.group_key
        if not self.legs:
            return
        yield "cost", f"${self.total_cost}"
        yield "expected profit", f"${self.expected_pnl}"
        yield "worst loss, if only some legs trade", f"${self.worst_loss}"
        if self.at_risk_micro:
            yield "still at risk", f"${self.at_risk}"
        if self.final_pnl is not None:
            yield "profit, settled", f"${self.final_pnl}"
        took = self.latency
        yield "time", f"signed in {took.sign_us:,.0f} µs, answered after {took.total_us:,.0f} µs"


def _cells(leg: LegResult) -> tuple[str, ...]:
    return (
        str(leg.state),
        str(leg.side),
        str(leg.size),
        f"{leg.price}",
        str(leg.filled_size),
        f"${from_micro(leg.paid_micro)}",
        f"${leg.fee}",
        leg.market_slug or f"{leg.token_id[:8]}…",
        leg.error,
    )
