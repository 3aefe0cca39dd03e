import traceback
from typing import Any

import pytest

from polyexec import _secp256k1
from polyexec.core.auth import l1_headers
from polyexec.core.keys import (
    checksum_address,
    parse_address,
    parse_bytes32,
    parse_private_key,
)
from polyexec.core.signer import OrderSigner
from polyexec.errors import InputError, SigningError

KEY = "9e4021881b9c86ce4addb6c579cd14c5be07dd6bf81e5402e991f50231f81207"
# From the text of EIP-55.
CHECKSUMMED = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
]


def test_key_is_read_in_every_form_that_people_use() -> None:
    key = bytes.fromhex(KEY)
    for form in (KEY, "0x" + KEY, "0X" + KEY.upper(), key, bytearray(key), int(KEY, 16)):
        assert parse_private_key(form) == key
    assert parse_private_key(1) == (1).to_bytes(32, "big")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "64 hex digits"),
        ("0x", "64 hex digits"),
        (KEY[:-1], "this text has 63"),
        (KEY + "0", "this text has 65"),
        (KEY[:-1] + "g", "not hex"),
        (" " + KEY[1:], "not hex"),
        (bytes(31), "32 bytes, not 31"),
        (bytes(33), "32 bytes, not 33"),
        (bytes(32), "is zero"),
        ("0x" + "0" * 64, "is zero"),
        (0, "is zero"),
        (-1, "above zero"),
        (_secp256k1.ORDER, "order of the curve"),
        (2**256, "curve order"),
        ("f" * 64, "order of the curve"),
        (None, "NoneType"),
        (True, "bool"),
        (1.5, "float"),
    ],
)
def test_bad_key_is_named_as_such_and_never_shown(key: Any, reason: str) -> None:
    for use in (parse_private_key, OrderSigner, lambda k: l1_headers(k, timestamp=1)):
        with pytest.raises(SigningError, match=reason) as caught:
            use(key)
        told = "".join(traceback.format_exception(caught.value))
        assert KEY[:16] not in told
        assert KEY[8:24] not in repr(caught.value)


@pytest.mark.parametrize("address", CHECKSUMMED)
def test_address_is_read_in_one_case_or_with_its_checksum(address: str) -> None:
    raw = bytes.fromhex(address[2:])
    assert checksum_address(raw) == address
    for form in (address, address.lower(), "0x" + address[2:].upper(), raw):
        assert parse_address(form, "funder") == raw


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "checksum"),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beae", "40 hex digits"),
        ("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "40 hex digits"),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg", "40 hex digits"),
        ("", "40 hex digits"),
        (None, "40 hex digits"),
        (5, "40 hex digits"),
        (bytes(19), "20 bytes"),
    ],
)
def test_bad_address_is_refused_with_its_field(address: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        parse_address(address, "funder")
    assert caught.value.field == "funder"


@pytest.mark.parametrize("prefix", ["", "0x"])
def test_private_key_in_place_of_an_address_is_not_shown(prefix: str) -> None:
    with pytest.raises(InputError, match="64 hex digits, hidden") as caught:
        OrderSigner("0x" + KEY, signature_type=2, funder=prefix + KEY)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.value)


@pytest.mark.parametrize("value", ["", "0x", "0x" + "0" * 63, "0x" + "g" * 64, "0" * 66, bytes(31)])
def test_bad_bytes32_is_refused_with_its_field(value: Any) -> None:
    with pytest.raises(InputError, match="must be 32 bytes") as caught:
        parse_bytes32(value, "builder")
    assert caught.value.field == "builder"


def test_bytes32_is_read_as_hex_and_as_bytes() -> None:
    assert parse_bytes32("0x" + "Ab" * 32, "builder") == bytes([0xAB] * 32)
    assert parse_bytes32(bytes(32), "builder") == bytes(32)
