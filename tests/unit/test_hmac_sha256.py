"""SHA-256, HMAC and the L2 key: against published values and the standard library."""

import base64
import copy
import gc
import hashlib
import hmac
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec._pure import hmac_sha256 as pure
from polyexec.core.auth import ApiCredentials, L2Signer
from tests.conftest import load_vectors
from tests.implementations import BOTH, FAST, NOT_BUILT, use

try:
    from polyexec._fast import hmac_sha256 as fast
except ModuleNotFoundError:
    fast = None  # type: ignore[assignment]

SHA256 = [pytest.param(pure.sha256, id="pure")]
HMAC = [pytest.param(pure.hmac_sha256, id="pure")]
if fast is not None:
    SHA256 += [
        pytest.param(fast.sha256, id=f"fast-{fast.sha256_engine()}"),
        pytest.param(fast.sha256_portable, id="fast-portable"),
    ]
    HMAC += [
        pytest.param(fast.hmac_sha256, id=f"fast-{fast.sha256_engine()}"),
        pytest.param(fast.hmac_sha256_portable, id="fast-portable"),
    ]
every_sha256 = pytest.mark.parametrize("sha256", SHA256)
every_hmac = pytest.mark.parametrize("authenticate", HMAC)
every_key = pytest.mark.parametrize("functions", BOTH)

# Around the block of 64 bytes, where a key is padded, and above it, where it is hashed.
KEY_LENGTHS = (0, 1, 31, 32, 33, 63, 64, 65, 128, 200)
SECRET = bytes(range(7, 48))


@every_sha256
def test_published_messages_hash_to_published_values(sha256: Any) -> None:
    # NIST, FIPS 180-4 examples and the message of a million characters.
    known = {
        b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
        b"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu": (
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
        ),
        b"a" * 1_000_000: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    }
    assert {m: sha256(m).hex() for m in known} == known


