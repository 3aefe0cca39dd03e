from typing import Any

import pytest

from polyexec.core.auth import ApiCredentials, L2Signer, l1_headers, l2_signature
from polyexec.core.signer import OrderSigner
from tests.conftest import load_vectors


@pytest.mark.parametrize("case", load_vectors("hmac"), ids=lambda case: case["id"])
def test_request_gets_the_signature_and_headers_of_the_official_client(
    case: dict[str, Any],
) -> None:
    given, made = case["inputs"], case["outputs"]
    request = (given["timestamp"], given["method"], given["path"], given["body"])
    assert l2_signature(given["secret"], *request) == made["signature"]
    signer = L2Signer(
        OrderSigner(given["private_key"]).address,
        ApiCredentials(given["api_key"], given["secret"], given["passphrase"]),
    )
    headers = signer.headers(*request)
    assert headers["POLY_SIGNATURE"] == made["signature"]
    assert headers == made.get("headers", headers)


@pytest.mark.parametrize("case", load_vectors("l1-auth"), ids=lambda case: case["id"])
def test_wallet_login_gets_the_headers_of_the_official_clients(case: dict[str, Any]) -> None:
    given, made = case["inputs"], case["outputs"]
    assert (
        l1_headers(
            given["private_key"],
            chain_id=given["chain_id"],
            timestamp=given["timestamp"],
            nonce=given["nonce"],
        )
        == made["headers"]
    )
