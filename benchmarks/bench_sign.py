"""Order in, id and signature out: one, and the three legs of a trade."""

import coincurve

from benchmarks import bench_floor, inputs
from benchmarks.baselines import official, typed_data
from benchmarks.harness import Row
from benchmarks.peers import cargo
from benchmarks.targets import OFFICIAL


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
            OFFICIAL: client,
            "eth-account": lambda: typed_data.signature(data, inputs.PRIVATE_KEY),
            "coincurve, signature only": lambda: key.sign_recoverable(digest, hasher=None),
        },
        check,
        bench_floor.ONE,
    )


def _three() -> Row:
    orders, signer = inputs.orders(), inputs.signer()
    clients = [official.signing(order) for order in orders]

    def client() -> list[object]:
        return [sign() for sign in clients]

    typed = [typed_data.typed_data(order, signer) for order in orders]

    def eth_account() -> list[str]:
        return [typed_data.signature(data, inputs.PRIVATE_KEY) for data in typed]

    rust = cargo.signatures()

    def check() -> None:
        ours = [signed.signature for signed in signer.sign_batch(orders)]
        client_signatures = [signed.signature for signed in official.signed(orders)]
        inputs.same("signatures", [s[2:] for s in ours], [s[-130:] for s in client_signatures])
        inputs.same("signatures", ours, eth_account())
        for who, remote in rust.items():
            inputs.same(f"signatures of {who}", ours, remote.output()["signatures"])

    return Row(
        "sign_3_orders",
        "hash and sign the three legs of one trade; three curve multiplications dominate",
        lambda: signer.sign_batch(orders),
        {OFFICIAL: client, "eth-account": eth_account, **rust},
        check,
        bench_floor.THREE,
    )
