"""Which groups there are: found in the metadata, kept fresh while running, gone in time."""

import asyncio
import time
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from polyexec.core.forms import Form
from polyexec.core.range_overrides import RangeOverrides, parse_overrides
from polyexec.core.ranges import RangeKind, RangeMarket, Unread, merge_record, read_event
from polyexec.core.trios import MOST_CHILDREN, Group, Unproven, build_groups, forms_of
from polyexec.errors import ConfigError, TransportError, VenueError
from polyexec.models import ConditionId

__all__ = ["EventSource", "GroupBook", "GroupChange", "load_overrides"]

DEFAULT_TAGS: Final = ("bitcoin", "ethereum", "solana", "xrp")
_AT_ONCE: Final = 8


class EventSource(Protocol):
    """Where events come from: :class:`~polyexec.clob.gamma.GammaClient`."""

    async def events(
        self, *, tag_slug: str, end_min_ms: int | None, end_max_ms: int | None
    ) -> Sequence[Any]:
        """Return open events as they came."""
        ...


class GroupChange(msgspec.Struct, frozen=True):
    """What a look at the markets changed. A form whose terms changed is in both."""

    added: tuple[Form, ...] = ()
    removed: tuple[Form, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


class _Record(msgspec.Struct, frozen=True):
    fetched_s: float
    value: Any


def load_overrides(path: str | Path) -> RangeOverrides:
    """Read an overrides file; no path: no overrides.

    Raises
    ------
    ConfigError
        It cannot be read, or holds something that is not known; names file, key and value.
    """
    if not path:
        return RangeOverrides()
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"group_overrides={str(path)!r}: {error}") from None
    return parse_overrides(data, str(path))