@every_hmac
def test_published_keys_and_messages_authenticate_to_published_values(authenticate: Any) -> None:
    # RFC 4231, cases 1, 2, 3, 6 and 7.
    known = {
        (b"\x0b" * 20, b"Hi There"): (
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        ),
        (b"Jefe", b"what do ya want for nothing?"): (
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        (b"\xaa" * 20, b"\xdd" * 50): (
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
        ),
        (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First"): (
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        ),
        (
            b"\xaa" * 131,
            b"This is a test using a larger than block-size key and a larger than block-size data."
            b" The key needs to be hashed before being used by the HMAC algorithm.",
        ): "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    }
    assert {given: authenticate(*given).hex() for given in known} == known


@every_sha256
def test_every_length_over_some_blocks_pads_right(sha256: Any) -> None:
    data = bytes(i * 7 & 255 for i in range(301))
    for length in range(301):
        assert sha256(data[:length]) == hashlib.sha256(data[:length]).digest(), length


@every_sha256
@given(data=st.binary(max_size=10_000))
def test_any_message_hashes_as_hashlib_does(sha256: Any, data: bytes) -> None:
    assert sha256(data) == hashlib.sha256(data).digest()


@every_hmac
@pytest.mark.parametrize("length", KEY_LENGTHS)
def test_keys_around_the_block_size_authenticate_as_the_library_does(
    authenticate: Any, length: int
) -> None:
    key = bytes(200 - i for i in range(length))
    for size in (0, 1, 55, 56, 63, 64, 65, 119, 120, 2300):
        message = bytes(i * 5 & 255 for i in range(size))
        assert authenticate(key, message) == hmac.digest(key, message, "sha256"), size


@every_hmac
@given(key=st.binary(max_size=200), message=st.binary(max_size=10_000))
def test_any_message_authenticates_as_the_library_does(
    authenticate: Any, key: bytes, message: bytes
) -> None:
    assert authenticate(key, message) == hmac.digest(key, message, "sha256")


@NOT_BUILT
@given(key=st.binary(max_size=80), pieces=st.lists(st.binary(max_size=150), max_size=12))
def test_a_message_in_pieces_is_the_message_in_one(key: bytes, pieces: list[bytes]) -> None:
    expected = hmac.digest(key, b"".join(pieces), "sha256")
    assert fast.hmac_sha256_pieces(key, pieces) == expected


@NOT_BUILT
def test_every_split_of_three_blocks_is_the_message_in_one() -> None:
    message = bytes(range(192))
    expected = hmac.digest(b"key", message, "sha256")
    for cut in range(193):
        assert fast.hmac_sha256_pieces(b"key", [message[:cut], message[cut:]]) == expected, cut


@every_key
@given(data=st.data())
def test_input_at_odd_addresses_is_read_right(functions: Any, data: st.DataObject) -> None:
    # Each part before the body moves the blocks of the body against its address.
    timestamp, method, path = (data.draw(st.text(max_size=40)) for _ in range(3))
    body = data.draw(st.binary(max_size=600) | st.text(max_size=300))
    tail = body if isinstance(body, bytes) else body.encode()
    message = f"{timestamp}{method}{path}".encode() + tail
    expected = base64.urlsafe_b64encode(hmac.digest(SECRET, message, "sha256")).decode()
    key = functions.L2Key(SECRET)
    assert key.sign(timestamp, method, path, body) == expected
    assert key.sign(timestamp.encode(), method.encode(), path.encode(), tail) == expected
    assert key.sign(timestamp, method, path, body) == expected, "the first call used the key up"


@every_key
def test_every_digit_of_the_signature_is_reached(functions: Any) -> None:
    key = functions.L2Key(SECRET)
    seen: list[set[str]] = [set() for _ in range(44)]
    for number in range(1500):
        for place, character in enumerate(key.sign(str(number), "", "", b"")):
            seen[place].add(character)
    assert [len(characters) for characters in seen] == [*[64] * 42, 16, 1]
    assert set.union(*seen[:42]) == set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


@every_key
@pytest.mark.parametrize("key", ["text", None, 5, bytearray(32), memoryview(bytes(32))])
def test_key_that_is_not_bytes_is_refused(functions: Any, key: Any) -> None:
    with pytest.raises(TypeError, match="key must be bytes, not"):
        functions.L2Key(key)


@every_key
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("part", [None, 5, 1.5, bytearray(3), ["x"]])
def test_part_that_is_neither_text_nor_bytes_is_named(
    functions: Any, place: int, part: Any
) -> None:
    parts: list[Any] = ["1", "GET", "/x", b""]
    parts[place] = part
    name = ("timestamp", "method", "path", "body")[place]
    key = functions.L2Key(SECRET)
    with pytest.raises(TypeError, match=f"{name} must be bytes or str, not {type(part).__name__}"):
        key.sign(*parts)


@every_key
def test_text_without_an_encoding_is_refused(functions: Any) -> None:
    with pytest.raises(UnicodeEncodeError):
        functions.L2Key(SECRET).sign("1", "GET", "/\ud800", b"")


@pytest.mark.parametrize("module", [pure, fast] if fast else [pure])
def test_hashes_of_what_is_not_bytes_are_refused(module: Any) -> None:
    for bad in ("text", None, bytearray(2)):
        with pytest.raises(TypeError, match="data must be bytes"):
            module.sha256(bad)
        with pytest.raises(TypeError, match="key must be bytes"):
            module.hmac_sha256(bad, b"")
        with pytest.raises(TypeError, match="message must be bytes"):
            module.hmac_sha256(b"", bad)


@every_key
def test_key_does_not_leave_by_repr_pickle_or_copy(functions: Any) -> None:
    key = functions.L2Key(SECRET)
    assert repr(key) == str(key) == "L2Key(<hidden>)"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="secret"):
            pickle.dumps(key, protocol)
    for leak in (copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            leak(key)
    assert not hasattr(key, "__dict__")
    assert not hasattr(key, "key")


@NOT_BUILT
def test_key_cannot_be_changed_or_inherited() -> None:
    key = FAST.L2Key(SECRET)
    before = key.sign("1", "GET", "/x", b"")
    with pytest.raises(TypeError):
        type("Sub", (FAST.L2Key,), {})
    with pytest.raises(AttributeError):
        key.other = 1
    with pytest.raises(TypeError):
        FAST.L2Key.__new__(FAST.L2Key)
    assert key.sign("1", "GET", "/x", b"") == before


@NOT_BUILT
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="reads the process's own memory")
def test_memory_of_a_dropped_key_is_wiped() -> None:
    gc.collect()
    # Unbuffered and opened first: nothing may be allocated between the drop and the look.
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        key = FAST.L2Key(SECRET)
        states = id(key) + FAST.L2Key.__basicsize__ - 64
        memory.seek(states)
        before = memory.read(64)
        memory.seek(states)
        del key
        after = memory.read(64)
    assert len(set(before)) > 16, "this is not where the key was"
    # The allocator links freed blocks through their first bytes, which are not the key's.
    assert not any(before[i : i + 4] in after for i in range(0, 64, 4))


@every_key
@pytest.mark.parametrize("case", load_vectors("hmac"), ids=lambda case: case["id"])
def test_headers_are_the_official_client_s_on_both(
    functions: Any, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, functions)
    given, made = case["inputs"], case["outputs"]
    signer = L2Signer(
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        ApiCredentials(given["api_key"], given["secret"], given["passphrase"]),
    )
    headers = signer.headers(given["timestamp"], given["method"], given["path"], given["body"])
    assert headers["POLY_SIGNATURE"] == made["signature"]


@NOT_BUILT
def test_many_threads_share_one_key() -> None:
    code = (
        "import threading\n"
        "from polyexec._fast.hmac_sha256 import L2Key\n"
        "key = L2Key(b'k' * 40)\n"
        "expected = [key.sign(str(i), 'POST', '/orders', b'x' * i) for i in range(300)]\n"
        "wrong = []\n"
        "def work():\n"
        "    for i in range(300):\n"
        "        if key.sign(str(i), 'POST', '/orders', b'x' * i) != expected[i]:\n"
        "            wrong.append(i)\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert not wrong\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
