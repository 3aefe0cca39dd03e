"""An order in, its EIP-712 digest out: struct hash and digest, nothing signed."""

import polyexec as px
from benchmarks import inputs
from benchmarks.baselines import typed_data
from benchmarks.harness import Row
from polyexec import _impl


def rows() -> list[Row]:
    order, signer = inputs.orders()[0], inputs.signer()
    data = typed_data.typed_data(order, signer)
    separator = signer.domain_separator(px.Generation.CLOB_V2, neg_risk=False)
    account = bytes.fromhex(signer.address[2:])
    token, zeros = int(order.token_id), bytes(32)
    salt, timestamp = order.salt or 0, order.timestamp_ms or 0
    maker, taker = order.maker_micro, order.taker_micro

    def ours() -> bytes:
        return _impl.typed_data_hash(
            separator,
            _impl.order_struct_hash_v2(
                salt, account, account, token, maker, taker, 0, 0, timestamp, zeros, zeros
            ),
        )

    def check() -> None:
        inputs.same("digest", "0x" + ours().hex(), typed_data.order_id(data))

    return [
        Row(
            "order_digest",
            "struct hash and digest of one CLOB V2 order; four keccak permutations dominate",
            ours,
            {"eth-account": lambda: typed_data.order_id(data)},
            check,
        )
    ]
