"""keccak256 of one 32-byte word and of an order-sized message."""

from Crypto.Hash import keccak as pycryptodome
from eth_utils.crypto import keccak as eth_utils

from benchmarks import inputs
from benchmarks.harness import Row
from polyexec import _impl

WORD = bytes(range(32))
STRUCT = bytes(range(256)) + bytes(128)


def _pycryptodome(data: bytes) -> bytes:
    return pycryptodome.new(digest_bits=256, data=data).digest()


def rows() -> list[Row]:
    return [_row("keccak256_32", WORD), _row("keccak256_384", STRUCT)]


def _row(name: str, data: bytes) -> Row:
    ours = _impl.keccak256

    def check() -> None:
        inputs.same(name, ours(data), _pycryptodome(data))
        inputs.same(name, ours(data), eth_utils(data))

    return Row(
        name,
        f"keccak256 of {len(data)} bytes; the permutation dominates",
        lambda: ours(data),
        {"pycryptodome": lambda: _pycryptodome(data), "eth-utils": lambda: eth_utils(data)},
        check,
    )
