"""The L2 signature and the headers of the body of a three-leg batch."""

import polyexec as px
from benchmarks import inputs
from benchmarks.baselines import official
from benchmarks.harness import Row
from benchmarks.targets import OFFICIAL
from polyexec.core.auth import L2Signer

SECONDS = inputs.TIMESTAMP_MS // 1000
TIMESTAMP = str(SECONDS)


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

    credentials = px.ApiCredentials(inputs.OWNER, inputs.SECRET, inputs.PASSPHRASE)
    authentication = L2Signer(inputs.signer().address, credentials)
    client_headers = official.headers(text, SECONDS)

    def headers() -> dict[str, str]:
        return authentication.headers(SECONDS, "POST", "/orders", body)

    return [
        Row(
            "l2_signature_batch",
            f"HMAC-SHA256 over {len(body)} bytes; hashing the body dominates",
            ours,
            {OFFICIAL: theirs},
            lambda: inputs.same("l2_signature", ours(), theirs()),
        ),
        Row(
            "l2_headers_batch",
            f"the five L2 headers of a body of {len(body)} bytes, the key prepared once; hashing "
            "the body dominates",
            headers,
            {OFFICIAL: client_headers},
            lambda: inputs.same("headers", headers(), client_headers()),
        ),
    ]
