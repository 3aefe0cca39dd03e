import json
import pickle
from typing import Any

import msgspec
import pytest

from polyexec.core.orders import Amounts, Order, SignedOrder, encode_order, encode_orders
from polyexec.core.signer import OrderSigner
from polyexec.enums import Generation, OrderType, Side
from polyexec.errors import InputError

OWNER = "07286165-8e1d-419d-bce1-dfa4f6905ade"
SIGNER = OrderSigner(7, salt=lambda: 11, now_ms=lambda: 1_790_000_000_000)
V1, V2 = Generation.CLOB_V1, Generation.CLOB_V2


def order(**changes: Any) -> Order:
    fields: dict[str, Any] = {
        "generation": V2,
        "token_id": "1234",
        "side": "BUY",
        "maker_micro": 5_000_000,
        "taker_micro": 10_000_000,
    }
    return Order(**fields | changes)


def signed(**changes: Any) -> SignedOrder:
    return SIGNER.sign(order(**changes))


BAD = [
    ("token_id", "", "decimal"),
    ("token_id", "0x12", "decimal"),
    ("token_id", "12.5", "decimal"),
    ("token_id", "-1", "decimal"),
    ("token_id", 2**256, "2**256"),
    ("token_id", str(2**256), "2**256"),
    ("token_id", None, "decimal"),
    ("side", "buy", "'BUY' or 'SELL'"),
    ("side", 0, "'BUY' or 'SELL'"),
    ("generation", 4, "1, 2 or 3"),
    ("generation", "v2", "1, 2 or 3"),
    ("maker_micro", 0, "1 to 2**63 - 1"),
    ("maker_micro", -5, "1 to 2**63 - 1"),
    ("maker_micro", 2**63, "1 to 2**63 - 1"),
    ("maker_micro", 5.0, "int"),
    ("maker_micro", "5", "int"),
    ("maker_micro", True, "int"),
    ("taker_micro", 0, "1 to 2**63 - 1"),
    ("taker_micro", 2**63, "1 to 2**63 - 1"),
    ("taker_micro", float("nan"), "int"),
    ("salt", -1, "2**53 - 1"),
    ("salt", 2**53, "2**53 - 1"),
    ("timestamp_ms", -1, "0 to"),
    ("timestamp_ms", 1.5, "int"),
    ("expiration", -1, "0 to"),
    ("metadata", "0x00", "32 bytes"),
    ("builder", "ff" * 32, "32 bytes"),
    ("builder", b"", "32 bytes"),
    ("taker", "0x" + "11" * 20, "not part of a CLOB_V2 order"),
    ("nonce", 1, "not part of a CLOB_V2 order"),
    ("fee_rate_bps", 1, "not part of a CLOB_V2 order"),
]


@pytest.mark.parametrize(("field", "value", "reason"), BAD)
def test_bad_field_is_refused_by_name_and_value(field: str, value: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        order(**{field: value})
    assert caught.value.field == field
    assert reason in caught.value.hint
    assert str(caught.value).startswith(f"{field}=")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp_ms", 5),
        ("metadata", "0x" + "01" * 32),
        ("builder", "0x" + "01" * 32),
        ("taker", "0x123"),
        ("taker", "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
        ("nonce", -1),
        ("nonce", 2**256),
        ("fee_rate_bps", -1),
    ],
)
def test_bad_field_of_v1_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        order(generation=V1, **{field: value})
    assert caught.value.field == field


def test_values_are_brought_into_one_form() -> None:
    made = order(
        generation="3", token_id=2**256 - 1, side="SELL", metadata=bytes(31) + b"\xab", salt=0
    )
    assert made.generation is Generation.EXCHANGE_V3
    assert made.token_id == str(2**256 - 1)
    assert made.side is Side.SELL
    assert made.metadata == "0x" + "00" * 31 + "ab"
    assert order(builder="0x" + "AB" * 32).builder == "0x" + "ab" * 32
    assert order(token_id="0012").token_id == "12"
    lower = "0x3b50aeddf43db95cd810a22b0632571ce14450b7"
    assert order(generation=V1, taker=lower).taker == "0x3B50AEddf43Db95Cd810A22B0632571ce14450B7"


