"""Fields of rows that others have written, checked, with the row in every message."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from polyexec.backtest.readers.lines import Lines
from polyexec.errors import InputError
from polyexec.parsing import parse_side, parse_token_id

__all__ = ["CsvRows", "amount_text", "csv_names", "side_text", "token_set"]


def amount_text(value: Any, where: str) -> str:
    """Return a price or size as plain text; of a float its shortest, which is what was meant.

    Raises
    ------
    InputError
        It is no number of 0 or more.
    """
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
        fits = number.is_finite() and number >= 0 and -30 < number.adjusted() < 30
    except ArithmeticError:
        raise InputError(where, value, "is no number") from None
    if not fits:
        raise InputError(where, value, "is no price or size")
    return format(number, "f")


def side_text(value: Any, where: str) -> str:
    """Return ``BUY`` or ``SELL``.

    Raises
    ------
    InputError
        It is neither, in any case of letters.
    """
    try:
        return str(parse_side(str(value).upper()))
    except InputError as error:
        raise InputError(f"{where} side", value, error.hint) from None


def token_set(tokens: Iterable[str] | None) -> frozenset[str] | None:
    """Return the token ids to read, checked; None: all.

    Raises
    ------
    InputError
        One is no token id, or it is one text, whose digits are no tokens.
    """
    if isinstance(tokens, str):
        raise InputError("tokens", tokens, "must be a list of token ids, not one text")
    return None if tokens is None else frozenset(map(parse_token_id, tokens))


def csv_names(line: bytes) -> list[str]:
    """Return the names of a CSV file's first line; none if it is not CSV."""
    try:
        return next(csv.reader([line.decode("utf-8", "replace")]), [])
    except csv.Error:
        return []


class CsvRows:
    """The rows of a CSV file whose first line names its columns.

    Parameters
    ----------
    lines : Lines
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._reader = csv.DictReader(line.decode("utf-8", "replace") for line in lines)
        try:
            self.names: Sequence[str] = self._reader.fieldnames or ()
        except csv.Error as error:
            raise InputError(lines.where, str(error), "so it is no CSV") from None

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (file and line, row).

        Raises
        ------
        InputError
            A row is no CSV, or has fewer fields than there are names; names file and line.
        """
        where = self._lines.where
        try:
            for row in self._reader:
                where = self._lines.where
                if None in row.values():
                    raise InputError(where, list(row.values()), "has fewer fields than columns")
                yield where, row
        except csv.Error as error:
            raise InputError(self._lines.where, str(error), "so it is no CSV") from None
