"""Trades of the Data API: JSON pages, lines and CSV."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from polyexec.backtest.readers.fields import CsvRows, amount_text, side_text, token_set
from polyexec.backtest.readers.lines import Lines, list_files, read_document
from polyexec.backtest.readers.sorting import Sorter
from polyexec.backtest.readers.tally import Tally
from polyexec.backtest.readers.times import parse_time_ns
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.core.answers import decode_json
from polyexec.core.market_events import LastTradePrice
from polyexec.errors import InputError
from polyexec.parsing import parse_token_id

__all__ = ["DataApiTrades"]

_PAGES: Final = 1 << 40  # numbers of pages per file
_NEEDED: Final = ("timestamp", "asset", "price", "size", "side")


class _Trade(msgspec.Struct, array_like=True, frozen=True):
    """A trade, and the page it stood on."""

    page: int
    asset: str
    market: str
    side: str
    price: str
    size: str
    transaction: str
    wallet: str


class DataApiTrades:
    """Trades as ``/trades`` of the Data API gives them: prints, no books.

    Pages come newest first and are sorted by time, out of core; trades of one second stay in the
    order of the file. A trade that stands on two pages was seen twice while
    paging and is dropped once, with a count; two alike on one page are two fills. Where pages
    cannot be told apart (CSV, one trade per line) the file is the page.

    Parameters
    ----------
    path : path, or several
        JSON, JSON lines or CSV; plain, ``.gz`` or ``.zst``.
    tokens : iterable of str or None
        Those that are read; None: all.
    """

    truth: Truth = "prints"

    def __init__(
        self, path: Path | str | Iterable[Path | str], *, tokens: Iterable[str] | None = None
    ) -> None:
        self._files = list_files(path)
        self.name = str(path) if isinstance(path, Path | str) else str(self._files[0])
        self._tokens = token_set(tokens)
        self._tally = Tally(self.truth, is_dense=False)

    def events(self) -> Iterator[Stamped]:
        """Yield every trade as a ``last_trade_price``, at its second.

        Raises
        ------
        InputError
            A trade lacks a field, or one cannot be read; names file, record and field.
        """
        tally = self._tally = Tally(self.truth, is_dense=False)
        sorter: Sorter[_Trade] = Sorter(_Trade)
        with sorter:
            for row, (where, page, item) in enumerate(_items(self._files)):
                time_ns, trade = _parse(item, where, page)
                if self._tokens is None or trade.asset in self._tokens:
                    sorter.add(time_ns, row, trade)
            for time_ns, trade in self._distinct(sorter):
                tally.admit(time_ns, self.name)
                tally.tokens.add(trade.asset)
                yield Stamped(received_ns=time_ns, event=_event(time_ns, trade))

    def coverage(self) -> Coverage:
        """Return what there was of it until now; a quiet hour is not told from a missing one."""
        return self._tally.coverage()

    def _distinct(self, sorter: Sorter[_Trade]) -> Iterator[tuple[int, _Trade]]:
        second: list[_Trade] = []
        now_ns = -1
        for time_ns, _, trade in sorter.drain():
            if time_ns != now_ns:
                for one in self._once(second):
                    yield now_ns, one
                second, now_ns = [], time_ns
            second.append(trade)
        for one in self._once(second):
            yield now_ns, one

    def _once(self, trades: list[_Trade]) -> Iterator[_Trade]:
        """Yield the trades of one second; of one alike as many as stand on any one page."""
        seen: Counter[tuple[Any, ...]] = Counter()
        told: Counter[tuple[Any, ...]] = Counter()
        for trade in trades:
            what = msgspec.structs.astuple(trade)[1:]
            seen[(trade.page, *what)] += 1
            if seen[(trade.page, *what)] > told[what]:
                told[what] += 1
                yield trade
            else:
                self._tally.duplicates += 1


def _event(time_ns: int, trade: _Trade) -> LastTradePrice:
    return LastTradePrice(
        asset_id=trade.asset,
        market=trade.market,
        timestamp=str(time_ns // 1_000_000),
        price=trade.price,
        size=trade.size,
        side=trade.side,
        transaction_hash=trade.transaction or None,
    )


def _parse(item: Any, where: str, page: int) -> tuple[int, _Trade]:
    if not isinstance(item, dict):
        raise InputError(where, item, "is no trade")
    for field in _NEEDED:
        if item.get(field) in (None, ""):
            raise InputError(where, field, "is missing: wrong schema, or no trade of the Data API")
    trade = _Trade(
        page,
        parse_token_id(item["asset"], f"{where} asset"),
        str(item.get("conditionId") or ""),
        side_text(item["side"], where),
        amount_text(item["price"], f"{where} price"),
        amount_text(item["size"], f"{where} size"),
        str(item.get("transactionHash") or ""),
        str(item.get("proxyWallet") or ""),
    )
    return parse_time_ns(item["timestamp"], f"{where} timestamp"), trade


def _items(files: Iterable[Path]) -> Iterator[tuple[str, int, Any]]:
    """Yield where, the number of the page, and the trade."""
    for number, file in enumerate(files):
        first = number * _PAGES
        if ".csv" in file.suffixes:
            for where, item in _rows(file):
                yield where, first, item
            continue
        lines = Lines(file)
        for line in lines:
            try:
                value = decode_json(line)
            except ValueError:
                if lines.number > 1:
                    raise InputError(lines.where, line[:40], "is not JSON") from None
                yield from _page(read_document(file), str(file), first)
                break
            yield from _page(value, lines.where, first + lines.number * isinstance(value, list))


def _page(value: Any, where: str, page: int) -> Iterator[tuple[str, int, Any]]:
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        if isinstance(item, list):
            yield from _page(item, f"{where}#{number}", page + number)
        else:
            yield f"{where}#{number}", page, item


def _rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    rows = CsvRows(Lines(file))
    missing = [name for name in _NEEDED if name not in rows.names]
    if missing:
        raise InputError(f"{file}:1", missing, "are columns that are missing: wrong schema")
    yield from rows
