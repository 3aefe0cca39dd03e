"""Prepared nonces: none signs twice, none survives its use, and every signature is the key's."""

import copy
import functools
import gc
import hashlib
import hmac
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polyexec import _secp256k1
from polyexec._secp256k1 import ORDER, nonce_pool, public_address, recover_address, sign_digest
from polyexec.account import build_signer
from polyexec.config import ExecutorConfig
from polyexec.core.signer import OrderSigner
from polyexec.errors import ConfigError, InputError

try:
    from polyexec._fast import nonces, secp256k1

    CAN_PREPARE = secp256k1.is_bound()
except ModuleNotFoundError:
    CAN_PREPARE = False

pytestmark = pytest.mark.skipif(
    not CAN_PREPARE, reason=f"no libsecp256k1 by address ({_secp256k1.BACKEND})"
)

KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
KEYS = [KEY, (1).to_bytes(32, "big"), (ORDER - 1).to_bytes(32, "big")]


def digest(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def cut(signatures: bytes) -> list[bytes]:
    return [signatures[i : i + 65] for i in range(0, len(signatures), 65)]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "nothing happened within 30 s"
        time.sleep(0.001)


@pytest.fixture
def pool() -> Iterator[Any]:
    made = nonce_pool(KEY, 64)
    yield made
    made.close()


# signatures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS, ids=["key", "1", "n-1"])
def test_every_prepared_signature_recovers_to_the_signer_and_is_low(key: bytes) -> None:
    pool, address = nonce_pool(key, 500), public_address(key)
    assert pool.fill() == 500
    messages = [digest(i) for i in range(500)]
    signatures = cut(pool.sign_many(b"".join(messages)))
    assert (pool.used, pool.fallbacks) == (500, 0)
    for message, signature in zip(messages, signatures, strict=True):
        assert recover_address(message, signature) == address
        assert 0 < int.from_bytes(signature[32:64], "big") <= ORDER // 2
        assert signature[64] in (27, 28)
    # Both parities, and none of these is the deterministic one.
    assert {signature[64] for signature in signatures} == {27, 28}
    assert not {sign_digest(key, message) for message in messages[:20]} & set(signatures)


@pytest.mark.parametrize("key", KEYS, ids=["key", "1", "n-1"])
@pytest.mark.parametrize(
    "number",
    [1, 2, ORDER // 2, ORDER // 2 + 1, ORDER - 1, ORDER + 1, ORDER + 2**100, 2**256 - 1],
)
def test_edge_digests_recover(key: bytes, number: int) -> None:
    pool, message = nonce_pool(key, 4), number.to_bytes(32, "big")
    pool.fill()
    for _ in range(4):
        signature = pool.sign(message)
        assert recover_address(message, signature) == public_address(key)
        assert int.from_bytes(signature[32:64], "big") <= ORDER // 2
    assert (pool.used, pool.fallbacks) == (4, 0)


@pytest.mark.parametrize("number", [0, ORDER])
def test_digest_that_is_zero_takes_no_entry(pool: Any, number: int) -> None:
    pool.fill()
    message = number.to_bytes(32, "big")
    assert pool.sign(message) == sign_digest(KEY, message)
    assert (pool.used, pool.ready, pool.fallbacks) == (0, 64, 1)


def test_empty_ring_signs_deterministically_and_counts_it(pool: Any) -> None:
    pool.fill(2)
    signatures = [pool.sign(digest(i)) for i in range(5)]
    plain = [sign_digest(KEY, digest(i)) for i in range(5)]
    assert signatures[2:] == plain[2:]
    assert signatures[0] != plain[0]
    assert signatures[1] != plain[1]
    assert (pool.prepared, pool.used, pool.fallbacks) == (2, 2, 3)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_small_rings_go_round_without_losing_or_repeating(size: int) -> None:
    pool, seen = nonce_pool(KEY, size), set()
    for turn in range(20):
        assert pool.fill() == size
        assert pool.fill() == 0
        for i in range(size):
            message = digest(turn * size + i)
            signature = pool.sign(message)
            assert recover_address(message, signature) == public_address(KEY)
            seen.add(signature[:32])
    assert len(seen) == 20 * size == pool.used
    assert pool.fallbacks == 0


# nonces -------------------------------------------------------------------------------------------


def drbg(key: bytes, message: bytes, entropy: bytes) -> bytes:
    """First 32 bytes of HMAC_DRBG (SP 800-90A, SHA-256) with this seed."""
    seed = key + message + entropy + b"polyexec presign"
    state, value = bytes(32), b"\1" * 32
    for mark in (b"\0", b"\1"):
        state = hmac.digest(state, value + mark + seed, "sha256")
        value = hmac.digest(state, value, "sha256")
    return hmac.digest(state, value, "sha256")


def test_nonce_is_that_of_a_drbg_over_key_message_and_entropy() -> None:
    for i in range(50):
        key, entropy = digest(i), digest(i + 1)
        message = bytes(4) + digest(i + 2)[:28]
        assert nonces._draw(key, message, entropy) == drbg(key, message, entropy)


def test_broken_generator_alone_repeats_no_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing but the counter, the process and the clock differs from draw to draw, and from pool
    # to pool; the key keeps all of it unpredictable.
    monkeypatch.setattr(os, "urandom", bytes)
    seen = set()
    for _ in range(3):
        pool = nonce_pool(KEY, 200)
        pool.fill()
        seen |= {s[:32] for s in cut(pool.sign_many(digest(1) * 200))}
        assert pool.fallbacks == 0
    assert len(seen) == 600


def test_broken_generator_and_clock_repeat_no_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 1)
    seen = set()
    for _ in range(2):
        pool = nonce_pool(KEY, 100)
        pool.fill()
        seen |= {s[:32] for s in cut(pool.sign_many(digest(1) * 100))}
    assert len(seen) == 200


def test_restart_with_a_broken_generator_repeats_no_nonce() -> None:
    program = f"""
import os
os.urandom = bytes
os.getpid = lambda: 1
from polyexec._secp256k1 import nonce_pool
pool = nonce_pool(bytes.fromhex("{KEY.hex()}"), 20)
pool.fill()
print(pool.sign_many(bytes(31) + b"1" + (bytes(31) + b"2") * 19).hex())
"""
    seen = set()
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": str(Path(_secp256k1.__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        seen |= {s[:32] for s in cut(bytes.fromhex(done.stdout.strip()))}
    assert len(seen) == 40


def test_entropy_enters_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def urandom(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    monkeypatch.setattr(os, "urandom", urandom)
    pool = nonces.NoncePool(KEY, 100)
    assert pool.fill() == 100
    assert sum(asked) == 32 * 100


def test_no_entropy_means_no_entry_and_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def urandom(count: int) -> bytes:
        raise OSError("no entropy")

    pool = nonces.NoncePool(KEY, 4)
    monkeypatch.setattr(os, "urandom", urandom)
    with pytest.raises(OSError, match="no entropy"):
        pool.fill()
    monkeypatch.setattr(os, "urandom", lambda count: b"short")
    with pytest.raises(ValueError, match="entropy"):
        pool.fill()
    monkeypatch.setattr(os, "urandom", urandom)
    pool.start()
    wait_until(lambda: not pool.info()["running"])
    assert pool.sign(digest(1)) == sign_digest(KEY, digest(1))


def test_an_entry_is_handed_out_once_under_eight_threads() -> None:
    pool, takes, each = nonce_pool(KEY, 256), 20_000, 100
    barrier, lock = threading.Barrier(8), threading.Lock()
    made: list[bytes] = []

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(takes // 8 // each):
            first = (number * takes + turn * each) * 2
            out = pool.sign_many(b"".join(digest(first + i) for i in range(each)))
            with lock:
                made.extend(cut(out))

    pool.start()
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    # The threads outrun one filler: several fill as well.
    while any(thread.is_alive() for thread in threads):
        pool.fill()
    for thread in threads:
        thread.join()
    pool.stop()
    # Digests differ, so a nonce that signed twice shows as one r in two signatures.
    rs = {signature[:32] for signature in made}
    assert len(made) == takes == len(rs)
    assert pool.used + pool.fallbacks == takes
    assert pool.used > 500
    assert pool.prepared - pool.used == pool.ready
    pool.close()


def test_entries_taken_at_once_are_whole() -> None:
    pool, bad = nonce_pool(KEY, 64), []
    address = public_address(KEY)

    def work() -> None:
        messages = [digest(i) for i in range(300)]
        for message, signature in zip(
            messages, cut(pool.sign_many(b"".join(messages))), strict=True
        ):
            if recover_address(message, signature) != address:
                bad.append(signature)

    threads = [threading.Thread(target=work) for _ in range(4)]
    pool.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert bad == []


# traces -------------------------------------------------------------------------------------------


def test_an_entry_is_wiped_as_it_is_used(pool: Any) -> None:
    assert pool._traces() == (0, 1)
    pool.fill(10)
    for left in range(10, 0, -1):
        assert pool._traces() == (left, 1)
        pool.sign(digest(left))
    assert pool._traces() == (0, 1)


def test_close_wipes_entries_and_key_and_ends_the_thread() -> None:
    pool = nonce_pool(KEY, 32)
    pool.start()
    wait_until(lambda: pool.ready == 32)
    assert pool._traces() == (32, 1)
    pool.close()
    assert pool._traces() == (0, 0)
    assert not pool.info()["running"]
    assert pool.ready == 0
    for use in (lambda: pool.sign(digest(1)), lambda: pool.sign_many(digest(1)), pool.start):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert pool.fill() == 0
    assert pool._traces() == (0, 0)
    pool.close()


def test_close_lets_running_signatures_finish_with_the_whole_key() -> None:
    for _ in range(20):
        pool, got = nonce_pool(KEY, 8), []
        messages = b"".join(digest(i) for i in range(8))
        inside = threading.Event()

        def work(pool: Any = pool, got: list[bytes] = got, inside: Any = inside) -> None:
            try:
                while True:
                    got.extend(cut(pool.sign_many(messages)))  # noqa: B023
                    inside.set()
            except ValueError:
                pass

        thread = threading.Thread(target=work)
        thread.start()
        inside.wait()
        pool.close()
        thread.join()
        for i, signature in enumerate(got[-8:]):
            assert recover_address(digest(i), signature) == public_address(KEY)


def test_pool_is_neither_pickled_nor_copied_nor_shown(pool: Any) -> None:
    pool.fill(3)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(pool, protocol)
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            copied(pool)
    with pytest.raises(TypeError):
        type("Sub", (type(pool),), {})
    assert repr(pool) == "NoncePool(ready=3, size=64, prepared=3, used=0, fallbacks=0)"
    assert not hasattr(pool, "__dict__")


def test_memory_is_protected_where_the_system_allows(pool: Any) -> None:
    info = pool.info()
    if sys.platform != "linux":
        pytest.skip("what other systems grant is not known")
    assert info["not_dumped"]
    assert info["empty_in_children"]
    # dd: not dumped, wf: wiped on fork, lo: locked.
    flags = [
        line.split()[1:]
        for line in Path("/proc/self/smaps").read_text().splitlines()
        if line.startswith("VmFlags:")
    ]
    assert any({"dd", "wf"} <= set(found) for found in flags)
    if info["locked"]:
        assert any({"dd", "wf", "lo"} <= set(found) for found in flags)


# the thread ---------------------------------------------------------------------------------------


def test_thread_refills_what_was_used_and_stops() -> None:
    pool = nonce_pool(KEY, 16)
    pool.start()
    pool.start()
    assert [t.name for t in threading.enumerate()].count("polyexec-nonces") == 1
    wait_until(lambda: pool.ready == 16)
    # Above the low-water mark nothing is made; below it the ring fills again.
    for i in range(8):
        pool.sign(digest(i))
    assert pool.prepared == 16
    pool.sign(digest(9))
    wait_until(lambda: pool.ready == 16)
    assert pool.fallbacks == 0
    pool.stop()
    assert not pool.info()["running"]
    pool.sign_many(digest(1) * 16)
    assert pool.ready == 0
    pool.start()
    wait_until(lambda: pool.ready == 16)
    pool.close()


def test_thread_ends_when_nobody_holds_the_pool() -> None:
    pool = nonce_pool(KEY, 16)
    pool.start()
    wait_until(functools.partial(lambda pool: pool.ready == 16, weakref.proxy(pool)))
    (thread,) = [t for t in threading.enumerate() if t.name == "polyexec-nonces"]
    del pool
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


# forks --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_forked_child_has_no_entries_and_signs_deterministically(pool: Any) -> None:
    pool.start()
    wait_until(lambda: pool.ready == 64)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the fill thread is meant to be there
        child = os.fork()
    if child == 0:
        status = 1
        try:
            first = (pool.ready, *pool._traces(), pool.fill(), pool.info()["running"])
            plain = b"".join(pool.sign(digest(i)) for i in range(10))
            dead = pool.used
            pool.start()
            wait_until(lambda: pool.ready == 64)
            fresh = b"".join(pool.sign(digest(i)) for i in range(10))
            pool.close()
            os.write(writing, repr((first, dead, plain, fresh, pool._traces())).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    first, dead, plain, fresh, left = eval(told)
    assert first == (0, 0, 1, 0, False)
    assert dead == 0
    assert plain == b"".join(sign_digest(KEY, digest(i)) for i in range(10))
    assert left == (0, 0)
    ours = pool.sign_many(b"".join(digest(i) for i in range(64)))
    used = [*cut(ours), *cut(fresh), *cut(plain)]
    for i, signature in enumerate(cut(ours)):
        assert recover_address(digest(i), signature) == public_address(KEY)
    for i, signature in enumerate(cut(fresh)):
        assert recover_address(digest(i), signature) == public_address(KEY)
    assert len({signature[:32] for signature in used}) == len(used)


@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library's fork")
def test_fork_from_c_without_python_hooks_uses_no_entry(pool: Any) -> None:
    import ctypes

    pool.fill()
    plain = sign_digest(KEY, digest(1))
    # PyDLL keeps the GIL, so the child may go on; no at-fork hook of Python runs.
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        os._exit(0 if pool.ready == 0 and pool.sign(digest(1)) == plain else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.ready == 64


# arguments and the signer -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, 4097, 2**40])
def test_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="size must be 1 to 4096"):
        nonce_pool(KEY, size)


@pytest.mark.parametrize("key", [bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, KEY[:31]])
def test_bad_key_is_refused(key: bytes) -> None:
    for make in (nonce_pool, nonces.NoncePool):
        with pytest.raises(ValueError, match="32 bytes"):
            make(key, 4)


def test_foreign_types_are_refused(pool: Any) -> None:
    pool.fill(1)
    for bad in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="must be 32 bytes"):
            pool.sign(bad)
    with pytest.raises(ValueError, match="32 bytes each"):
        pool.sign_many(bytes(33))
    for wrong in ("text", bytearray(32), None):
        with pytest.raises(TypeError):
            pool.sign(wrong)
        with pytest.raises(TypeError):
            pool.sign_many(wrong)
    with pytest.raises(TypeError):
        nonces.NoncePool(KEY, 4.0)
    assert pool.used == 0


def test_signer_opts_in_and_is_deterministic_again_after_close() -> None:
    plain, signer = OrderSigner(KEY), OrderSigner(KEY, presign=8)
    assert plain.presign_info() is None
    wait_until(lambda: signer.presign_info()["ready"] == 8)
    signature = signer.sign_digest(digest(1))
    assert signature != plain.sign_digest(digest(1))
    assert recover_address(digest(1), signature) == public_address(KEY)
    assert signer.presign_info()["used"] == 1
    signer.close()
    assert signer.sign_digest(digest(1)) == plain.sign_digest(digest(1))
    plain.close()
    assert plain.sign_digest(digest(1)) == sign_digest(KEY, digest(1))


@pytest.mark.parametrize("presign", [-1, 4097, 1.5, True, "8"])
def test_presign_out_of_range_is_refused_by_name(presign: Any) -> None:
    with pytest.raises(InputError, match="presign"):
        OrderSigner(KEY, presign=presign)
    with pytest.raises(ConfigError, match="presign"):
        ExecutorConfig(presign=presign)


def test_setting_reaches_the_signer() -> None:
    config = ExecutorConfig(private_key="0x" + KEY.hex(), presign=8)
    signer = build_signer(config)
    assert signer.presign_info()["size"] == 8
    signer.close()
    assert build_signer(config.replace(presign=0)).presign_info() is None
    assert ExecutorConfig().presign == 0
