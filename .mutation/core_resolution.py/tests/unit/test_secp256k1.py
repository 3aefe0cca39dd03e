"""Signatures: known answers, every road to the curve, and keys that are none."""

import copy
import importlib.util
import os
import pickle
import random
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest
from eth_keys import keys

from polyexec import _impl, _secp256k1
from polyexec._secp256k1 import (
    ORDER,
    digest_signer,
    public_address,
    recover_address,
    sign_digest,
)
from tests.implementations import FAST, NOT_BUILT

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


ROADS = ("coincurve-pointer", "coincurve-cffi", "system", "eth-keys")

# Signs, recovers and shows which road it took; `{before}` spoils the roads first.
PROGRAM = """
import hashlib, sys, warnings
{before}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from polyexec import _secp256k1 as s
    from polyexec import _secp256k1, build_info
n = s.ORDER
keys = [(1).to_bytes(32, "big"), (n - 1).to_bytes(32, "big"), bytes.fromhex("{key}")]
digests = [x.to_bytes(32, "big") for x in (0, 1, n - 1, n, n + 1, 2**256 - 1)]
digests += [hashlib.sha256(bytes([x])).digest() for x in range(10)]
digest = hashlib.sha256()
for key in keys:
    address = s.public_address(key)
    for message in digests:
        signature = s.sign_digest(key, message)
        assert s.recover_address(message, signature) == address, (key, message)
        assert int.from_bytes(signature[32:64], "big") <= n // 2
        digest.update(address + signature)
for bad in (b"\\xff" * 64 + b"\\x1b", bytes(64) + b"\\x1c"):
    try:
        s.recover_address(digests[0], bad)
    except ValueError:
        continue
    raise AssertionError("recovered from nonsense")
assert build_info()["secp256k1"] == s.BACKEND
print(s.BACKEND, len([w for w in caught if "coincurve" in str(w.message)]), digest.hexdigest())
print(s.REFUSED)
"""


def run(before: str = "", **environment: str) -> tuple[str, int, str, str]:
    """Return the road taken, the warnings, a hash of the signatures, and the roads refused."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before, key=KEY.hex())],
        env={"PYTHONPATH": str(Path(_secp256k1.__file__).parent.parent)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line, refused = done.stdout.splitlines()
    road, warned, digest = line.split()
    return road, int(warned), digest, refused


@pytest.fixture(scope="module")
def expected() -> str:
    return run(POLYEXEC_SECP256K1="eth-keys")[2]


@pytest.mark.parametrize("extensions", ["with extensions", "without extensions"])
@pytest.mark.parametrize("road", ROADS)
def test_every_road_gives_the_same_bytes(road: str, extensions: str, expected: str) -> None:
    without = extensions == "without extensions"
    if road.startswith("coincurve") and importlib.util.find_spec("coincurve") is None:
        pytest.skip("coincurve is not installed")
    if road == "system" and find_library("secp256k1") is None:
        pytest.skip("no system libsecp256k1; on Debian: apt install libsecp256k1-1")
    if road == "coincurve-pointer" and (without or FAST is None):
        pytest.skip("needs the compiled functions")
    taken, warned, digest, _ = run(
        POLYEXEC_SECP256K1=road, POLYEXEC_NO_EXTENSIONS="1" if without else "0"
    )
    assert (taken, warned, digest) == (road, int(road == "eth-keys"), expected)


NO_SYSTEM = "import ctypes.util; ctypes.util.find_library = lambda name: None"


def test_without_coincurve_and_system_library_the_fallback_warns_once(expected: str) -> None:
    road, warned, digest, refused = run(f"sys.modules['coincurve'] = None; {NO_SYSTEM}")
    assert (road, warned, digest) == ("eth-keys", 1, expected)
    assert all(name in refused for name in ROADS[:3])


# coincurve keeps the functions it has imported; only who asks for addresses meets the changed ones.
SPOIL = """
import coincurve, types
from coincurve import _libsecp256k1 as real
ffi = types.SimpleNamespace(addressof=addressof, cast=real.ffi.cast, gc=real.ffi.gc)
sys.modules["coincurve._libsecp256k1"] = types.SimpleNamespace(ffi=ffi, lib=real.lib)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("coincurve") is None, reason="coincurve is not installed"
)
def test_addresses_that_compute_something_else_are_given_up(expected: str) -> None:
    if FAST is None:
        pytest.skip("needs the compiled functions")
    before = (
        """
import ctypes

@ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 6)
def wrong(context, out, digest, key, nonce, data):
    ctypes.memset(out, 1, 65)
    return 1

def addressof(lib, name):
    if name == "secp256k1_ecdsa_sign_recoverable":
        return real.ffi.cast("void *", ctypes.cast(wrong, ctypes.c_void_p).value)
    return real.ffi.addressof(lib, name)
"""
        + SPOIL
    )
    road, _, digest, refused = run(before)
    assert (road, digest) == ("coincurve-cffi", expected)
    assert "self-test" in refused


