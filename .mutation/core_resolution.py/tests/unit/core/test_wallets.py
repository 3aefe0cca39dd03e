from typing import Any

import pytest

from polyexec.core.asset_ids import decode_position_id, is_position_id
from polyexec.core.wallets import derive_funder, infer_signature_type, proxy_wallet
from polyexec.enums import SignatureType
from polyexec.errors import InputError

ADDRESS = "0x90FB4b90cBb6c4659d2155C06A0513D8DBbA1C5A"


def test_funder_of_somebody_else_is_not_guessed() -> None:
    assert infer_signature_type(ADDRESS, ADDRESS.lower()) is SignatureType.EOA
    stranger = proxy_wallet("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
    with pytest.raises(InputError, match=f"no wallet of {ADDRESS}"):
        infer_signature_type(ADDRESS, stranger)


def test_wallets_are_known_on_one_chain_only() -> None:
    assert derive_funder(ADDRESS, SignatureType.EOA, 80002) == ADDRESS
    with pytest.raises(InputError, match="chain 80002"):
        derive_funder(ADDRESS, SignatureType.POLY_PROXY, 80002)


def test_malformed_owner_has_no_wallet() -> None:
    with pytest.raises(InputError, match="address"):
        proxy_wallet("0x12")


@pytest.mark.parametrize("token_id", ["", "abc", "0x", "1_000", " 1", "-1", 2**256, None, [], "१"])
def test_what_is_no_token_id_is_refused(token_id: Any) -> None:
    with pytest.raises(InputError) as caught:
        is_position_id(token_id)
    assert caught.value.field == "token_id"


def test_position_of_another_kind_than_yes_or_no_is_not_decoded() -> None:
    yes = (1 << 248) | (7 << 120)
    assert decode_position_id(yes) is not None
    assert decode_position_id(yes + 2) is None
    assert decode_position_id((4 << 248) | (7 << 120)) is None
    assert decode_position_id(yes + (1 << 40)) is None
