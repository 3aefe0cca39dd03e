from decimal import Decimal
from typing import Any

import pytest

from polyexec.core.amounts import limit_amounts, market_amounts
from polyexec.core.orders import Amounts
from polyexec.errors import InputError
from tests.conftest import load_vectors

CASES = load_vectors("amounts")


def compute(given: dict[str, Any]) -> Amounts:
    if given["kind"] == "limit":
        return limit_amounts(
            given["price"], given["size"], given["side"], tick_size=given["tick_size"]
        )
    return market_amounts(
        given["size"], given["price"], given["side"], tick_size=given["tick_size"]
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_amounts_are_those_of_the_exact_client_or_obey_the_server(case: dict[str, Any]) -> None:
    given, made = case["inputs"], case["outputs"]["polymarket-client"]
    if "error" in made:
        with pytest.raises(InputError, match=r"^price=.* tick"):
            compute(given)
        return
    maker, taker = int(made["maker_amount"]), int(made["taker_amount"])
    amounts = compute(given)
    assert amounts.maker_micro == maker
    if case["outputs"].get("fits_known_market_precision_rule", {}).get("polymarket-client", True):
        assert amounts.taker_micro == taker
        return
    # The client's own amount would be refused: four decimals at most, and nothing but the cut.
    assert amounts.taker_micro % 100 == 0
    assert 0 < taker - amounts.taker_micro < 100
    if given["side"] == "BUY":
        assert amounts.taker * Decimal(given["price"]) <= amounts.maker
