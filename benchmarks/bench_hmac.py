"""The L2 signature over the body of a three-leg batch, with and without preparing the secret."""

import polyexec as px
from benchmarks import inputs
from benchmarks.baselines import official
from benchmarks.harness import Row
from polyexec.core.auth import L2Signer

TIMESTAMP = str(inputs.TIMESTAMP_MS // 1000)


def rows() -> list[Row]:
    body = px.encode_orders(
        inputs.signer().sign_batch(inputs.orders()),
        owner=inputs.OWNER,
        order_type=px.OrderType.GTC,
    )
    text = body.decode()

    address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    prepared = L2Signer(address, px.ApiCredentials(inputs.OWNER, inputs.SECRET, "passphrase"))

    def headers() -> dict[str, str]:
        return prepared.headers(TIMESTAMP, "POST", "/orders", body)

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
        ),
        Row(
            "l2_headers_batch",
            f"the five headers over {len(body)} bytes, the secret prepared beforehand, against the"
            " signature alone; hashing the body dominates",
            headers,
            {"py-clob-client-v2": theirs},
            lambda: inputs.same("l2_headers", headers()["POLY_SIGNATURE"], theirs()),
        ),
    ]
