import json
from pathlib import Path
from typing import Any

import pytest

from polyexec import constants
from polyexec.enums import Generation


@pytest.fixture
def recorded(shared_dir: Path) -> dict[str, Any]:
    path = shared_dir / "vectors" / "constants.json"
    if not path.exists():
        pytest.skip(f"no vectors at {path}")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_type_strings_have_the_recorded_hashes(implementation: Any, recorded: Any) -> None:
    texts = {
        "order_typehash_v1": constants.ORDER_TYPE_V1,
        "order_typehash_v2_v3": constants.ORDER_TYPE_V2,
        "typed_data_sign_typehash": constants.TYPED_DATA_SIGN_TYPE,
        "domain_typehash": constants.DOMAIN_TYPE,
        "clob_auth_typehash": constants.CLOB_AUTH_TYPE,
        "clob_auth_domain_typehash": constants.CLOB_AUTH_DOMAIN_TYPE,
        "domain_name_hash": constants.EXCHANGE_NAME,
        "deposit_wallet_name_hash": constants.DEPOSIT_WALLET_NAME,
    }
    hashes = {name: "0x" + implementation.keccak256(t.encode()).hex() for name, t in texts.items()}
    assert hashes == {name: recorded[name] for name in texts}


def test_every_exchange_has_its_recorded_separator(implementation: Any, recorded: Any) -> None:
    seen = set()
    for entry in recorded["exchange_domain_separators"]:
        generation = Generation(entry["domain_version"])
        key = (entry["chain_id"], generation, entry["neg_risk"])
        if "disputed" not in entry.get("note", ""):
            seen.add(key)
            assert constants.EXCHANGES[key] == entry["exchange"]
        separator = implementation.exchange_domain_separator(
            int(generation), entry["chain_id"], bytes.fromhex(entry["exchange"][2:])
        )
        assert "0x" + separator.hex() == entry["separator"]
    # V3 has one exchange, so its neg-risk rows repeat the standard ones.
    rest = set(constants.EXCHANGES) - seen
    assert all(generation is Generation.EXCHANGE_V3 for _, generation, _ in rest)
    for chain, generation, neg_risk in rest:
        twin = constants.EXCHANGES[chain, generation, not neg_risk]
        assert constants.EXCHANGES[chain, generation, neg_risk] == twin
