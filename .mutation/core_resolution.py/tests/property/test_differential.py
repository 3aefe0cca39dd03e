"""20,000 random orders per generation: hash, id and signature equal eth-account's."""

import random
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from polyexec.constants import EXCHANGES, ORDER_TYPE_V1, ORDER_TYPE_V2
from polyexec.core.orders import Order
from polyexec.core.signer import OrderSigner
from polyexec.enums import Generation, Side, SignatureType

ORDERS = 20_000
SEED = 20261123


def fields_of(type_string: str) -> list[dict[str, str]]:
    parts = [part.split() for part in type_string[len("Order(") : -1].split(",")]
    return [{"type": kind, "name": name} for kind, name in parts]


def random_int(rng: random.Random, bits: int) -> int:
    return rng.getrandbits(rng.choice((1, 8, 31, bits - 1, bits))) % (1 << bits)


@pytest.mark.slow
@pytest.mark.parametrize("generation", Generation)
def test_random_orders_equal_eth_account(generation: Generation) -> None:
    is_v1 = generation is Generation.CLOB_V1
    rng = random.Random(SEED + generation)
    types = {"Order": fields_of(ORDER_TYPE_V1 if is_v1 else ORDER_TYPE_V2)}
    accounts = []
    for number in range(4):
        key = rng.randbytes(32)
        kind = SignatureType(number % 3)
        chain = rng.choice((137, 80002))
        wallet = None if kind is SignatureType.EOA else "0x" + rng.randbytes(20).hex()
        signer = OrderSigner(key, chain_id=chain, signature_type=kind, funder=wallet)
        accounts.append((signer, Account.from_key(key)))
    for number in range(ORDERS):
        signer, account = accounts[number % len(accounts)]
        order = random_order(rng, generation)
        signed = signer.sign(order)
        domain = {
            "name": "Polymarket CTF Exchange",
            "version": str(int(generation)),
            "chainId": signer.chain_id,
            "verifyingContract": EXCHANGES[signer.chain_id, generation, order.neg_risk],
        }
        message = message_of(order, signer)
        encoded = encode_typed_data(domain, types, message)
        expected = account.sign_message(encoded)
        context = f"seed={SEED + generation} number={number} {order}"
        assert signed.struct_hash == "0x" + encoded.body.hex(), context
        assert signed.order_id == "0x" + bytes(expected.message_hash).hex(), context
        assert signed.signature == "0x" + bytes(expected.signature).hex(), context


def random_order(rng: random.Random, generation: Generation) -> Order:
    extra: dict[str, Any] = (
        {
            "taker": "0x" + rng.randbytes(20).hex(),
            "nonce": random_int(rng, 256),
            "fee_rate_bps": random_int(rng, 256),
        }
        if generation is Generation.CLOB_V1
        else {
            "timestamp_ms": random_int(rng, 63),
            "metadata": rng.randbytes(32),
            "builder": "0x" + rng.randbytes(32).hex(),
        }
    )
    return Order(
        generation=generation,
        token_id=random_int(rng, 256),
        side=rng.choice(list(Side)),
        maker_micro=1 + random_int(rng, 62),
        taker_micro=1 + random_int(rng, 62),
        neg_risk=rng.random() < 0.5,
        salt=random_int(rng, 53),
        expiration=random_int(rng, 40),
        **extra,
    )


def message_of(order: Order, signer: OrderSigner) -> dict[str, Any]:
    message = {
        "salt": order.salt,
        "maker": signer.funder,
        "signer": signer.address,
        "tokenId": int(order.token_id),
        "makerAmount": order.maker_micro,
        "takerAmount": order.taker_micro,
        "side": 0 if order.side is Side.BUY else 1,
        "signatureType": int(signer.signature_type),
    }
    if order.generation is Generation.CLOB_V1:
        return message | {
            "taker": order.taker,
            "expiration": order.expiration,
            "nonce": order.nonce,
            "feeRateBps": order.fee_rate_bps,
        }
    return message | {
        "timestamp": order.timestamp_ms,
        "metadata": bytes.fromhex(order.metadata[2:]),
        "builder": bytes.fromhex(order.builder[2:]),
    }