class GroupBook:
    """Groups, their forms, and in words what makes none. For one event loop.

    Parameters
    ----------
    events : EventSource
        The metadata.
    record_of : async callable
        From a condition to the order book's own record (:meth:`ClobClient.market_record`).
    overrides : RangeOverrides or None
        See :func:`~polyexec.engine.groups.load_overrides`.
    tags : iterable of str
        Which events to look at.
    horizon_s : float
        Groups that expire later are not looked at.
    margin_s : float
        So long before its instant a group leaves.
    record_age_s : float
        A record is fetched anew at half of it; at all of it, it is not used any more.
    most_children : int
        1: only the four strategies; up to 13: the general form too.
    now_ms, steady_s : callable
        Unix milliseconds, and seconds of a clock that never steps.
    """

    def __init__(
        self,
        events: EventSource,
        record_of: Callable[[ConditionId], Awaitable[Any]],
        *,
        overrides: RangeOverrides | None = None,
        tags: Iterable[str] = DEFAULT_TAGS,
        horizon_s: float = 8 * 86_400.0,
        margin_s: float = 60.0,
        record_age_s: float = 600.0,
        most_children: int = MOST_CHILDREN,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._record_of = record_of
        self._overrides = overrides or RangeOverrides()
        self._tags = tuple(tags)
        self._horizon_ms = round(horizon_s * 1000)
        self._margin_ms = round(margin_s * 1000)
        self._record_age_s = record_age_s
        self._most_children = most_children
        self._now_ms = now_ms
        self._steady_s = steady_s
        self._records: dict[ConditionId, _Record] = {}
        self._forms: dict[Form, int] = {}  # with the instant of their group
        self._refreshing = asyncio.Lock()
        self.groups: tuple[Group, ...] = ()
        """Those of the last look that have not expired."""
        self.unproven: tuple[Unproven, ...] = ()
        """What would make a trio if it were known and right."""
        self.unread: tuple[Unread, ...] = ()
        """Markets that are no price ranges."""
        self.refreshed_ms = 0
        """Unix milliseconds of the last complete look; 0: none yet."""

    def __repr__(self) -> str:
        trios = sum(len(group.trios) for group in self.groups)
        return f"GroupBook({len(self.groups)} groups, {trios} trios, {len(self._forms)} forms)"

    @property
    def forms(self) -> tuple[Form, ...]:
        """Every form that may be traded now."""
        return tuple(self._forms)

    async def refresh(self) -> GroupChange:
        """Look at the markets; return what changed.

        Raises
        ------
        TransportError, VenueError
            The metadata could not be read. Everything stays as it was; :meth:`expire` still
            removes what is over.
        """
        async with self._refreshing:
            now_ms = self._now_ms()
            markets, unread = await self._read(now_ms)
            markets = await self._with_records(markets)
            now_ms = self._now_ms()
            groups, stray = build_groups(
                markets, self._overrides, most_children=self._most_children
            )
            groups = tuple(group for group in groups if not self._is_over(group.instant_ms, now_ms))
            self.groups = groups
            self.unproven = (*stray, *(item for group in groups for item in group.unproven))
            self.unread = tuple(unread)
            self.refreshed_ms = now_ms
            return self._replace(
                {
                    form: group.instant_ms
                    for group in groups
                    for trio in group.trios
                    for form in forms_of(trio)
                }
            )

    def expire(self) -> GroupChange:
        """Drop the groups whose time has come, without asking anybody."""
        now_ms = self._now_ms()
        self.groups = tuple(g for g in self.groups if not self._is_over(g.instant_ms, now_ms))
        self.unproven = tuple(
            item for item in self.unproven if not item.group_key or self._is_listed(item)
        )
        return self._replace(
            {form: end for form, end in self._forms.items() if not self._is_over(end, now_ms)}
        )

    def forget(self, condition_id: ConditionId) -> None:
        """Ask the order book about a market at the next refresh: its tick has changed, say."""
        self._records.pop(condition_id, None)

    def explain(self) -> str:
        """Return a few lines for people: what there is, and why not more."""
        lines = [repr(self)]
        lines += [f"{g.key}: {len(g.trios)} trios, {len(g.unproven)} unproven" for g in self.groups]
        reasons = Counter(check.name for item in self.unproven for check in item.missing)
        lines += [f"unproven for {name}: {count}" for name, count in reasons.most_common()]
        lines += [str(item) for item in self.unproven]
        return "\n".join(lines)

    # --- looking ------------------------------------------------------------------------------

    async def _read(self, now_ms: int) -> tuple[list[RangeMarket], list[Unread]]:
        markets: dict[ConditionId, RangeMarket] = {}
        unread: dict[Unread, None] = {}
        for tag in self._tags:
            rows = await self._events.events(
                tag_slug=tag, end_min_ms=now_ms, end_max_ms=now_ms + self._horizon_ms
            )
            for row in rows:
                found, others = read_event(row, self._overrides)
                for market in found:
                    if market.instant_ms <= 0 or not self._is_over(market.instant_ms, now_ms):
                        markets.setdefault(market.condition_id, market)
                for other in others:
                    unread[other] = None
        return list(markets.values()), list(unread)

    async def _with_records(self, markets: list[RangeMarket]) -> list[RangeMarket]:
        """Ask the order book about every market that might be a leg."""
        kinds: dict[tuple[str, int], Counter[RangeKind]] = {}
        for market in markets:
            kinds.setdefault((market.asset, market.instant_ms), Counter())[market.kind] += 1
        wanted = []
        for market in markets:
            count = kinds[market.asset, market.instant_ms]
            if (
                market.is_open
                and market.asset
                and market.instant_ms > 0
                and market.kind is not RangeKind.BELOW
                and count[RangeKind.BETWEEN] >= 1
                and count[RangeKind.ABOVE] >= 2
            ):
                wanted.append(market.condition_id)
        turn = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            asked = {c: tasks.create_task(self._record(c, turn)) for c in wanted}
        self._records = {c: r for c, r in self._records.items() if c in asked}
        return [
            merge_record(market, asked[market.condition_id].result())
            if market.condition_id in asked
            else market
            for market in markets
        ]

    async def _record(self, condition_id: ConditionId, turn: asyncio.Semaphore) -> Any:
        kept = self._records.get(condition_id)
        age_s = self._record_age_s if kept is None else self._steady_s() - kept.fetched_s
        if kept is not None and age_s < self._record_age_s / 2:
            return kept.value
        async with turn:
            try:
                value = await self._record_of(condition_id)
            except (TransportError, VenueError):
                # Not known any more once it is too old: the legs are unproven then.
                return kept.value if kept is not None and age_s < self._record_age_s else None
        self._records[condition_id] = _Record(self._steady_s(), value)
        return value

    # --- keeping ------------------------------------------------------------------------------

    def _is_over(self, instant_ms: int, now_ms: int) -> bool:
        return instant_ms - self._margin_ms <= now_ms

    def _is_listed(self, item: Unproven) -> bool:
        return any(group.key == item.group_key for group in self.groups)

    def _replace(self, forms: dict[Form, int]) -> GroupChange:
        before, self._forms = self._forms, forms
        return GroupChange(
            added=tuple(form for form in forms if form not in before),
            removed=tuple(form for form in before if form not in forms),
        )
