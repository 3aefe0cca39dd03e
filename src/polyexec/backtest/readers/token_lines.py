"""Books and trades of one token, kept without its id."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from polyexec.backtest.readers.fields import side_text
from polyexec.backtest.readers.lines import Lines, as_path
from polyexec.backtest.readers.tally import Tally
from polyexec.backtest.readers.times import parse_time_ns
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.core.market_events import BookEvent, LastTradePrice, Level
from polyexec.errors import InputError
from polyexec.parsing import parse_token_id

__all__ = ["TokenLines"]


class _Line(msgspec.Struct):
    timestamp: str | int
    local_timestamp: str | int | None = None
    bids: list[Level] | None = None
    asks: list[Level] | None = None
    price: str | None = None
    size: str | None = None
    side: str | None = None


class TokenLines:
    """JSON lines of one token that name none: books (``bids``, ``asks``) or trades.

    Of such a file only snapshots are known, or only trades; changes between snapshots are not.

    Parameters
    ----------
    path : path
        Plain, ``.gz`` or ``.zst``. ``local_timestamp`` is the time of receipt, where it is given.
    token_id : str or int
        Whose books they are.
    market : str
        The condition id.
    """

    def __init__(self, path: Path | str, *, token_id: str | int, market: str = "") -> None:
        self.name = str(path)
        self._path = as_path(path)
        self._token = parse_token_id(token_id)
        self._market = market
        first = next(_read(Lines(self._path)), None)
        self._has_books = first is not None and first.price is None
        self.truth: Truth = "snapshots" if self._has_books else "prints"
        self._tally = self._begin()

    def _begin(self) -> Tally:
        return Tally(self.truth, is_dense=self._has_books)

    def events(self) -> Iterator[Stamped]:
        """Yield a book or a trade per line.

        Raises
        ------
        InputError
            A line is neither, not of the kind of the first, or not in order; names file and line.
        """
        tally = self._tally = self._begin()
        tally.tokens.add(self._token)
        lines = Lines(self._path)
        for line in _read(lines):
            received = line.timestamp if line.local_timestamp is None else line.local_timestamp
            hole = tally.admit(parse_time_ns(received, lines.where), lines.where)
            if hole is not None:
                yield hole
            if (line.price is None) is not self._has_books:
                raise InputError(lines.where, line.price, "books and trades in one file: split it")
            event = self._event(line, lines.where)
            yield Stamped(received_ns=tally.now_ns, event=event)

    def coverage(self) -> Coverage:
        """Return what there was of it until now."""
        return self._tally.coverage()

    def _event(self, line: _Line, where: str) -> BookEvent | LastTradePrice:
        time_ms = str(parse_time_ns(line.timestamp, where) // 1_000_000)
        if line.price is None:
            return BookEvent(
                asset_id=self._token,
                market=self._market,
                timestamp=time_ms,
                bids=line.bids or [],
                asks=line.asks or [],
            )
        return LastTradePrice(
            asset_id=self._token,
            market=self._market,
            timestamp=time_ms,
            price=line.price,
            size=line.size,
            side=None if line.side is None else side_text(line.side, where),
        )


def _read(lines: Lines) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    for text in lines:
        try:
            line = decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            problem = f"is neither a book nor a trade: {error}"
            raise InputError(lines.where, text[:40], problem) from None
        if line.price is None and line.bids is None and line.asks is None:
            raise InputError(lines.where, text[:40], "is neither a book nor a trade")
        yield line
