"""Published RFC 6979 answers, and the keys and digests at which signers break."""

import hashlib

import pytest
from eth_keys import keys

from polyexec._secp256k1 import ORDER, public_address, recover_address, sign_digest

DISEASE = (
    "There is a computer disease that anybody who works with computers knows about. It's a very "
    "serious disease and it interferes completely with the work. The trouble with computers is "
    "that you 'play' with them!"
)
# Deterministic secp256k1 signatures over SHA-256, as the Bitcoin community published them.
PUBLISHED = [
    (
        1,
        "Satoshi Nakamoto",
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8",
        "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
    ),
    (
        1,
        "All those moments will be lost in time, like tears in rain. Time to die...",
        "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b",
        "547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21",
    ),
    (
        ORDER - 1,
        "Satoshi Nakamoto",
        "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0",
        "6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5",
    ),
    (
        0xF8B8AF8CE3C7CCA5E300D33939540C10D45CE001B8F252BFBC57BA0342904181,
        "Alan Turing",
        "7063ae83e7f62bbb171798131b4a0564b956930092b33b07b395615d9ec7e15c",
        "58dfcc1e00a35e1572f366ffe34ba0fc47db1e7189759b9fb233c5b05ab388ea",
    ),
    (
        0xE91671C46231F833A6406CCBEA0E3E392C76C167BAC1CB013F6F1013980455C2,
        DISEASE,
        "b552edd27580141f3b2a5463048cb7cd3e047b97c9f98076c32dbdf85a68718b",
        "279fa72dd19bfae05577e06c7c0c1900c371fcd5893f7e1d56a37d30174671f6",
    ),
]
EDGE_KEYS = [1, 2, ORDER // 2, ORDER // 2 + 1, ORDER - 2, ORDER - 1]
EDGE_DIGESTS = [0, 1, 2**255, ORDER // 2, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1]


@pytest.mark.parametrize(("key", "message", "r", "s"), PUBLISHED, ids=range(len(PUBLISHED)))
def test_published_deterministic_signature(key: int, message: str, r: str, s: str) -> None:
    private, digest = key.to_bytes(32, "big"), hashlib.sha256(message.encode()).digest()
    signature = sign_digest(private, digest)
    assert signature[:64].hex() == r + s
    assert recover_address(digest, signature) == public_address(private)


@pytest.mark.parametrize("number", EDGE_DIGESTS, ids=hex)
@pytest.mark.parametrize("key", EDGE_KEYS, ids=hex)
def test_edge_key_and_digest_sign_as_another_library_with_low_s(key: int, number: int) -> None:
    private, digest = key.to_bytes(32, "big"), number.to_bytes(32, "big")
    signature = sign_digest(private, digest)
    other = keys.PrivateKey(private).sign_msg_hash(digest).to_bytes()
    assert signature == other[:64] + bytes((27 + other[64],))
    assert 0 < int.from_bytes(signature[:32], "big") < ORDER
    assert 0 < int.from_bytes(signature[32:64], "big") <= ORDER // 2
    assert recover_address(digest, signature) == public_address(private)


def test_keys_that_are_negatives_of_each_other_sign_as_different_accounts() -> None:
    for key in (1, 2, ORDER // 2):
        one, other = (number.to_bytes(32, "big") for number in (key, ORDER - key))
        assert public_address(one) != public_address(other)
        assert recover_address(bytes(32), sign_digest(one, bytes(32))) == public_address(one)
        assert recover_address(bytes(32), sign_digest(other, bytes(32))) == public_address(other)
