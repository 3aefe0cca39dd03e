"""What ``polyexec`` exports is what ``__all__`` says and what the reference documents."""

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import polyexec

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"

# The names that other people's code and outside checks call; see the contract in CONTRIBUTING.
FIXED = [
    "Amounts",
    "ApiCredentials",
    "ArbSignal",
    "Executor",
    "ExecutorConfig",
    "Generation",
    "LegResult",
    "LegState",
    "Leg",
    "LegsSignal",
    "Order",
    "OrderSigner",
    "OrderType",
    "Quote",
    "Side",
    "SignatureType",
    "SignedOrder",
    "SkipReason",
    "Strategy",
    "TradeResult",
    "Venue",
    "VenueMode",
    "apply_slippage",
    "build_info",
    "encode_order",
    "encode_orders",
    "l1_headers",
    "l2_signature",
    "limit_amounts",
    "market_amounts",
    "paper",
    "sync",
    "taker_fee",
]


def documented() -> set[str]:
    """Return the names of ``polyexec`` that have an entry in the reference."""
    directive = re.compile(r"\.\. auto\w+:: polyexec\.(\w+)")
    return {
        name for page in REFERENCE.rglob("*.md") for name in directive.findall(page.read_text())
    }


def test_all_names_nothing_twice() -> None:
    assert len(polyexec.__all__) == len(set(polyexec.__all__))


def test_fixed_names_are_exported() -> None:
    assert set(FIXED) - set(polyexec.__all__) == set()


def test_every_name_in_all_exists() -> None:
    assert [name for name in polyexec.__all__ if not hasattr(polyexec, name)] == []


def test_nothing_public_is_left_out_of_all() -> None:
    public = {
        name
        for name, value in vars(polyexec).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public - set(polyexec.__all__) == set()


def test_every_exported_name_is_in_the_reference() -> None:
    assert set(polyexec.__all__) - documented() - {"__version__"} == set()


def test_the_reference_names_nothing_that_is_gone() -> None:
    submodules = {module.name for module in pkgutil.iter_modules(polyexec.__path__)}
    assert documented() - set(polyexec.__all__) - submodules == set()


@pytest.mark.parametrize("name", ["enums", "errors", "models", "numbers", "results", "config"])
def test_vocabulary_modules_keep_their_all(name: str) -> None:
    module = importlib.import_module(f"polyexec.{name}")
    own = {
        key
        for key, value in vars(module).items()
        if isinstance(value, type)
        and not key.startswith("_")
        and value.__module__ == module.__name__
    }
    # Bases that callers never name are the exception.
    assert own - set(module.__all__) <= {"Record"}
