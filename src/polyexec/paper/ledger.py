"""Who owns what, in integers, and the proof that nothing was created or lost."""

from collections import defaultdict
from typing import NamedTuple

from polyexec.errors import InternalError
from polyexec.numbers import MICRO
from polyexec.paper.book import PaperMarket

__all__ = ["COLLATERAL", "HOUSE", "Ledger", "Posting"]

COLLATERAL = ""
"""The asset that is money; every other asset is a token id."""
HOUSE = "house"
"""The account behind seeded books. It may owe money, and it splits sets when it sells short."""


class Posting(NamedTuple):
    """One account's change of one asset."""

    account: str
    asset: str
    delta_micro: int


class Ledger:
    """Balances, what open orders tie up, and what matched trades will take.

    The invariants, checked by :meth:`audit`: for each market the first tokens and the second
    tokens in circulation both equal the collateral locked in its sets; the money of all accounts,
    the locked collateral and the fees add up to what was ever deposited. Of a resolved market,
    the locked collateral is what its shares still pay, and what redemptions rounded away.
    """

    def __init__(self) -> None:
        self._balances: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._active: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._matched: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._locked: defaultdict[str, int] = defaultdict(int)
        self._market_of: dict[str, PaperMarket] = {}
        self._pays: dict[str, tuple[int, int]] = {}
        # What floors of redemptions left behind, in millionths of a micro-dollar.
        self._dust: defaultdict[str, int] = defaultdict(int)
        self.fees_micro = 0
        """Taker fees that were kept: what makers got of them is not in it."""
        self.rebates_micro = 0
        self.deposited_micro = 0

    def add_market(self, market: PaperMarket) -> None:
        """Make a market's tokens known."""
        for token_id in market.token_ids:
            self._market_of[token_id] = market

    def balance(self, account: str, asset: str = COLLATERAL) -> int:
        """Return what an account holds; open orders are not subtracted."""
        return self._balances.get((account, asset), 0)

    def active(self, account: str, asset: str = COLLATERAL) -> int:
        """Return what its resting orders tie up."""
        return self._active.get((account, asset), 0)

    def matched(self, account: str, asset: str = COLLATERAL) -> int:
        """Return what its matched but unsettled trades will take."""
        return self._matched.get((account, asset), 0)

    def available(self, account: str, asset: str = COLLATERAL) -> int:
        """Return what a new order may use."""
        return (
            self.balance(account, asset)
            - self.active(account, asset)
            - self.matched(account, asset)
        )

    def deposit(self, account: str, amount_micro: int) -> None:
        """Bring money in from outside."""
        self._balances[account, COLLATERAL] += amount_micro
        self.deposited_micro += amount_micro

    def hold(self, account: str, asset: str, delta_micro: int) -> None:
        """Change what resting orders tie up."""
        self._active[account, asset] += delta_micro

    def split(self, account: str, market: PaperMarket, sets_micro: int) -> None:
        """Turn money into as many shares of both tokens."""
        self._balances[account, COLLATERAL] -= sets_micro
        self._locked[market.condition_id] += sets_micro
        for token_id in market.token_ids:
            self._balances[account, token_id] += sets_micro

    def resolve(self, market: PaperMarket, pays_micro: tuple[int, int]) -> None:
        """Say what a share of each token is worth; together they are worth the dollar of a set."""
        if min(pays_micro) < 0 or sum(pays_micro) != MICRO:
            raise InternalError(f"a set pays a dollar, not {pays_micro}")
        self._pays[market.condition_id] = pays_micro

    def redeem(self, account: str, market: PaperMarket) -> int:
        """Turn an account's shares of a resolved market into money; return how much.

        Each token's payout is rounded down to a micro-dollar, as the contract does it.
        """
        paid = 0
        for token_id, pays in zip(market.token_ids, self._pays[market.condition_id], strict=True):
            payout, dust = divmod(self._balances.pop((account, token_id), 0) * pays, MICRO)
            self._dust[market.condition_id] += dust
            paid += payout
        self._locked[market.condition_id] -= paid
        self._balances[account, COLLATERAL] += paid
        return paid

    def holders(self, market: PaperMarket) -> list[str]:
        """Return the accounts that hold shares of a market, sorted."""
        return sorted(
            {who for (who, asset), held in self._balances.items()
             if held and asset in market.token_ids}
        )  # fmt: skip

    def set_position(self, account: str, token_id: str, shares_micro: int) -> None:
        """Give or take shares until the account has so many; the house is the other side."""
        delta = shares_micro - self.balance(account, token_id)
        self.settle(
            self._market_of[token_id],
            [Posting(account, token_id, delta), Posting(HOUSE, token_id, -delta)],
            minted_micro=0,
            fee_micro=0,
        )

    def reserve(self, postings: list[Posting]) -> None:
        """Count the debits of a trade that settles later."""
        for account, asset, delta in postings:
            if delta < 0:
                self._matched[account, asset] -= delta

    def release(self, postings: list[Posting]) -> None:
        """Stop counting them: the trade settled or failed."""
        for account, asset, delta in postings:
            if delta < 0:
                self._matched[account, asset] += delta

    def settle(
        self,
        market: PaperMarket,
        postings: list[Posting],
        *,
        minted_micro: int,
        fee_micro: int,
        rebate_micro: int = 0,
    ) -> None:
        """Move money and shares; ``minted_micro`` sets come into being (negative: are merged).

        The rebate is in the postings of who gets it, and comes out of the fee.
        """
        self._locked[market.condition_id] += minted_micro
        self.fees_micro += fee_micro - rebate_micro
        self.rebates_micro += rebate_micro
        for account, asset, delta in postings:
            if account == HOUSE and asset and delta < 0:
                short = -delta - self.balance(HOUSE, asset)
                if short > 0:
                    self.split(HOUSE, market, short)
            self._balances[account, asset] += delta

    def audit(self) -> None:
        """Check every invariant.

        Raises
        ------
        InternalError
            Saying what is off and by how many micro-units.
        """
        money = self.fees_micro
        tokens: defaultdict[str, int] = defaultdict(int)
        for (account, asset), amount in self._balances.items():
            if asset == COLLATERAL:
                money += amount
            else:
                tokens[asset] += amount
            if amount < 0 and (account != HOUSE or asset != COLLATERAL):
                raise InternalError(f"{account} holds {amount} micro-units of {asset or 'money'}")
        for holds in (self._active, self._matched):
            for (account, asset), amount in holds.items():
                if amount < 0:
                    raise InternalError(f"{account} has a hold of {amount} on {asset or 'money'}")
        for token_id, market in self._market_of.items():
            if market.condition_id in self._pays:
                continue
            gap = tokens.pop(token_id, 0) - self._locked.get(market.condition_id, 0)
            if gap:
                raise InternalError(f"token {token_id} is {gap} micro-shares off its locked sets")
        self._audit_resolved(tokens)
        gap = money + sum(self._locked.values()) - self.deposited_micro
        if gap or tokens:
            raise InternalError(f"money is off by {gap} micro-units, stray tokens {dict(tokens)}")

    def _audit_resolved(self, tokens: dict[str, int]) -> None:
        markets = {market.condition_id: market for market in self._market_of.values()}
        for condition_id, pays in self._pays.items():
            owed = sum(
                tokens.pop(token_id, 0) * each
                for token_id, each in zip(markets[condition_id].token_ids, pays, strict=True)
            )
            gap = self._locked[condition_id] * MICRO - owed - self._dust[condition_id]
            if gap:
                raise InternalError(f"resolved {condition_id} is {gap} off what its shares pay")
