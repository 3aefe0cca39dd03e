"""Layer 0: both implementations refuse the same input with the same exceptions."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polyexec import _impl
from tests.implementations import BOTH, FAST, NAMES, NOT_BUILT, PURE

SOURCES = Path(_impl.__file__).parent / "_fast"
A20, B32 = bytes(20), bytes(32)
V1 = (1, A20, A20, A20, 2, 3, 4, 5, 6, 7, 0, 0)
LEG = (5000, 100, 0, 1, 0, 0)  # an immediate BUY at 0.50 on a tick of 0.01
V2 = (1, A20, A20, 2, 3, 4, 0, 0, 5, B32, B32)


def changed(arguments: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    return (*arguments[:index], value, *arguments[index + 1 :])


BAD = [
    ("keccak256", ("text",), TypeError),
    ("keccak256", (bytearray(3),), TypeError),
    ("keccak256", (None,), TypeError),
    *[("order_struct_hash_v1", changed(V1, i, -1), OverflowError) for i in (0, 4, 5, 6, 7, 8, 9)],
    *[("order_struct_hash_v1", changed(V1, i, 2**256), OverflowError) for i in (0, 4, 9)],
    *[("order_struct_hash_v1", changed(V1, i, "1"), TypeError) for i in (0, 1, 4, 10)],
    *[("order_struct_hash_v1", changed(V1, i, bytes(19)), ValueError) for i in (1, 2, 3)],
    ("order_struct_hash_v1", changed(V1, 10, 2), ValueError),
    ("order_struct_hash_v1", changed(V1, 10, 0.0), TypeError),
    ("order_struct_hash_v1", changed(V1, 11, 4), ValueError),
    ("order_struct_hash_v1", changed(V1, 11, 2**64), OverflowError),
    *[("order_struct_hash_v2", changed(V2, i, -1), OverflowError) for i in (0, 3, 4, 5, 8)],
    *[("order_struct_hash_v2", changed(V2, i, 1.0), TypeError) for i in (0, 3, 4, 5, 6, 7, 8)],
    *[("order_struct_hash_v2", changed(V2, i, bytes(33)), ValueError) for i in (1, 2, 9, 10)],
    *[("order_struct_hash_v2", changed(V2, i, "0x00"), TypeError) for i in (1, 2, 9, 10)],
    ("order_struct_hash_v2", changed(V2, 6, -1), ValueError),
    ("order_struct_hash_v2", V2[:-1], TypeError),
    ("typed_data_hash", (B32, bytes(31)), ValueError),
    ("typed_data_hash", (bytes(33), B32), ValueError),
    ("typed_data_hash", (B32, "x"), TypeError),
    ("typed_data_sign_hash", (B32, B32, -1, A20), OverflowError),
    ("typed_data_sign_hash", (B32, B32, 137, B32), ValueError),
    ("typed_data_sign_hash", (A20, B32, 137, A20), ValueError),
    ("typed_data_sign_hash", (B32, A20, 137, A20), ValueError),
    ("exchange_domain_separator", (0, 137, A20), ValueError),
    ("exchange_domain_separator", (4, 137, A20), ValueError),
    ("exchange_domain_separator", ("2", 137, A20), TypeError),
    ("exchange_domain_separator", (2, 2**256, A20), OverflowError),
    ("exchange_domain_separator", (2, 137, B32), ValueError),
    *[("limit_amounts", (price, 10**6, 0), ValueError) for price in (0, -1, 10_000)],
    ("limit_amounts", (5000, -1, 0), ValueError),
    ("limit_amounts", (5000, 2**63, 0), OverflowError),
    ("limit_amounts", (5000.0, 10**6, 0), TypeError),
    ("limit_amounts", (5000, 1.5, 0), TypeError),
    ("limit_amounts", (5000, None, 0), TypeError),
    ("limit_amounts", (5000, 10**6, 2), ValueError),
    ("market_amounts", (10_000, 10**6, 0, 4), ValueError),
    ("market_amounts", (5000, 10**6, -1, 4), ValueError),
    ("market_amounts", (5000, 10**6, 0, 7), ValueError),
    ("market_amounts", (5000, 10**6, 0, -1), ValueError),
    ("market_amounts", (1, 2**62, 0, 4), OverflowError),
    ("market_amounts", ("0.5", 10**6, 0, 4), TypeError),
    *[(name, (True, 10**6, 0), TypeError) for name in ("limit_amounts", "slippage_e4")],
    ("limit_amounts", (5000, True, 0), TypeError),
    ("limit_amounts", (5000, 10**6, False), TypeError),
    ("market_amounts", (5000, 10**6, 0, True), TypeError),
    ("order_struct_hash_v1", changed(V1, 0, True), TypeError),
    ("order_struct_hash_v1", changed(V1, 10, True), TypeError),
    ("order_struct_hash_v2", changed(V2, 8, False), TypeError),
    ("slippage_e4", (0, 0, 0), ValueError),
    ("slippage_e4", (10_000, 0, 0), ValueError),
    ("slippage_e4", (5000, 2, 0), ValueError),
    ("slippage_e4", (5000, 0, -1), ValueError),
    ("slippage_e4", (5000, 0, 10_000), ValueError),
    ("slippage_e4", (5050, 0, 100), ValueError),
    ("slippage_e4", (5000, 0, "0.01"), TypeError),
    ("group_size", ([], 10**6), ValueError),
    ("group_size", ([LEG] * 17, 10**6), ValueError),
    ("group_size", (LEG, 10**6), TypeError),
    ("group_size", (iter([LEG]), 10**6), TypeError),
    ("group_size", ([list(LEG)], 10**6), TypeError),
    ("group_size", ([LEG[:-1]], 10**6), ValueError),
    ("group_size", ([(*LEG, 0)], 10**6), ValueError),
    ("group_size", ([LEG], -1), ValueError),
    ("group_size", ([LEG], 2**63), OverflowError),
    ("group_size", ([LEG], 1.0), TypeError),
    *[("group_size", ([changed(LEG, i, -1)], 10**6), ValueError) for i in range(6)],
    *[("group_size", ([changed(LEG, i, True)], 10**6), TypeError) for i in range(6)],
    *[("group_size", ([changed(LEG, i, 1.0)], 10**6), TypeError) for i in range(6)],
    *[("group_size", ([LEG, changed(LEG, i, 2**63)], 10**6), OverflowError) for i in range(6)],
    *[("group_size", ([changed(LEG, i, 10_000)], 10**6), ValueError) for i in range(4)],
    ("plain_scaled", ("1", 7), ValueError),
    ("plain_scaled", ("1", -1), ValueError),
    ("plain_scaled", ("1", 1.0), TypeError),
    ("plain_scaled", ("1", True), TypeError),
    *[(fee, (5000, 10**6, 1_000_001, 1), ValueError) for fee in ("taker_fee", "fill_fee")],
    *[(fee, (5000, 10**6, -1, 1), ValueError) for fee in ("taker_fee", "fill_fee")],
    *[(fee, (5000, 10**6, 70_000, 5), ValueError) for fee in ("taker_fee", "fill_fee")],
    *[(fee, (5000, 10**6, 70_000, -1), ValueError) for fee in ("taker_fee", "fill_fee")],
    *[(fee, (5000, 10**6, 0.07, 1), TypeError) for fee in ("taker_fee", "fill_fee")],
    *[(fee, (0, 10**6, 70_000, 1), ValueError) for fee in ("taker_fee", "fill_fee")],
    *[(fee, (5000, 2**63 - 1, 1_000_000, 0), OverflowError) for fee in ("taker_fee", "fill_fee")],
]


@pytest.mark.parametrize("functions", BOTH)
@pytest.mark.parametrize(("name", "arguments", "error"), BAD)
def test_bad_input_raises_and_is_never_cut(
    functions: Any, name: str, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        getattr(functions, name)(*arguments)


@NOT_BUILT
@pytest.mark.parametrize(("name", "arguments", "error"), BAD)
def test_both_implementations_say_the_same(
    name: str, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    said = []
    for functions in (PURE, FAST):
        with pytest.raises(error) as caught:
            getattr(functions, name)(*arguments)
        said.append(str(caught.value))
    if error is ValueError:
        assert said[0] == said[1]


@pytest.mark.parametrize("functions", BOTH)
def test_empty_and_block_sized_messages_hash_to_published_values(functions: Any) -> None:
    known = {
        b"": "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
        b"abc": "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
        b"testing": "5f16f4c7f149ac4f9510d9cf8cf384038ad348b3bcdc01915f95de12df9d1b02",
    }
    assert {m: functions.keccak256(m).hex() for m in known} == known


@pytest.mark.parametrize("functions", BOTH)
def test_fees_round_as_the_exchange_and_never_against_the_reservation(functions: Any) -> None:
    # 100 shares at 0.50, 7 %: 1.75 dollars exactly.
    assert functions.taker_fee(5000, 100_000_000, 70_000, 1) == 1_750_000
    assert functions.fill_fee(5000, 100_000_000, 70_000, 1) == 1_750_000
    # Half a unit (5 micro) is charged up, a little less is charged down; we hold up for both.
    assert functions.fill_fee(5000, 20, 1_000_000, 1) == 10
    assert functions.fill_fee(5000, 40 + 20, 1_000_000, 1) == 20
    assert functions.fill_fee(5000, 40 + 19, 1_000_000, 1) == 10
    assert functions.taker_fee(5000, 40 + 1, 1_000_000, 1) == 20
    # The smallest fee that is not zero is one unit.
    assert functions.fill_fee(1, 1, 1, 4) == 10
    assert functions.taker_fee(1, 1, 1, 4) == 10
    assert functions.fill_fee(5000, 100_000_000, 0, 1) == 0
    assert functions.taker_fee(5000, 0, 70_000, 1) == 0


@pytest.mark.parametrize("functions", BOTH)
def test_amounts_below_a_hundredth_are_zero_for_the_caller_to_refuse(functions: Any) -> None:
    assert functions.limit_amounts(5000, 9_999, 0) == (0, 0)
    assert functions.market_amounts(5000, 9_999, 0, 4) == (0, 0)
    assert functions.market_amounts(1, 10_000, 1, 6) == (10_000, 0)


@pytest.mark.parametrize("functions", BOTH)
def test_largest_amounts_do_not_wrap(functions: Any) -> None:
    largest = 2**63 - 1
    assert functions.limit_amounts(9999, largest, 1) == (
        largest // 10_000 * 10_000,
        largest // 10_000 * 9999,
    )
    maker, taker = functions.market_amounts(9999, largest // 2, 0, 6)
    assert taker == maker * 10_000 // 9999 // 100 * 100


def test_no_floating_point_in_the_compiled_money() -> None:
    for source in sorted(SOURCES.glob("*.p[yx][xd]")):
        code = re.sub(r"#.*|\"\"\"[\s\S]*?\"\"\"", "", source.read_text())
        assert not re.search(r"\b(double|float)\b", code), source.name
    assert {p.stem for p in SOURCES.glob("*.pyx")} >= {
        "amounts",
        "convert",
        "eip712",
        "keccak",
        "sizing",
    }


def test_both_implementations_export_the_same_functions() -> None:
    for functions in (PURE, FAST):
        if functions is not None:
            assert sorted(vars(functions)) == sorted(NAMES)


@pytest.mark.parametrize(("switch", "expected"), [("1", "pure"), ("0", None), ("", None)])
def test_switch_forces_the_readable_twins(switch: str, expected: str | None) -> None:
    if expected is None:
        expected = "pure" if FAST is None else "fast"
    root = Path(_impl.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", "from polyexec import _impl; print(_impl.IMPLEMENTATION)"],
        env={"POLYEXEC_NO_EXTENSIONS": switch, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
