"""The only place that chooses between the compiled functions and their readable twins.

``POLYEXEC_NO_EXTENSIONS=1`` forces the twins; they also stand in where no extension was built.
"""

import importlib
import os
from typing import Literal

__all__ = [
    "IMPLEMENTATION",
    "ORDER_TYPES",
    "BatchBuilder",
    "Evaluator",
    "GateCore",
    "L2Key",
    "LedgerCore",
    "LegTable",
    "Mould",
    "PriceTable",
    "Reservation",
    "TapePlayer",
    "exchange_domain_separator",
    "fill_fee",
    "group_size",
    "keccak256",
    "limit_amounts",
    "market_amounts",
    "order_struct_hash_v1",
    "order_struct_hash_v2",
    "plain_leg",
    "plain_scaled",
    "price_legs",
    "price_quotes",
    "slippage_e4",
    "taker_fee",
    "typed_data_hash",
    "typed_data_sign_hash",
]

# What both kinds consist of.
MODULES = (
    "amounts",
    "batch",
    "convert",
    "eip712",
    "evaluator",
    "gate",
    "hmac_sha256",
    "keccak",
    "ledger",
    "legs",
    "moulds",
    "prices",
    "sizing",
    "tapes",
)
# Compiled only: what stands in for them is a library, and who uses them chooses (clob.http2).
WITHOUT_TWIN = ("fields", "hpack", "http2")


def _wants_fast() -> bool:
    if os.environ.get("POLYEXEC_NO_EXTENSIONS", "0") not in {"", "0"}:
        return False
    try:
        for module in MODULES + WITHOUT_TWIN:
            importlib.import_module(f"polyexec._fast.{module}")
    except ModuleNotFoundError as error:
        # Not built is fine; built and missing something else is a fault to hear of.
        if error.name is None or not error.name.startswith("polyexec._fast"):
            raise
        return False
    return True


IMPLEMENTATION: Literal["fast", "pure"] = "fast" if _wants_fast() else "pure"

if IMPLEMENTATION == "fast":
    from polyexec._fast.amounts import (
        fill_fee,
        limit_amounts,
        market_amounts,
        slippage_e4,
        taker_fee,
    )
    from polyexec._fast.batch import ORDER_TYPES, BatchBuilder
    from polyexec._fast.convert import plain_leg, plain_scaled
    from polyexec._fast.eip712 import (
        exchange_domain_separator,
        order_struct_hash_v1,
        order_struct_hash_v2,
        typed_data_hash,
        typed_data_sign_hash,
    )
    from polyexec._fast.evaluator import Evaluator
    from polyexec._fast.gate import GateCore
    from polyexec._fast.hmac_sha256 import L2Key
    from polyexec._fast.keccak import keccak256
    from polyexec._fast.ledger import LedgerCore, Reservation
    from polyexec._fast.legs import LegTable, price_legs, price_quotes
    from polyexec._fast.moulds import Mould
    from polyexec._fast.prices import PriceTable
    from polyexec._fast.sizing import group_size
    from polyexec._fast.tapes import TapePlayer
else:
    from polyexec._pure.amounts import (
        fill_fee,
        limit_amounts,
        market_amounts,
        slippage_e4,
        taker_fee,
    )
    from polyexec._pure.batch import ORDER_TYPES, BatchBuilder  # type: ignore[assignment]
    from polyexec._pure.convert import plain_leg, plain_scaled
    from polyexec._pure.eip712 import (
        exchange_domain_separator,
        order_struct_hash_v1,
        order_struct_hash_v2,
        typed_data_hash,
        typed_data_sign_hash,
    )
    from polyexec._pure.evaluator import Evaluator  # type: ignore[assignment]
    from polyexec._pure.gate import GateCore  # type: ignore[assignment]
    from polyexec._pure.hmac_sha256 import L2Key  # type: ignore[assignment]
    from polyexec._pure.keccak import keccak256
    from polyexec._pure.ledger import LedgerCore, Reservation  # type: ignore[assignment]
    from polyexec._pure.legs import (  # type: ignore[assignment]
        LegTable,
        price_legs,
        price_quotes,
    )
    from polyexec._pure.moulds import Mould  # type: ignore[assignment]
    from polyexec._pure.prices import PriceTable  # type: ignore[assignment]
    from polyexec._pure.sizing import group_size
    from polyexec._pure.tapes import TapePlayer  # type: ignore[assignment]
