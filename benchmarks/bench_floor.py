"""What nobody can go below: libsecp256k1 itself, called by its C function."""

from collections.abc import Callable

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from benchmarks import inputs
from benchmarks.harness import Row

ONE, THREE = "raw_libsecp256k1", "floor_3_signatures"


def _raw(digest: bytes) -> tuple[Callable[[], object], Callable[[], bytes]]:
    """Return one recoverable RFC 6979 signature, and how to read it."""
    context = GLOBAL_CONTEXT.ctx
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    message = ffi.new("unsigned char[32]", digest)
    key = ffi.new("unsigned char[32]", bytes.fromhex(inputs.PRIVATE_KEY[2:]))
    sign, default = lib.secp256k1_ecdsa_sign_recoverable, ffi.NULL

    def read() -> bytes:
        compact, recovery = ffi.new("unsigned char[64]"), ffi.new("int *")
        lib.secp256k1_ecdsa_recoverable_signature_serialize_compact(
            context, compact, recovery, signature
        )
        return bytes(compact) + bytes((27 + recovery[0],))

    return lambda: sign(context, signature, message, key, default, default), read


def rows() -> list[Row]:
    signed = inputs.signer().sign_batch(inputs.orders())
    raw = [_raw(bytes.fromhex(order.order_id[2:])) for order in signed]
    (first, _), (second, _), (third, _) = raw

    def three() -> None:
        first()
        second()
        third()

    def check() -> None:
        for order, (sign, read) in zip(signed, raw, strict=True):
            inputs.same("return value", sign(), 1)
            inputs.same("signature", order.signature, "0x" + read().hex())

    return [
        Row(
            ONE,
            "one recoverable signature by libsecp256k1's function through cffi, buffers ready: "
            "the unit that the promises count in",
            first,
            check=check,
        ),
        Row(THREE, "three of them: the floor of three deterministic orders", three, check=check),
    ]