def test_a_library_without_a_function_is_passed_over(expected: str) -> None:
    if FAST is None or importlib.util.find_spec("coincurve") is None:
        pytest.skip("needs the compiled functions and coincurve")
    before = (
        """
def addressof(lib, name):
    return real.ffi.addressof(lib, name.replace("tweak_mul", "tweak_of_yesteryear"))
"""
        + SPOIL
    )
    road, _, digest, refused = run(before)
    assert (road, digest) == ("coincurve-cffi", expected)
    assert "tweak_of_yesteryear" in refused


def test_unknown_road_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from polyexec import _secp256k1"],
        env={
            "PYTHONPATH": str(Path(_secp256k1.__file__).parent.parent),
            "POLYEXEC_SECP256K1": "openssl",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "POLYEXEC_SECP256K1='openssl'" in done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("coincurve") is None, reason="coincurve is not installed"
)
@pytest.mark.skipif(
    os.environ.get("POLYEXEC_SECP256K1", "") != "", reason="POLYEXEC_SECP256K1 forces a road"
)
def test_best_road_is_taken_where_coincurve_is_installed() -> None:
    fast = _impl.IMPLEMENTATION == "fast"
    assert ("coincurve-pointer" if fast else "coincurve-cffi") == _secp256k1.BACKEND
    assert _secp256k1.REFUSED == {} or not fast


@NOT_BUILT
def test_compiled_functions_refuse_bad_input() -> None:
    from polyexec._fast import secp256k1

    for bad in (bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32):
        with pytest.raises(ValueError, match="the key is none"):
            secp256k1.Key(bad)
        with pytest.raises(ValueError, match="the key is none"):
            secp256k1.public_key(bad)
    with pytest.raises(ValueError, match="must be 32 bytes"):
        secp256k1.Key(KEY[:31])
    with pytest.raises(ValueError, match="must be 32 bytes"):
        secp256k1.Key(KEY)(DIGEST + b"0")
    with pytest.raises(TypeError):
        secp256k1.Key(KEY.hex())
    with pytest.raises(TypeError):
        secp256k1.recover(DIGEST, bytearray(65))


@NOT_BUILT
def test_binding_half_a_library_binds_nothing() -> None:
    from polyexec._fast import secp256k1

    bound = secp256k1.is_bound()
    with pytest.raises(ValueError, match="has no address"):
        secp256k1.bind({secp256k1.FUNCTIONS[0]: 1}, 1)
    with pytest.raises(ValueError, match="context has no address"):
        secp256k1.bind(dict.fromkeys(secp256k1.FUNCTIONS, 1), 0)
    assert secp256k1.is_bound() == bound
    assert sign_digest(KEY, DIGEST)[64] in (27, 28)


@NOT_BUILT
def test_a_key_shows_nothing_and_cannot_be_copied() -> None:
    from polyexec._fast import secp256k1

    key = secp256k1.Key(KEY)
    assert repr(key) == "Key(<hidden>)"
    for spread in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            spread(key)


@NOT_BUILT
def test_our_rfc6979_nonce_is_the_librarys() -> None:
    """With SHA instructions signing passes a nonce function of ours: the bytes must not change."""
    from coincurve import PrivateKey

    from polyexec._fast import secp256k1

    chosen = random.Random(6979)
    edges = [0, 1, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1]
    digests = [n.to_bytes(32, "big") for n in edges] + [chosen.randbytes(32) for _ in range(300)]
    for scalar in (1, 2, ORDER - 1, chosen.randrange(1, ORDER)):
        ours = secp256k1.Key(scalar.to_bytes(32, "big"))
        theirs = PrivateKey(scalar.to_bytes(32, "big"))
        for digest in digests:
            expected = theirs.sign_recoverable(digest, hasher=None)
            assert ours(digest)[:64] == expected[:64]
            assert ours(digest)[64] == 27 + expected[64]
