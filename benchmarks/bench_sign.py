"""Order in, id and signature out: one, and the three legs of a trade."""

import coincurve

from benchmarks import inputs
from benchmarks.baselines import official, typed_data
from benchmarks.harness import Row


def rows() -> list[Row]:
    return [_one(), _three()]


def _one() -> Row:
    order, signer = inputs.orders()[0], inputs.signer()
    data = typed_data.typed_data(order, signer)
    key = coincurve.PrivateKey.from_hex(inputs.PRIVATE_KEY[2:])
    digest = bytes.fromhex(signer.sign(order).order_id[2:])
    client = official.signing(order)

    def check() -> None:
        signed = signer.sign(order)
        inputs.same("order_id", signed.order_id, typed_data.order_id(data))
        theirs = typed_data.signature(data, inputs.PRIVATE_KEY)
        inputs.same("signature", signed.signature, theirs)
        client_signature = client().signature
        inputs.same("signature", signed.signature[2:], client_signature.removeprefix("0x"))
        raw = key.sign_recoverable(digest, hasher=None)
        inputs.same("signature", bytes.fromhex(signed.signature[2:])[:64], raw[:64])

    return Row(
        "sign_1_order",
        "hash and sign one CLOB V2 order; the curve multiplication in libsecp256k1 dominates, and "
        "the raw coincurve column is that alone, without hashing the order",
        lambda: signer.sign(order),
        {
            "py-clob-client-v2": client,
            "eth-account": lambda: typed_data.signature(data, inputs.PRIVATE_KEY),
            "coincurve, signature only": lambda: key.sign_recoverable(digest, hasher=None),
        },
        check,
    )


def _three() -> Row:
    orders, signer = inputs.orders(), inputs.signer()
    clients = [official.signing(order) for order in orders]

    def client() -> list[object]:
        return [sign() for sign in clients]

    def check() -> None:
        for ours, theirs in zip(signer.sign_batch(orders), official.signed(orders), strict=True):
            inputs.same("signature", ours.signature[2:], theirs.signature.removeprefix("0x"))

    return Row(
        "sign_3_orders",
        "hash and sign the three legs of one trade; three curve multiplications dominate",
        lambda: signer.sign_batch(orders),
        {"py-clob-client-v2": client},
        check,
    )
