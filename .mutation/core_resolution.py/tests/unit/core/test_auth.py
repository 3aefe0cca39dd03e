import copy
import pickle
import traceback
from typing import Any

import pytest

from polyexec.core.auth import ApiCredentials, L2Signer, l1_headers, l2_signature
from polyexec.errors import ConfigError, InputError

ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
UUID = "07286165-8e1d-419d-bce1-dfa4f6905ade"
SECRET = "I3mcqVDy23lqMo-lM3KI0SAV7NT3nytdKdCMXCUp7T6ga1U6SOt84y8fIK--OevX"
PASSPHRASE = "c858c324907dfdb3026bca38dd16eaf923e828033182107f6e3b339ca1465081"


def credentials() -> ApiCredentials:
    return ApiCredentials(UUID, SECRET, PASSPHRASE)


def test_both_alphabets_and_any_padding_are_one_secret() -> None:
    url_safe, standard = "-_-_-_8=", "+/+/+/8="
    signatures = {
        l2_signature(secret, 1, "GET", "/time")
        for secret in (url_safe, standard, "-_-_-_8", "+/+/+/8", "-/-/-_8==")
    }
    assert len(signatures) == 1


@pytest.mark.parametrize(
    "secret", ["", "=", "a", "not base64!", "abcde", "ab cd", "ключ", SECRET + "\n", None, b"abcd"]
)
def test_secret_that_is_not_base64_is_refused_unseen(secret: Any) -> None:
    with pytest.raises(ConfigError, match="the API secret") as caught:
        l2_signature(secret, 1, "GET", "/time")
    if isinstance(secret, str) and len(secret) > 4:
        assert secret not in "".join(traceback.format_exception(caught.value)[-1:])


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((UUID, "not base64!", PASSPHRASE), "base64"),
        ((UUID, "", PASSPHRASE), "secret .* is empty"),
        ((UUID, SECRET, ""), "passphrase .* is empty"),
        (("", SECRET, PASSPHRASE), "api_key .* is empty"),
        ((None, SECRET, PASSPHRASE), "api_key .* must be text"),
        ((UUID, b"abcd", PASSPHRASE), "secret .* must be text"),
    ],
)
def test_incomplete_credentials_are_refused_unseen(parts: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        ApiCredentials(*parts)
    for secret in (SECRET, PASSPHRASE, "not base64!"):
        assert secret not in str(caught.value)


def test_secrets_do_not_leave_by_repr_pickle_or_copy() -> None:
    held = credentials()
    signer = L2Signer(ADDRESS, held)
    for secret_holder in (held, signer):
        for secret in (SECRET, PASSPHRASE, UUID):
            assert secret not in repr(secret_holder)
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="secret"):
                leak(secret_holder)
        assert not hasattr(secret_holder, "__dict__")
    assert repr(held).startswith("ApiCredentials(api_key='0728...'")
    assert "..." in repr(ApiCredentials("short", "", ""))
    assert "short" not in repr(ApiCredentials("short", "", ""))
    assert (held.api_key, held.secret, held.passphrase) == (UUID, SECRET, PASSPHRASE)


def test_credentials_compare_by_value() -> None:
    assert credentials() == credentials()
    assert len({credentials(), credentials()}) == 1
    assert credentials() != ApiCredentials(UUID, SECRET, "other")
    assert credentials() != UUID


def test_headers_sign_exactly_the_request() -> None:
    signer = L2Signer(ADDRESS.lower(), credentials())
    headers = signer.headers(5, "POST", "/order", b"{}")
    assert headers == {
        "POLY_ADDRESS": ADDRESS,
        "POLY_SIGNATURE": l2_signature(SECRET, "5", "post", "/order", "{}"),
        "POLY_TIMESTAMP": "5",
        "POLY_API_KEY": UUID,
        "POLY_PASSPHRASE": PASSPHRASE,
    }
    signatures = {
        signer.headers(*request)["POLY_SIGNATURE"]
        for request in (
            (5, "POST", "/order", b"{}"),
            (6, "POST", "/order", b"{}"),
            (5, "DELETE", "/order", b"{}"),
            (5, "POST", "/orders", b"{}"),
            (5, "POST", "/order", b"{ }"),
        )
    }
    assert len(signatures) == 5
    assert (signer.address, signer.api_key) == (ADDRESS, UUID)


def test_no_body_and_empty_body_are_the_same() -> None:
    bodies: tuple[Any, ...] = (None, b"", "")
    assert len({l2_signature(SECRET, 1, "GET", "/x", body) for body in bodies}) == 1


def test_venue_without_authentication_needs_no_secret() -> None:
    signer = L2Signer(ADDRESS, ApiCredentials(UUID, "", ""))
    assert signer.headers(1, "GET", "/x")["POLY_PASSPHRASE"] == ""


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"chain_id": -1}, "chain_id"),
        ({"chain_id": "137"}, "chain_id"),
        ({"nonce": -1}, "nonce"),
        ({"nonce": 2**256}, "nonce"),
        ({"nonce": True}, "nonce"),
    ],
)
def test_bad_login_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        l1_headers(7, timestamp=1, **options)
    assert caught.value.field == field


def test_address_of_an_l2_signer_is_checked() -> None:
    with pytest.raises(InputError, match="address"):
        L2Signer("0x12", credentials())
