"""What pricing and signing need of a market, kept for a while and never guessed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from polyexec.errors import InputError
from polyexec.models import ConditionId, Market, TokenId
from polyexec.numbers import Number
from polyexec.parsing import parse_tick_e4, parse_token_id

__all__ = ["MarketCache"]

_MOST: Final = 10_000
_FETCHES: Final = 3


class _Entry:
    __slots__ = ("fetched_s", "market")

    def __init__(self, market: Market, fetched_s: float) -> None:
        self.market = market
        self.fetched_s = fetched_s


class MarketCache:
    """Market records by token. For one event loop; :meth:`peek` also for other threads.

    Parameters
    ----------
    condition_of : async callable
        From a token to its condition, which never changes.
    market : async callable
        From a condition and a token to the market's record.
    max_age_s : float
        An older record is fetched again before it is used.
    steady_s : callable
        Seconds of a clock that never steps.

    Notes
    -----
    However many ask for a token at once, it is fetched once. A failure reaches all of them and is
    not kept; a record beyond its age is never served in its place.
    """

    def __init__(
        self,
        condition_of: Callable[[TokenId], Awaitable[ConditionId]],
        market: Callable[[ConditionId, TokenId], Awaitable[Market]],
        *,
        max_age_s: float = 60.0,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._condition_of = condition_of
        self._market = market
        self._max_age_s = max_age_s
        self._steady_s = steady_s
        self._entries: dict[TokenId, _Entry] = {}
        self._conditions: dict[TokenId, ConditionId] = {}
        self._fetching: dict[TokenId, asyncio.Task[Market]] = {}
        self._changes: dict[TokenId, int] = {}

    def __repr__(self) -> str:
        return f"MarketCache({len(self._entries)} tokens, max_age_s={self._max_age_s:g})"

    def peek(self, token_id: TokenId) -> Market | None:
        """Return the record if there is one that is young enough; asks nobody."""
        entry = self._entries.get(token_id)
        if entry is None or self._steady_s() - entry.fetched_s > self._max_age_s:
            return None
        return entry.market

    async def get(self, token_id: TokenId) -> Market:
        """Return the record, fetched when there is none or it is too old.

        Raises
        ------
        TransportError, VenueError
            It had to be fetched, and that failed.
        """
        token_id = parse_token_id(token_id)
        market = self.peek(token_id)
        if market is not None:
            return market
        task = self._fetching.get(token_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(token_id))
            self._fetching[token_id] = task
            task.add_done_callback(lambda done: self._fetched(token_id, done))
        # One who gives up waiting must not take the answer from the others.
        return await asyncio.shield(task)

    async def condition_of(self, token_id: TokenId) -> ConditionId:
        """Return the condition of a token, asked for once.

        Raises
        ------
        TransportError, VenueError
            It had to be asked for, and that failed.
        """
        known = self._conditions.get(token_id)
        if known is None:
            known = await self._condition_of(token_id)
            if len(self._conditions) >= 2 * _MOST:
                del self._conditions[next(t for t in self._conditions if t not in self._entries)]
            self._conditions[token_id] = known
        return known

    def tick_size_change(
        self, token_id: TokenId | str, new_tick: Number, *, condition_id: str = ""
    ) -> None:
        """Take over a tick from the market stream, for every token of the market.

        Parameters
        ----------
        token_id : str
            ``asset_id`` of the message.
        new_tick : number
            ``new_tick_size``, dollars.
        condition_id : str
            ``market`` of the message; finds the other token.

        Raises
        ------
        InputError
            Not a token id, or not a tick; the records are fetched again before they are used.
        """
        token_id = parse_token_id(token_id)
        known = self._conditions.get(token_id)
        condition = condition_id or known
        named = {token_id} | {t for t, c in self._conditions.items() if c == condition}
        tokens = [t for t in named if t in self._entries or t in self._fetching]
        for token in tokens:
            # A fetch that is on its way may bring the old tick: it has to ask once more.
            self._changes[token] = self._changes.get(token, 0) + 1
        try:
            tick_e4 = parse_tick_e4(new_tick)
        except InputError:
            for token in tokens:
                self._entries.pop(token, None)
            raise
        for token in tokens:
            entry = self._entries.get(token)
            if entry is not None:
                entry.market = msgspec.structs.replace(entry.market, tick_e4=tick_e4)

    def forget(self, token_id: TokenId) -> None:
        """Fetch this token again before it is used."""
        self._entries.pop(token_id, None)
        self._changes[token_id] = self._changes.get(token_id, 0) + 1

    async def close(self) -> None:
        """Stop fetching."""
        tasks = tuple(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, token_id: TokenId) -> Market:
        condition = await self.condition_of(token_id)
        for _ in range(_FETCHES):
            change = self._changes.get(token_id, 0)
            asked_s = self._steady_s()
            market = await self._market(condition, token_id)
            if self._changes.get(token_id, 0) == change:
                break
        else:
            return market  # it changes as quickly as we ask: good for now, not for keeping
        while len(self._entries) >= _MOST:
            oldest = next(iter(self._entries))
            del self._entries[oldest]
            self._conditions.pop(oldest, None)
            self._changes.pop(oldest, None)
        self._entries.pop(token_id, None)
        self._entries[token_id] = _Entry(market, asked_s)
        return market

    def _fetched(self, token_id: TokenId, task: "asyncio.Task[Market]") -> None:
        del self._fetching[token_id]
        if not task.cancelled():
            task.exception()  # told to whoever waits, if anybody still does
