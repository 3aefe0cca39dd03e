from typing import Any

import pytest

from polyexec.core.asset_ids import decode_position_id, is_position_id
from polyexec.core.signer import OrderSigner
from polyexec.core.wallets import (
    deposit_wallet,
    deposit_wallet_uups,
    infer_signature_type,
    proxy_wallet,
    safe_wallet,
)
from tests.conftest import load_vectors


@pytest.mark.parametrize("case", load_vectors("wallets"), ids=lambda case: case["address"])
def test_wallets_of_an_account_are_where_the_factories_put_them(case: dict[str, Any]) -> None:
    address = OrderSigner(case["private_key"]).address
    assert address == case["address"]
    wallets = {
        "proxy_wallet": (proxy_wallet, 1),
        "safe_wallet": (safe_wallet, 2),
        "deposit_wallet_beacon": (deposit_wallet, 3),
        "deposit_wallet_uups": (deposit_wallet_uups, 3),
    }
    for name, (derive, kind) in wallets.items():
        assert derive(address) == case[name]
        assert derive(address.lower()) == case[name]
        assert infer_signature_type(address, case[name]) == kind


@pytest.mark.parametrize("case", load_vectors("asset-ids"), ids=lambda case: case["asset_id"][:20])
def test_position_ids_are_told_from_token_ids(case: dict[str, Any]) -> None:
    assert is_position_id(case["asset_id"]) is case["is_protocol_v2_position_id"]
    decoded = decode_position_id(case["asset_id"])
    assert (decoded and decoded._asdict()) == case["decoded"]
