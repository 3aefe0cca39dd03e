"""The L2 signature over the body of a three-leg batch."""

import polyexec as px
from benchmarks import inputs
from benchmarks.baselines import official
from benchmarks.harness import Row

TIMESTAMP = str(inputs.TIMESTAMP_MS // 1000)


def rows() -> list[Row]:
    body = px.encode_orders(
        inputs.signer().sign_batch(inputs.orders()),
        owner=inputs.OWNER,
        order_type=px.OrderType.GTC,
    )
    text = body.decode()

    def ours() -> str:
        return px.l2_signature(inputs.SECRET, TIMESTAMP, "POST", "/orders", body)

    def theirs() -> str:
        return official.build_hmac_signature(inputs.SECRET, TIMESTAMP, "POST", "/orders", text)

    return [
        Row(
            "l2_signature_batch",
            f"HMAC-SHA256 over {len(body)} bytes; hashing the body dominates",
            ours,
            {"py-clob-client-v2": theirs},
            lambda: inputs.same("l2_signature", ours(), theirs()),
        )
    ]
