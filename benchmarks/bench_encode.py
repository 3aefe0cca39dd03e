"""Signed orders in, the body of POST /orders out."""

import polyexec as px
from benchmarks import inputs
from benchmarks.baselines import official
from benchmarks.harness import Row
from benchmarks.targets import OFFICIAL


def rows() -> list[Row]:
    signed = inputs.signer().sign_batch(inputs.orders())
    client = official.signed(inputs.orders())

    def ours() -> bytes:
        return px.encode_orders(signed, owner=inputs.OWNER, order_type=px.OrderType.GTC)

    def theirs() -> bytes:
        return official.body(client, "GTC")

    return [
        Row(
            "encode_3_orders",
            "body of POST /orders for three signed orders; writing the text dominates",
            ours,
            {OFFICIAL: theirs},
            lambda: inputs.same("body", ours(), theirs()),
        )
    ]
