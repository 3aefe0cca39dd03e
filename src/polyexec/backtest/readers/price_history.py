"""``prices-history``: one price now and then, without spread or depth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyexec.backtest.readers.lines import as_path, read_document
from polyexec.backtest.readers.tally import Tally
from polyexec.backtest.readers.times import parse_time_ns
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.errors import InputError
from polyexec.numbers import to_decimal
from polyexec.parsing import parse_token_id

__all__ = ["PriceHistory"]


class PriceHistory:
    """The answer of ``/prices-history``, of one token or the batch form.

    Mid only: it says where the middle was, not what could be bought. So it yields no book, and a
    strategy cannot trade on it; it is for bars and marks.

    Parameters
    ----------
    path : path
        JSON, ``{"history": [{"t": 1784850900, "p": 0.43}, ...]}``; of the batch form ``history`` is
        a mapping of token ids to such lists.
    token_id : str, int or None
        Whose it is; needed where the file does not name it.
    """

    truth: Truth = "mid only"

    def __init__(self, path: Path | str, *, token_id: str | int | None = None) -> None:
        self.name = str(path)
        self._path = as_path(path)
        self._token = None if token_id is None else parse_token_id(token_id)
        self._tally = Tally(self.truth, is_dense=False)

    def events(self) -> Iterator[Stamped]:
        """Yield a mid for each point, by time.

        Raises
        ------
        InputError
            It is no price history, or a point cannot be read; names file and point.
        """
        tally = self._tally = Tally(self.truth, is_dense=False)
        points: set[tuple[int, str, str]] = set()
        total = 0
        for token, number, point in self._points():
            where = f"{self.name}#{number}"
            if not isinstance(point, dict) or not {"t", "p"} <= point.keys():
                raise InputError(where, point, "is no point of a price history: needs t and p")
            price = to_decimal(point["p"], f"{where} p")
            if not 0 <= price <= 1:
                raise InputError(f"{where} p", point["p"], "is no price: from 0 to 1 dollar")
            total += 1
            time_ns = parse_time_ns(point["t"], f"{where} t", unit="s")
            points.add((time_ns, token, format(price, "f")))
        tally.duplicates = total - len(points)
        for time_ns, token, mid in sorted(points):
            tally.admit(time_ns, self.name)
            tally.tokens.add(token)
            yield Stamped(received_ns=time_ns, kind="mid", tokens=(token,), mid=mid)

    def coverage(self) -> Coverage:
        """Return what there was of it until now."""
        return self._tally.coverage()

    def _points(self) -> Iterator[tuple[str, int, Any]]:
        value = read_document(self._path)
        history = value.get("history") if isinstance(value, dict) else value
        if isinstance(history, list):
            if self._token is None:
                raise InputError("token_id", None, f"is needed: {self.name} does not name it")
            history = {self._token: history}
        if not isinstance(history, dict):
            raise InputError(self.name, history, "is no price history")
        for token, points in history.items():
            known = parse_token_id(token, f"{self.name} token")
            if self._token is not None and known != self._token:
                continue
            if not isinstance(points, list):
                raise InputError(self.name, token, "has no list of points")
            for number, point in enumerate(points, 1):
                yield known, number, point
