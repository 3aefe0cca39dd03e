"""Copies made without a constructor are what the constructor makes."""

import copy
import gc
import sys
from typing import Any

import pytest

from polyexec.models import Quote
from tests.implementations import BOTH

QUOTE = Quote("7", "slug", best_ask="0.4", best_ask_size=3, tick_size="0.01", fee_rate="0.07")


@pytest.fixture(params=BOTH)
def mould(request: pytest.FixtureRequest) -> Any:
    return request.param.Mould


def test_a_copy_is_what_the_constructor_makes(mould: Any) -> None:
    cast = mould(QUOTE, "best_ask_e4", "tick_e4").cast
    assert cast(4100, 10) == QUOTE.replace(best_ask="0.41", tick_size="0.001")
    assert cast(4000, 100) == QUOTE
    assert cast(4000, None).tick_size is None
    for name in QUOTE.__slots__:
        assert getattr(cast(4000, 100), name) == getattr(QUOTE, name)
    with pytest.raises(AttributeError, match="is immutable"):
        cast(4000, 100).best_ask_e4 = 1
    with pytest.raises(ValueError, match="values must be 2, not 1"):
        cast(4000)


def test_copies_hold_and_give_back_their_values(mould: Any) -> None:
    value = object()
    gc.collect()
    before = sys.getrefcount(value)
    copies = [mould(QUOTE, "best_ask_e4").cast(value) for _ in range(100)]
    assert sys.getrefcount(value) == before + 100
    assert all(one.best_ask_e4 is value for one in copies)
    del copies
    assert sys.getrefcount(value) <= before + 1


def test_what_has_no_such_slots_makes_no_mould(mould: Any) -> None:
    with pytest.raises(ValueError, match="Quote has no slot 'price'"):
        mould(QUOTE, "price")
    with pytest.raises(AttributeError):
        mould(object())
    for act in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot pickle"):
            act(mould(QUOTE))
