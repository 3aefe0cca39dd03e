"""What the owner of the money allows: limits, and what to do with half a group.

Both records are settings like those of the executor: normalised and refused by name where they are
written, immutable, integers inside.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, Literal, TypeAlias, get_args

from polyexec.enums import GroupStep, OrderType
from polyexec.errors import InputError
from polyexec.numbers import PRICE_SCALE, Number, from_e4, from_micro, to_micro, to_scaled
from polyexec.parsing import parse_order_type
from polyexec.records import Record

__all__ = ["GroupPolicy", "Leveling", "RiskLimits"]

Leveling: TypeAlias = Literal["off", "sell", "buy"]

_MOST_ATTEMPTS: Final = 100
_DAY_MS: Final = 86_400_000


class GroupPolicy(Record):
    """What to do when only some legs of a group have traded.

    Parameters
    ----------
    steps : iterable of GroupStep or str, or one str
        Tried in this order, each at most once: ``"complete"``, ``"unwind"``, ``"hold"``;
        ``"complete, unwind"`` is the same as ``["complete", "unwind"]``. What is left after the
        last step is held and reported.
    attempts : int
        Rounds of orders that each step may send, 1 to 100.
    complete_band : number
        Dollars per share beyond a leg's own limit that completing may pay (or, for a SELL leg,
        give up): the cap price.
    max_extra_cost : number or None
        Dollars beyond the legs' own limits, fees aside, that completing one group may cost in
        total; ``None``: the band alone bounds it.
    unwind_band : number
        Dollars per share beyond a leg's own limit that giving back may cost.
    level : "off", "sell" or "buy"
        A FOK or FAK BUY that improves gets more shares than it asked for. Sell the surplus, buy the
        same surplus of the other legs, or leave it as exposure.
    patience_ms : int
        How long legs may rest, from the submission, before they are cancelled because others have
        traded or ended. While no leg is ahead of another all of them rest on.
    order_type : OrderType or str
        Of the orders sent: FAK or GTC. A FAK BUY spends its collateral, so that it gets more
        shares than asked where it improves; what a GTC BUY leaves resting is cancelled.

    Raises
    ------
    InputError
        Naming the field and the value.
    """

    __slots__ = (
        "attempts",
        "complete_band_e4",
        "level",
        "max_extra_cost_micro",
        "order_type",
        "patience_ms",
        "steps",
        "unwind_band_e4",
    )
    _shown = (
        "steps",
        "attempts",
        "complete_band",
        "max_extra_cost",
        "unwind_band",
        "level",
        "patience_ms",
        "order_type",
    )
    steps: tuple[GroupStep, ...]
    attempts: int
    complete_band_e4: int
    max_extra_cost_micro: int | None
    unwind_band_e4: int
    level: Leveling
    patience_ms: int
    order_type: OrderType

    def __init__(
        self,
        steps: str | Iterable[GroupStep | str] = GroupStep.HOLD,
        attempts: int = 1,
        complete_band: Number = "0.01",
        max_extra_cost: Number | None = None,
        unwind_band: Number = "0.05",
        level: Leveling = "off",
        patience_ms: int = 2000,
        order_type: OrderType | str = OrderType.FAK,
    ) -> None:
        if level not in get_args(Leveling):
            raise InputError("level", level, "must be 'off', 'sell' or 'buy'")
        kind = parse_order_type(order_type)
        if kind not in (OrderType.FAK, OrderType.GTC):
            raise InputError("order_type", order_type, "must be FAK or GTC")
        self._set(
            steps=_steps(steps),
            attempts=_whole("attempts", attempts, 1, _MOST_ATTEMPTS),
            complete_band_e4=_band("complete_band", complete_band),
            max_extra_cost_micro=_optional_micro("max_extra_cost", max_extra_cost),
            unwind_band_e4=_band("unwind_band", unwind_band),
            level=level,
            patience_ms=_whole("patience_ms", patience_ms, 0, _DAY_MS),
            order_type=kind,
        )

    @property
    def acts(self) -> bool:
        """It may send orders: it does more than hold."""
        return self.steps[0] is not GroupStep.HOLD or self.level != "off"

    @property
    def complete_band(self) -> Decimal:
        """Dollars per share."""
        return from_e4(self.complete_band_e4)

    @property
    def max_extra_cost(self) -> Decimal | None:
        """Dollars per group."""
        return _optional_decimal(self.max_extra_cost_micro)

    @property
    def unwind_band(self) -> Decimal:
        """Dollars per share."""
        return from_e4(self.unwind_band_e4)


class RiskLimits(Record):
    """Limits that hold whatever the strategy wants. ``None`` is no limit.

    Parameters
    ----------
    max_group_cost : number or None
        Dollars that one group may cost at its limit prices, fees in.
    max_daily_cost : number or None
        Dollars that all groups admitted on one UTC day may cost together.
    max_open_exposure : number or None
        Dollars that may be tied up in open groups at one time.
    max_legging_loss : number or None
        Dollars that may be lost when only some legs of a group trade, in the worst case.
    max_unknown_groups : int
        New groups are refused while this many have a leg whose fate is not known; at least 1.
    max_submits_per_second : int or None
        Groups admitted within any 1000 ms, 1 to 10,000.
    max_quote_age_ms : int or None
        A signal older than this is refused.

    Raises
    ------
    InputError
        Naming the field and the value.
    """

    __slots__ = (
        "max_daily_cost_micro",
        "max_group_cost_micro",
        "max_legging_loss_micro",
        "max_open_exposure_micro",
        "max_quote_age_ms",
        "max_submits_per_second",
        "max_unknown_groups",
    )
    _shown = (
        "max_group_cost",
        "max_daily_cost",
        "max_open_exposure",
        "max_legging_loss",
        "max_unknown_groups",
        "max_submits_per_second",
        "max_quote_age_ms",
    )
    max_group_cost_micro: int | None
    max_daily_cost_micro: int | None
    max_open_exposure_micro: int | None
    max_legging_loss_micro: int | None
    max_unknown_groups: int
    max_submits_per_second: int | None
    max_quote_age_ms: int | None

    def __init__(
        self,
        max_group_cost: Number | None = None,
        max_daily_cost: Number | None = None,
        max_open_exposure: Number | None = None,
        max_legging_loss: Number | None = None,
        max_unknown_groups: int = 1,
        max_submits_per_second: int | None = None,
        max_quote_age_ms: int | None = None,
    ) -> None:
        rate, age = max_submits_per_second, max_quote_age_ms
        self._set(
            max_group_cost_micro=_optional_micro("max_group_cost", max_group_cost),
            max_daily_cost_micro=_optional_micro("max_daily_cost", max_daily_cost),
            max_open_exposure_micro=_optional_micro("max_open_exposure", max_open_exposure),
            max_legging_loss_micro=_optional_micro("max_legging_loss", max_legging_loss),
            max_unknown_groups=_whole("max_unknown_groups", max_unknown_groups, 1, 1_000_000),
            max_submits_per_second=(
                None if rate is None else _whole("max_submits_per_second", rate, 1, 10_000)
            ),
            max_quote_age_ms=None if age is None else _whole("max_quote_age_ms", age, 0, _DAY_MS),
        )

    @property
    def max_group_cost(self) -> Decimal | None:
        """Dollars."""
        return _optional_decimal(self.max_group_cost_micro)

    @property
    def max_daily_cost(self) -> Decimal | None:
        """Dollars."""
        return _optional_decimal(self.max_daily_cost_micro)

    @property
    def max_open_exposure(self) -> Decimal | None:
        """Dollars."""
        return _optional_decimal(self.max_open_exposure_micro)

    @property
    def max_legging_loss(self) -> Decimal | None:
        """Dollars."""
        return _optional_decimal(self.max_legging_loss_micro)


def _steps(given: str | Iterable[GroupStep | str]) -> tuple[GroupStep, ...]:
    words = given.split(",") if isinstance(given, str) else list(given)
    steps: list[GroupStep] = []
    for word in words:
        try:
            step = GroupStep(word.strip().lower() if isinstance(word, str) else word)
        except ValueError:
            raise InputError("steps", word, "must be complete, unwind or hold") from None
        if step in steps:
            raise InputError("steps", given, f"names {step} twice")
        if GroupStep.HOLD in steps:
            raise InputError("steps", given, "hold ends the list: nothing comes after it")
        steps.append(step)
    if not steps:
        raise InputError("steps", given, "names no step; 'hold' does nothing and reports")
    return tuple(steps)


def _band(field: str, value: Number) -> int:
    band = to_scaled(value, field, scale=PRICE_SCALE, unit="0.0001, the finest tick")
    if not 0 <= band < PRICE_SCALE:
        raise InputError(field, value, "must be at least 0 and below 1 dollar")
    return band


def _whole(field: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(field, value, f"must be a whole number from {least} to {most}")
    return value


def _optional_micro(field: str, value: Number | None) -> int | None:
    return None if value is None else to_micro(value, field)


def _optional_decimal(micro: int | None) -> Decimal | None:
    return None if micro is None else from_micro(micro)
