"""What a notebook shows of a value: small tables in HTML, every text of them escaped.

They have no style sheet, script or link, so they look and do the same wherever they are opened.
"""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import zip_longest
from typing import Final

__all__ = ["card", "grid", "ladder", "stacked"]

_MOST_LEVELS: Final = 10
_LEFT: Final = "style='text-align:left'"


def card(figures: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values."""
    cells = "".join(
        f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}>{escape(value)}</td></tr>"
        for name, value in figures
    )
    return f"<table>{cells}</table>"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with a heading."""
    heads = "".join(f"<th {_LEFT}>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td {_LEFT}>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{heads}</tr>{body}</table>"


def ladder(bids: Iterable[tuple[str, str]], asks: Iterable[tuple[str, str]]) -> str:
    """Return a book, best level first: each side gives (size, price), best level last."""
    sides = [[*side][::-1] for side in (bids, asks)]
    pairs = zip_longest(*(side[:_MOST_LEVELS] for side in sides), fillvalue=("", ""))
    table = grid(
        ("bid size", "bid", "ask", "ask size"),
        [(*bid, *reversed(ask)) for bid, ask in pairs],
    )
    more = [len(side) - _MOST_LEVELS for side in sides if len(side) > _MOST_LEVELS]
    return f"{table}<p>and {sum(more)} levels more</p>" if more else table


def stacked(*tables: str) -> str:
    """Return tables below each other."""
    return f"<div>{''.join(tables)}</div>"
