from typing import Any

import pytest

from polyexec.core.auth import l2_signature
from polyexec.core.orders import Order, SignedOrder, encode_order, encode_orders
from polyexec.core.signer import OrderSigner
from polyexec.enums import Generation
from tests.conftest import load_vectors

CASES = {
    case["id"]: (Generation(version), case)
    for version in (1, 2, 3)
    for case in load_vectors(f"orders-v{version}")
}
# The V1 reference; py-clob-client-v2 has another key order there (protocol notes, orders.md 5).
BODY_OF = {
    Generation.CLOB_V1: "py-clob-client",
    Generation.CLOB_V2: "py-clob-client-v2",
    Generation.EXCHANGE_V3: "py-clob-client-v2",
}


def sign(case_id: str) -> SignedOrder:
    generation, case = CASES[case_id]
    given, made = case["inputs"], case["outputs"]
    extra: dict[str, Any] = (
        {
            "taker": given["taker"],
            "nonce": int(given["nonce"]),
            "fee_rate_bps": int(given["fee_rate_bps"]),
        }
        if generation is Generation.CLOB_V1
        else {
            "timestamp_ms": int(given["timestamp"]),
            "metadata": given["metadata"],
            "builder": given["builder"],
        }
    )
    signer = OrderSigner(
        given["private_key"],
        chain_id=given["chain_id"],
        signature_type=given["signature_type"],
        funder=given["maker"],
        exchanges={(generation, given["neg_risk"]): given["exchange"]},
    )
    assert (
        signer.domain_separator(generation, given["neg_risk"]).hex()
        == (made["domain_separator"][2:])
    )
    return signer.sign(
        Order(
            generation=generation,
            token_id=given["token_id"],
            side=given["side"],
            maker_micro=int(made["maker_amount"]),
            taker_micro=int(made["taker_amount"]),
            neg_risk=given["neg_risk"],
            salt=int(given["salt"]),
            expiration=int(given["expiration"]),
            **extra,
        )
    )


@pytest.mark.parametrize("case_id", CASES)
def test_order_gets_the_id_signature_and_body_of_the_official_client(case_id: str) -> None:
    generation, case = CASES[case_id]
    given, made = case["inputs"], case["outputs"]
    signed = sign(case_id)
    assert signed.maker == given["maker"]
    assert signed.signer == given["signer"]
    assert signed.struct_hash == made["struct_hash"]
    assert signed.order_id == made["order_id"]
    assert signed.signature == made["signature"]
    body = encode_order(
        signed,
        owner=given["owner"],
        order_type=given["order_type"],
        post_only=given["post_only"],
        defer_exec=given["defer_exec"],
    )
    assert body.decode() == made["bodies"][BODY_OF[generation]]


@pytest.mark.parametrize("case_id", CASES)
def test_only_the_disputed_exchange_is_not_in_our_table(case_id: str) -> None:
    generation, case = CASES[case_id]
    given = case["inputs"]
    signer = OrderSigner(given["private_key"], chain_id=given["chain_id"])
    ours = signer.exchange_address(generation, given["neg_risk"])
    disputed = "0xd91E80cF2E7be2e162c6513ceD06f1dD0dA35296"
    assert given["exchange"] in (ours, disputed)
    assert (given["exchange"] == disputed) <= (
        generation is Generation.CLOB_V1 and given["chain_id"] == 80002 and given["neg_risk"]
    )


@pytest.mark.parametrize("case_id", [c for c in CASES if CASES[c][1]["inputs"]["chain_id"] == 137])
def test_wallet_of_the_signer_is_derived_when_none_is_given(case_id: str) -> None:
    _, case = CASES[case_id]
    given = case["inputs"]
    signer = OrderSigner(given["private_key"], signature_type=given["signature_type"])
    assert signer.funder == given["maker"]


@pytest.mark.parametrize("case", load_vectors("batch"), ids=lambda case: case["id"])
def test_batch_has_the_body_and_hmac_of_the_official_client(case: dict[str, Any]) -> None:
    given, made = case["inputs"], case["outputs"]
    body = encode_orders(
        [sign(order) for order in given["orders"]],
        owner=given["owner"],
        order_type=[CASES[order][1]["inputs"]["order_type"] for order in given["orders"]],
        post_only=given["post_only"],
        defer_exec=given["defer_exec"],
    )
    assert body.decode() == made["body"]
    signature = l2_signature(given["secret"], given["timestamp"], "POST", "/orders", body)
    assert signature == made["hmac"]
