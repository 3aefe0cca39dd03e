"""The account's statement while a replay runs: settled fills, resolutions and the equity curve."""

from collections.abc import Callable, Iterable
from itertools import takewhile

from polyexec.backtest.curve import Curve, CurvePoint
from polyexec.backtest.lots import Fill, Lots, Resolution
from polyexec.paper.matching import MatchingEngine, Trade

__all__ = ["Statement"]

_MICRO = 1_000_000
_MONEY = ""  # what the exchange calls collateral among its assets


class Statement:
    """Reads the exchange; changes nothing.

    Parameters
    ----------
    engine : MatchingEngine
        Of the paper exchange.
    account : str
        Address that trades, lower case.
    bid_of : callable
        From a token to its recorded best bid in 1e-4 dollars, 0 where there is none.
    exposure : callable
        The executor's own figure (``executor.risk.exposure_micro``).
    """

    def __init__(
        self,
        engine: MatchingEngine,
        account: str,
        *,
        bid_of: Callable[[str], int],
        exposure: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._account = account
        self._bid_of = bid_of
        self._exposure = exposure
        self._lots = Lots()
        self._seen: Trade | None = None
        self._unsettled: list[Trade] = []
        self._fills: list[Fill] = []
        self._tokens: dict[str, None] = {}
        self._resolutions: list[Resolution] = []
        self.pays: dict[str, int] = {}
        """Micro-dollars per share of the tokens that have resolved."""
        self.curve = Curve(self._point)

    @property
    def fills(self) -> tuple[Fill, ...]:
        """What has settled, by the time of its match."""
        self._read()
        return tuple(sorted(self._fills, key=lambda fill: fill.time_ms))

    @property
    def resolutions(self) -> tuple[Resolution, ...]:
        """In the order in which they became known."""
        return tuple(self._resolutions)

    def resolve(self, tokens: Iterable[str], pays_micro: int, now_ms: int) -> None:
        """Take what tokens pay, their twins the rest; the first word about a market counts."""
        self._read()
        for token in tokens:
            if token in self.pays:
                continue
            self._pay(token, pays_micro, now_ms)
            if token in self._engine.tokens:
                market, which = self._engine.tokens[token]
                self._pay(market.token_ids[1 - which], _MICRO - pays_micro, now_ms)

    def _pay(self, token: str, pays_micro: int, now_ms: int) -> None:
        self.pays[token] = pays_micro
        one = Resolution(time_ms=now_ms, token_id=token, pays_micro=pays_micro)
        self._resolutions.append(one)
        self._lots.resolve(one)

    def _point(self, now_ms: int) -> CurvePoint:
        self._read()
        return CurvePoint(
            time_ms=now_ms,
            cash_micro=self._engine.ledger.balance(self._account),
            locked_micro=self._lots.locked_micro,
            value_micro=sum(
                shares * self._worth_micro(token) // _MICRO for token, shares in self._held()
            ),
            exposure_micro=self._exposure(),
        )

    def _held(self) -> list[tuple[str, int]]:
        balance = self._engine.ledger.balance
        held = ((token, balance(self._account, token)) for token in self._tokens)
        return [(token, shares) for token, shares in held if shares]

    def _worth_micro(self, token: str) -> int:
        return self.pays[token] if token in self.pays else 100 * self._bid_of(token)

    def _read(self) -> None:
        """Book the trades that have settled since; one that failed never counted."""
        newest = next(reversed(self._engine.trades.values()), None)
        if newest is not self._seen:
            fresh = takewhile(
                lambda trade: trade is not self._seen, reversed(self._engine.trades.values())
            )
            self._unsettled += [*fresh][::-1]
            self._seen = newest
        if not self._unsettled:
            return
        waiting = []
        for trade in self._unsettled:
            if trade.status == "CONFIRMED":
                self._book(trade)
            elif trade.status != "FAILED":
                waiting.append(trade)
        self._unsettled = waiting

    def _book(self, trade: Trade) -> None:
        changes: dict[str, int] = {}
        for account, asset, delta in trade.postings:
            if account == self._account:
                changes[asset] = changes.get(asset, 0) + delta
        cost = -changes.pop(_MONEY, 0)
        tokens = [(token, shares) for token, shares in changes.items() if shares]
        if cost and not tokens:
            tokens = [(trade.taker.token_id, 0)]
        fee = trade.fee_micro if trade.taker.account == self._account else 0
        for number, (token, shares) in enumerate(tokens):
            # Two tokens: we met an order of our own, and who paid for which is a matter of taste.
            share = cost // (len(tokens) - number)
            cost -= share
            fill = Fill(
                time_ms=trade.matched_ms,
                token_id=token,
                shares_micro=shares,
                cost_micro=share,
                fee_micro=0 if number else fee,
            )
            self._fills.append(fill)
            self._tokens[token] = None
            self._lots.add(fill)
