"""The SHA-1 by which the exchange names the state of a book: the only sign of a missed message.

The hash is over texts, the price table keeps integers. Every price and size that the exchange was
ever recorded to send is the shortest plain decimal of its number, so the texts can be made again;
tick and last price are kept as they came (``0.070`` is a last price). Source: protocol notes,
rest.md 1 and websocket.md 1.
"""

import hashlib
from collections.abc import Iterable, Sequence

from polyexec.core.market_events import Level
from polyexec.numbers import MICRO, PRICE_SCALE

__all__ = ["HashedBook", "price_text", "size_text", "trade_price_text"]


def price_text(price_e4: int) -> str:
    """Return ten-thousandths of a dollar as the exchange writes a price."""
    whole, rest = divmod(price_e4, PRICE_SCALE)
    return f"{whole}.{rest:04d}".rstrip("0") if rest else str(whole)


def size_text(size_micro: int) -> str:
    """Return micro-shares as the exchange writes a size."""
    whole, rest = divmod(size_micro, MICRO)
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)


def trade_price_text(price: str) -> str:
    """Return a price as a book shows it for its last trade: with three decimals at least."""
    whole, point, decimals = price.partition(".")
    return f"{whole}.{decimals:0<3}" if point else f"{whole}.000"


class HashedBook:
    """The text of one book in front of its last field, of which there may be several candidates.

    Parameters
    ----------
    market, token_id, timestamp : str
        As sent with the book, or with the change that led to it.
    bids, asks : str
        See :meth:`texts_of` and :meth:`levels_of`; the best level is last.
    min_order_size : str
        Shares.
    tick_size : str
        Dollars.
    neg_risk : bool
    """

    __slots__ = ("_head",)

    def __init__(
        self,
        *,
        market: str,
        token_id: str,
        timestamp: str,
        bids: str,
        asks: str,
        min_order_size: str,
        tick_size: str,
        neg_risk: bool,
    ) -> None:
        head = (
            f'{{"market":"{market}","asset_id":"{token_id}","timestamp":"{timestamp}","hash":"",'
            f'"bids":[{bids}],"asks":[{asks}],"min_order_size":"{min_order_size}",'
            f'"tick_size":"{tick_size}","neg_risk":{"true" if neg_risk else "false"},'
            '"last_trade_price":"'
        )
        self._head = hashlib.sha1(head.encode(), usedforsecurity=False)

    def sha1(self, last_trade_price: str) -> str:
        """Return the hash, in hexadecimal digits, with this price of the last trade."""
        whole = self._head.copy()
        whole.update(f'{last_trade_price}"}}'.encode())
        return whole.hexdigest()

    @staticmethod
    def texts_of(levels: Iterable[Level]) -> str:
        """Return a side as text, from texts that were sent."""
        return ",".join(f'{{"price":"{level.price}","size":"{level.size}"}}' for level in levels)

    @staticmethod
    def levels_of(levels: Sequence[tuple[int, int]]) -> str:
        """Return a side as text, from (price in ten-thousandths, micro-shares), best first."""
        return ",".join(
            f'{{"price":"{price_text(price)}","size":"{size_text(size)}"}}'
            for price, size in reversed(levels)
        )
