"""The exchange's own hashing and recovery, against recorded output of the official clients."""

import json
from typing import Any

import pytest

from polyexec.enums import Generation
from polyexec.paper.signatures import OrderHasher, clob_auth_digest, l2_signature, recover
from polyexec.paper.wire import parse_entry

HASHERS = {chain_id: OrderHasher(chain_id) for chain_id in (137, 80002)}


@pytest.mark.parametrize("name", ["orders-v1", "orders-v2", "orders-v3"])
def test_ids_and_signers_of_recorded_orders(vectors: Any, name: str) -> None:
    checked = 0
    for case in vectors(name):
        inputs, outputs = case["inputs"], case["outputs"]
        generation = Generation(int(inputs.get("domain_version", "1")))
        hasher = HASHERS[inputs["chain_id"]]
        separator = "0x" + hasher.separator(generation, inputs["neg_risk"]).hex()
        if generation is Generation.CLOB_V1 and separator != outputs["domain_separator"]:
            continue  # the disputed neg-risk exchange of 80002
        for body in outputs["bodies"].values():
            entry = parse_entry(json.loads(body))
            digest = hasher.order_digest(entry, generation, inputs["neg_risk"])
            assert "0x" + digest.hex() == outputs["order_id"], case["id"]
            signer = hasher.signer_of(entry, generation, inputs["neg_risk"])
            owner = inputs["signer"].lower()
            if inputs["signature_type"] == 3:
                owner = recover(
                    bytes.fromhex(outputs["signing_digest"][2:]),
                    bytes.fromhex(outputs["inner_signature"][2:]),
                )
                assert owner is not None
            assert signer == owner, case["id"]
            checked += 1
    assert checked >= 64


def test_envelope_for_another_wallet_or_exchange_is_no_signature(vectors: Any) -> None:
    case = next(c for c in vectors("orders-v2") if c["inputs"]["signature_type"] == 3)
    body = json.loads(next(iter(case["outputs"]["bodies"].values())))
    hasher, neg_risk = HASHERS[case["inputs"]["chain_id"]], case["inputs"]["neg_risk"]
    good = parse_entry(body)
    owner = hasher.signer_of(good, Generation.CLOB_V2, neg_risk)
    assert owner is not None
    assert hasher.signer_of(good, Generation.CLOB_V2, not neg_risk) is None
    assert hasher.signer_of(good, Generation.EXCHANGE_V3, neg_risk) is None
    body["order"]["maker"] = body["order"]["signer"] = "0x" + "11" * 20
    assert hasher.signer_of(parse_entry(body), Generation.CLOB_V2, neg_risk) != owner


def test_recorded_l1_signatures_recover_to_their_address(vectors: Any) -> None:
    for case in vectors("l1-auth"):
        inputs, outputs = case["inputs"], case["outputs"]
        digest = clob_auth_digest(
            inputs["chain_id"], outputs["address"], str(inputs["timestamp"]), inputs["nonce"]
        )
        assert "0x" + digest.hex() == outputs["digest"]
        assert recover(digest, bytes.fromhex(outputs["signature"][2:])) == (
            outputs["address"].lower()
        )


def test_recorded_l2_signatures(vectors: Any) -> None:
    for case in vectors("hmac"):
        inputs = case["inputs"]
        if case["id"].startswith("hmac-q"):
            continue  # quirks of single clients
        body = (inputs["body"] or "").encode()
        signature = l2_signature(
            inputs["secret"], str(inputs["timestamp"]), inputs["method"], inputs["path"], body
        )
        assert signature == case["outputs"]["signature"], case["id"]


def test_recovery_of_rubbish_is_none_not_an_error() -> None:
    assert recover(b"\1" * 32, b"\0" * 64 + b"\x1b") is None
    assert recover(b"\1" * 32, b"\xff" * 32 + b"\1" * 32 + b"\x1b") is None
    assert recover(b"\1" * 32, b"") is None
