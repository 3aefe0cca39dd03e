"""Runs in another environment: import, sign, and compare with recorded orders.

``smoke.py [VECTORS]`` prints one JSON line: which implementation, which version, the signatures of
fixed orders, and how many recorded orders came out equal.
"""

import json
import sys
from pathlib import Path
from typing import Any

import polyexec as px

KEY = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"


def fixed_signatures() -> list[str]:
    """Return what every build must sign, byte for byte."""
    signer = px.OrderSigner(KEY, chain_id=137)
    orders = [
        px.Order(
            generation=generation,
            token_id=px.TokenId(str(2**200 + number)),
            side=side,
            maker_micro=3_300_000,
            taker_micro=10_000_000,
            neg_risk=bool(number % 2),
            salt=1234 + number,
            # The time is part of the order from CLOB V2 on.
            timestamp_ms=None if generation is px.Generation.CLOB_V1 else 1_767_225_600_000,
        )
        for number, (generation, side) in enumerate(
            (generation, side)
            for generation in (px.Generation.CLOB_V1, px.Generation.CLOB_V2)
            for side in px.Side
        )
    ]
    return [signed.order_id + signed.signature for signed in signer.sign_batch(orders)]


def equals_record(case: dict[str, Any]) -> bool:
    """Sign one recorded CLOB V2 order and compare id and signature."""
    given, expected = case["inputs"], case["outputs"]
    signer = px.OrderSigner(
        given["private_key"],
        chain_id=given["chain_id"],
        signature_type=px.SignatureType(given["signature_type"]),
        funder=given["maker"],
    )
    order = px.Order(
        generation=px.Generation.CLOB_V2,
        token_id=given["token_id"],
        side=px.Side(given["side"]),
        maker_micro=int(expected["maker_amount"]),
        taker_micro=int(expected["taker_amount"]),
        neg_risk=given["neg_risk"],
        salt=int(given["salt"]),
        timestamp_ms=int(given["timestamp"]),
        expiration=int(given["expiration"]),
        metadata=given["metadata"],
        builder=given["builder"],
    )
    signed = signer.sign(order)
    return (signed.order_id, signed.signature) == (expected["order_id"], expected["signature"])


def main() -> None:
    """Print the findings."""
    cases: list[dict[str, Any]] = []
    if len(sys.argv) > 1:
        cases = json.loads(Path(sys.argv[1]).read_text())["cases"][:20]
    print(
        json.dumps(
            {
                "file": px.__file__,
                "python": list(sys.version_info[:2]),
                "build": px.build_info(),
                "signatures": fixed_signatures(),
                "equal": sum(map(equals_record, cases)),
            },
            default=str,
        )
    )


if __name__ == "__main__":
    main()
