"""Signals as JSON: exact both ways, and a clear word for what is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import polyexec as px
from polyexec.signal_json import decode_signal, encode_signal

prices = st.integers(1, 9999).map(lambda e4: f"0.{e4:04d}")
sizes = st.integers(0, 10**12).map(lambda micro: f"{micro // 10**6}.{micro % 10**6:06d}")


@st.composite
def quotes(draw: st.DrawFn, token: int) -> px.Quote:
    optional = lambda of: draw(st.none() | of)  # noqa: E731
    return px.Quote(
        token,
        draw(st.text(max_size=5)),
        optional(prices),
        optional(prices),
        draw(sizes),
        draw(sizes),
        draw(st.booleans()),
        optional(st.sampled_from(["0.01", "0.001"])),
        draw(st.sampled_from(list(px.Generation))),
        optional(st.sampled_from(["0", "0.07"])),
        complement_token_id=optional(st.just(token + 100)),
    )


@st.composite
def arb_signals(draw: st.DrawFn) -> px.ArbSignal:
    return px.ArbSignal(
        draw(st.sampled_from([*px.Strategy, "ANOTHER"])),
        *(draw(st.none() | quotes(token)) for token in (1, 2, 3)),
        profit_abs=draw(st.none() | sizes),
        timestamp_ms=draw(st.integers(0, 2**50)),
        group_key=draw(st.text(max_size=5)),
        size=draw(st.none() | sizes),
        ages_ms=draw(st.none() | st.lists(st.integers(0, 10**6), max_size=3)),
    )


@st.composite
def legs_signals(draw: st.DrawFn) -> px.LegsSignal:
    count = draw(st.integers(1, 4))
    legs = [
        px.Leg(token, draw(st.sampled_from(["BUY", "SELL"])), draw(prices), "7.5", "FOK")
        for token in range(1, count + 1)
    ]
    payout = draw(st.sampled_from([None, 0]))
    if draw(st.booleans()):
        return px.LegsSignal(legs, payout=payout, crypto="btc")
    pays = st.integers(0, 10**6).map(lambda micro: f"{micro / 10**6:.6f}")
    rows = st.lists(st.lists(pays, min_size=count, max_size=count), min_size=1, max_size=3)
    return px.LegsSignal(legs, payout=payout, outcomes=draw(rows))


@given(arb_signals() | legs_signals())
def test_a_signal_comes_back_as_it_was(signal: px.ArbSignal | px.LegsSignal) -> None:
    text = encode_signal(signal)
    assert "\n" not in text
    assert decode_signal(text) == signal


def test_numbers_may_be_numbers() -> None:
    text = '{"legs": [{"token_id": 7, "side": "BUY", "price": 0.29, "size": 10.1}]}'
    assert decode_signal(text) == px.LegsSignal([px.Leg(7, "BUY", "0.29", "10.1")])


def leg(**changes: Any) -> dict[str, Any]:
    return {"token_id": 7, "side": "BUY", "price": "0.29", "size": 10} | changes


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([], "signal=.*must be an object"),
        ({}, "strategy"),
        ({"strategy": "X", "prophet": 1}, "prophet.*is no field of it; known: strategy"),
        ({"strategy": "X", "parent": 3}, "parent=3: must be an object"),
        ({"strategy": "X", "parent": {"token_id": 1, "best_ask": "0.12345"}}, "parent.best_ask"),
        ({"strategy": "X", "parent": {}}, "parent=.*token_id"),
        ({"legs": {}}, "legs=.*must be a list"),
        ({"legs": [leg(), leg(token_id="x")]}, r"legs\[1\].token_id='x'"),
        ({"legs": [leg(price=float("nan"))]}, r"legs\[0\].price"),
        ({"legs": [leg(wanted=1)]}, r"legs\[0\]='wanted'"),
    ],
)
def test_what_is_no_signal_is_refused_by_name(value: Any, words: str) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(px.InputError, match=words):
        decode_signal(text)