def test_an_order_is_a_value() -> None:
    made = order()
    assert made == order()
    assert hash(made) == hash(order())
    assert pickle.loads(pickle.dumps(made)) == made
    assert msgspec.structs.replace(made, salt=4).salt == 4
    with pytest.raises(AttributeError):
        made.salt = 5  # type: ignore[misc]
    with pytest.raises(InputError, match="salt"):
        msgspec.structs.replace(made, salt=-4)


def test_amounts_show_whole_units() -> None:
    amounts = Amounts(5_120_000, 10_000_000)
    assert (str(amounts.maker), str(amounts.taker)) == ("5.12", "10")


def test_body_has_numbers_and_texts_where_the_server_wants_them() -> None:
    entry = json.loads(encode_order(signed(), owner=OWNER, order_type="GTC"))
    assert entry["order"]["salt"] == 11
    assert entry["order"]["signatureType"] == 0
    assert entry["order"]["makerAmount"] == "5000000"
    assert entry["order"]["timestamp"] == "1790000000000"
    assert entry["order"]["side"] == "BUY"
    assert entry["owner"] == OWNER
    assert entry["deferExec"] is entry["postOnly"] is False


def test_largest_salt_survives_a_server_that_reads_doubles() -> None:
    body = encode_order(signed(salt=2**53 - 1), owner=OWNER, order_type="GTC")
    assert b'"salt":9007199254740991,' in body


def test_batch_is_the_list_of_its_entries() -> None:
    orders = [signed(salt=n) for n in range(15)]
    kinds = [OrderType.GTC, OrderType.FAK, "FOK"] * 5
    body = encode_orders(orders, owner=OWNER, order_type=kinds)
    entries = [
        encode_order(o, owner=OWNER, order_type=k) for o, k in zip(orders, kinds, strict=True)
    ]
    assert body == b"[" + b",".join(entries) + b"]"


def test_post_only_may_differ_per_order() -> None:
    orders = [signed(), signed(salt=5)]
    kinds = ["GTC", "FAK"]
    body = encode_orders(orders, owner=OWNER, order_type=kinds, post_only=[True, False])
    assert [entry["postOnly"] for entry in json.loads(body)] == [True, False]


@pytest.mark.parametrize("count", [0, 16])
def test_batch_of_a_wrong_size_is_refused(count: int) -> None:
    with pytest.raises(InputError, match="a batch holds 1 to 15 orders") as caught:
        encode_orders([signed()] * count, owner=OWNER, order_type="GTC")
    assert str(count) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "options", "field"),
    [
        ({}, {"order_type": "FOK", "post_only": True}, "post_only"),
        ({}, {"order_type": "FAK", "post_only": True}, "post_only"),
        ({}, {"order_type": "GTD"}, "expiration"),
        ({"expiration": 1_800_000_000}, {"order_type": "GTC"}, "expiration"),
        ({"expiration": 1_800_000_000}, {"order_type": "FOK"}, "expiration"),
        ({}, {"order_type": "IOC"}, "order_type"),
        ({}, {"order_type": ["GTC", "GTC"]}, "order_type"),
        ({}, {"order_type": []}, "order_type"),
        ({}, {"order_type": "GTC", "post_only": [True, True]}, "post_only"),
        ({}, {"order_type": "GTC", "owner": ""}, "owner"),
        ({}, {"order_type": "GTC", "owner": None}, "owner"),
    ],
)
def test_contradicting_options_are_refused(
    changes: dict[str, Any], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError) as caught:
        encode_orders([signed(**changes)], **{"owner": OWNER} | options)
    assert caught.value.field == field


def test_order_that_nobody_signed_has_no_body() -> None:
    unsigned = msgspec.structs.replace(signed(), order=order())
    with pytest.raises(InputError, match="salt"):
        encode_order(unsigned, owner=OWNER, order_type="GTC")


def test_v1_body_has_no_field_that_v1_does_not_know() -> None:
    body = encode_order(
        signed(generation=V1), owner=OWNER, order_type="GTC", defer_exec=True, post_only=True
    )
    entry = json.loads(body)
    assert list(entry) == ["order", "owner", "orderType", "postOnly"]
    assert not {"timestamp", "metadata", "builder"} & set(entry["order"])
