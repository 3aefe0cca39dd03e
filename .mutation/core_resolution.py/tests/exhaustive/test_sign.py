"""A sample of the million orders runs in the ordinary test-suite, and sees a wrong signature."""

import random

import pytest
from msgspec.structs import replace

from polyexec import _secp256k1
from polyexec.core.signer import OrderSigner
from tests.exhaustive import sign

SAMPLE = 5_000 if _secp256k1.BACKEND == "coincurve" else 50


def test_random_orders_sign_and_recover() -> None:
    assert sign.check("sample", SAMPLE) == 0


@pytest.mark.parametrize("place", [1, 40, 64], ids=["r", "s", "v"])
def test_a_changed_signature_is_seen(place: int) -> None:
    signer = OrderSigner(5)
    signed = signer.sign(sign.random_order(random.Random("1")))
    signer20 = bytes.fromhex(signer.address[2:])
    assert sign.is_right(signed, signer20)
    wrong = bytearray.fromhex(signed.signature[2:])
    wrong[place] ^= 7 if place == 64 else 1  # 27 and 28 are each other's complement here
    try:
        assert not sign.is_right(replace(signed, signature="0x" + wrong.hex()), signer20)
    except ValueError:
        pass  # nobody at all signed it


def test_a_high_s_is_seen() -> None:
    signer = OrderSigner(5)
    signed = signer.sign(sign.random_order(random.Random("1")))
    raw = bytes.fromhex(signed.signature[2:])
    high = _secp256k1.ORDER - int.from_bytes(raw[32:64], "big")
    twin = raw[:32] + high.to_bytes(32, "big") + bytes((55 - raw[64],))
    changed = replace(signed, signature="0x" + twin.hex())
    assert not sign.is_right(changed, bytes.fromhex(signer.address[2:]))
