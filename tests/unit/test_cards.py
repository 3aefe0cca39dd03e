"""Cards: every text is a text, best levels come first, and what is left out is said."""

import re

from polyexec.cards import card, grid, ladder, stacked

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def test_no_text_becomes_markup() -> None:
    shown = stacked(
        card([(HOSTILE, HOSTILE)]), grid([HOSTILE], [[HOSTILE]]), ladder([(HOSTILE, HOSTILE)], [])
    )
    assert "<img" not in shown
    assert shown.count("&lt;img") == 6
    assert set(re.findall(r"</?(\w+)", shown)) == {"div", "table", "tr", "th", "td"}


def test_a_ladder_begins_with_the_best_of_both_sides() -> None:
    shown = ladder([("10", "0.42"), ("60", "0.47")], [("250", "0.50")])
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", shown)
    assert cells == ["60", "0.47", "0.50", "250", "10", "0.42", "", ""]


def test_levels_that_are_not_shown_are_counted() -> None:
    side = [(str(number), "0.1") for number in range(13)]
    assert "and 5 levels more" in ladder(side, side[:12])
    assert "more" not in ladder(side[:10], [])
