"""Sign random orders and recover their signer: ``python -m tests.exhaustive.sign``."""

import argparse
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from polyexec import _secp256k1
from polyexec.core.orders import Order, SignedOrder
from polyexec.core.signer import OrderSigner
from polyexec.enums import Generation, Side

HALF = _secp256k1.ORDER // 2
KEYS = 50  # orders of one batch share this many accounts
BATCH = 5_000


def random_order(source: random.Random) -> Order:
    """Return an order of any generation, with every number up to its limit."""
    generation = source.choice(list(Generation))
    kind: dict[str, Any] = {"expiration": source.getrandbits(40)}
    if generation is Generation.CLOB_V1:
        kind |= {"nonce": source.getrandbits(64), "fee_rate_bps": source.randrange(10_000)}
        kind |= {"taker": source.randbytes(20)}
    else:
        kind |= {"timestamp_ms": source.getrandbits(41), "metadata": source.randbytes(32)}
        kind |= {"builder": source.randbytes(32)}
    return Order(
        generation=generation,
        token_id=source.getrandbits(256),  # type: ignore[arg-type]
        side=source.choice(list(Side)),
        maker_micro=source.randrange(1, 2**63),
        taker_micro=source.randrange(1, 2**63),
        neg_risk=source.random() < 0.5,
        salt=source.getrandbits(53),
        **kind,
    )


def is_right(signed: SignedOrder, signer20: bytes) -> bool:
    """Low s, r and s above zero, and the signature recovers to the signer from the order id."""
    signature = bytes.fromhex(signed.signature[2:])
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:64]))
    if not (0 < r < _secp256k1.ORDER and 0 < s <= HALF):
        return False
    return _secp256k1.recover_address(bytes.fromhex(signed.order_id[2:]), signature) == signer20


def check(seed: str, orders: int) -> int:
    """Return how many of the random orders of this seed do not sign and recover."""
    source = random.Random(seed)
    keys = [source.randrange(1, _secp256k1.ORDER) for _ in range(KEYS)]
    signers = [OrderSigner(key, chain_id=source.choice([137, 80002])) for key in keys]
    wrong = 0
    for number in range(orders):
        signer = signers[number % KEYS]
        signed = signer.sign(random_order(source))
        wrong += not is_right(signed, bytes.fromhex(signer.address[2:]))
    return wrong


def main() -> int:
    """Check, and print the counts last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    started = time.monotonic()
    sizes = [min(BATCH, options.orders - done) for done in range(0, options.orders, BATCH)]
    seeds = [f"{options.seed}:{number}" for number in range(len(sizes))]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        mismatches = sum(pool.map(check, seeds, sizes))
    print(f"signed by {_secp256k1.BACKEND}, {time.monotonic() - started:.0f} s")
    print(f"orders={sum(sizes)} mismatches={mismatches}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
