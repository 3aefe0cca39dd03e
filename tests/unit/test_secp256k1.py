"""Signatures: known answers, both back ends, and keys that are none."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from eth_keys import keys

from polyexec import _secp256k1
from polyexec._secp256k1 import (
    ORDER,
    digest_signer,
    public_address,
    recover_address,
    sign_digest,
)

KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
DIGEST = bytes(range(32))


def test_address_of_a_known_key() -> None:
    assert public_address((1).to_bytes(32, "big")).hex() == (
        "7e5f4552091a69125d5dfcb7b8c2659029395bdf"
    )
    assert public_address(KEY).hex() == "2c7536e3605d9c16a7a3d7b1898e529396a65c23"


def test_signature_is_that_of_another_library_and_recovers() -> None:
    for number in range(50):
        digest = number.to_bytes(32, "big")
        signature = sign_digest(KEY, digest)
        other = keys.PrivateKey(KEY).sign_msg_hash(digest).to_bytes()
        assert signature == other[:64] + bytes((other[64] + 27,))
        assert int.from_bytes(signature[32:64], "big") <= ORDER // 2
        assert recover_address(digest, signature) == public_address(KEY)


def test_altered_digest_recovers_somebody_else() -> None:
    assert recover_address(bytes(32), sign_digest(KEY, DIGEST)) != public_address(KEY)


@pytest.mark.parametrize(
    "key",
    [b"", bytes(32), bytes(31), b"\xff" * 32, ORDER.to_bytes(32, "big"), KEY + b"\0", KEY[:31]],
    ids=["empty", "zero", "short", "ones", "order", "long", "cut"],
)
def test_bad_key_is_refused_without_being_shown(key: bytes) -> None:
    for function in (digest_signer, public_address):
        with pytest.raises(ValueError, match="a private key is 32 bytes") as caught:
            function(key)
        if any(key):
            assert key.hex() not in str(caught.value)


def test_key_next_to_the_order_signs() -> None:
    key = (ORDER - 1).to_bytes(32, "big")
    assert recover_address(DIGEST, sign_digest(key, DIGEST)) == public_address(key)


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33)])
def test_digest_of_wrong_length_is_not_signed(digest: bytes) -> None:
    with pytest.raises(ValueError, match="digest must be 32 bytes"):
        sign_digest(KEY, digest)
    with pytest.raises(ValueError, match="digest must be 32 bytes"):
        recover_address(digest, sign_digest(KEY, DIGEST))


@pytest.mark.parametrize(
    "signature",
    [b"", bytes(65), bytes(64) + b"\x1b", b"\xff" * 64 + b"\x1b", bytes(64) + b"\x1d", bytes(66)],
)
def test_malformed_signature_recovers_nobody(signature: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        recover_address(DIGEST, signature)


def test_without_coincurve_the_fallback_warns_once_and_signs_the_same() -> None:
    root = Path(_secp256k1.__file__).parent.parent
    program = f"""
import sys, warnings
sys.modules["coincurve"] = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from polyexec import _secp256k1 as s
    from polyexec import _secp256k1
key, digest = bytes.fromhex("{KEY.hex()}"), bytes(range(32))
signature = s.sign_digest(key, digest)
assert s.recover_address(digest, signature) == s.public_address(key)
try:
    s.recover_address(digest, b"\\xff" * 64 + b"\\x1b")
except ValueError:
    print(s.BACKEND, len([w for w in caught if "coincurve" in str(w.message)]), signature.hex())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["eth-keys", "1", sign_digest(KEY, DIGEST).hex()]


@pytest.mark.skipif(
    importlib.util.find_spec("coincurve") is None, reason="coincurve is not installed"
)
def test_coincurve_is_used_where_it_is_installed() -> None:
    assert _secp256k1.BACKEND == "coincurve"
