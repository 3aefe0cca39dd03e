"""A batch made in one pass equals the same orders signed and encoded one by one."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import polyexec as px
from polyexec import _secp256k1
from polyexec._pure import batch as pure
from polyexec.core.keys import parse_private_key

KEY = "0x" + "35" * 32
OWNER = "fe0d4178-bd63-47ca-895b-8690daccfce9"
BUILDER = "0x" + "ab" * 32
STAMP = 1_790_000_000_123

implementations: list[ModuleType] = [pure]
try:
    from polyexec._fast import batch as fast

    implementations.append(fast)
except ModuleNotFoundError:
    pass

either = pytest.mark.parametrize(
    "module", implementations, ids=lambda module: module.__name__.split(".")[1].strip("_")
)


def builder(module: ModuleType, kind: int, **changes: Any) -> Any:
    signer = px.OrderSigner(KEY, signature_type=kind)
    maker = bytes.fromhex(signer.funder[2:])
    arguments: dict[str, Any] = {
        "maker": maker,
        "signer": maker if kind == 3 else bytes.fromhex(signer.address[2:]),
        "maker_text": signer.funder,
        "signer_text": signer.funder if kind == 3 else signer.address,
        "signature_type": kind,
        "chain_id": 137,
        "separators": [
            signer.domain_separator(generation, neg_risk)
            for generation in (2, 3)
            for neg_risk in (False, True)
        ],
        "owner": OWNER,
        "builder": bytes.fromhex(BUILDER[2:]),
    }
    sign: Callable[[bytes], bytes] = _secp256k1.digest_signer(parse_private_key(KEY))
    return module.BatchBuilder(changes.pop("sign", sign), **arguments | changes)


amounts = st.integers(1, 2**63 - 1)
legs = st.lists(
    st.tuples(
        st.sampled_from([2, 3]),
        st.booleans(),
        st.one_of(st.integers(0, 2**256 - 1), st.sampled_from([0, 10**18, 2**256 - 1])).map(str),
        amounts,
        amounts,
        st.integers(0, 1),
        st.integers(0, 2**53 - 1),
        st.integers(1, 2**40),
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=15,
)


def one_by_one(kind: int, batch: list[Any]) -> tuple[bytes, tuple[str, ...]]:
    """Return what ``encode_orders`` makes of the same orders."""
    signer = px.OrderSigner(KEY, signature_type=kind)
    signed, kinds, flags = [], [], []
    for (
        generation,
        neg_risk,
        token,
        maker,
        taker,
        side,
        salt,
        expiration,
        index,
        post_only,
    ) in batch:
        order_type = px.OrderType(pure.ORDER_TYPES[index])
        kinds.append(order_type)
        flags.append(post_only and not order_type.is_immediate)
        signed.append(
            signer.sign(
                px.Order(
                    generation=generation,
                    token_id=token,
                    side="SELL" if side else "BUY",
                    maker_micro=maker,
                    taker_micro=taker,
                    neg_risk=neg_risk,
                    salt=salt,
                    timestamp_ms=STAMP,
                    expiration=expiration if order_type is px.OrderType.GTD else 0,
                    builder=BUILDER,
                )
            )
        )
    body = px.encode_orders(signed, owner=OWNER, order_type=kinds, post_only=flags)
    return body, tuple(order.order_id for order in signed)


@either
@given(batch=legs, kind=st.integers(0, 3))
def test_a_batch_equals_its_orders_one_by_one(
    module: ModuleType, batch: list[Any], kind: int
) -> None:
    sane = [
        (*leg[:7], leg[7] if leg[8] == 1 else 0, leg[8], leg[9] and leg[8] < 2) for leg in batch
    ]
    assert builder(module, kind).build(sane, STAMP) == one_by_one(kind, sane)


LEG = (2, False, "7", 1, 1, 0, 0, 0, 0, False)
BAD_LEGS: list[tuple[int, Any, type[Exception]]] = [
    (0, 1, ValueError),
    (0, 4, ValueError),
    (0, 2.0, TypeError),
    (2, str(2**256), ValueError),
    (2, "9" * 79, ValueError),
    (2, "", ValueError),
    (2, "-1", ValueError),
    (2, "0x1", ValueError),
    (2, "１", ValueError),
    (2, 7, TypeError),
    (3, 0, ValueError),
    (3, -1, ValueError),
    (3, 2**63, OverflowError),
    (3, 1.5, TypeError),
    (4, 0, ValueError),
    (5, 2, ValueError),
    (6, 2**53, ValueError),
    (7, -1, ValueError),
    (8, 4, ValueError),
]


@either
@pytest.mark.parametrize(("place", "value", "error"), BAD_LEGS)
def test_a_bad_field_is_refused_before_anything_is_signed(
    module: ModuleType, place: int, value: Any, error: type[Exception]
) -> None:
    signed: list[bytes] = []

    def sign(digest: bytes) -> bytes:
        signed.append(digest)
        return bytes(65)

    bad = tuple(value if index == place else field for index, field in enumerate(LEG))
    with pytest.raises(error):
        builder(module, 0, sign=sign).build([LEG, bad], STAMP)
    assert signed == []


@either
@pytest.mark.parametrize("count", [0, 16])
def test_a_batch_holds_1_to_15_orders(module: ModuleType, count: int) -> None:
    with pytest.raises(ValueError, match=f"not {count}"):
        builder(module, 0).build([LEG] * count, STAMP)


@either
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"maker": bytes(19)}, "maker must be 20 bytes"),
        ({"builder": bytes(31)}, "builder must be 32 bytes"),
        ({"separators": [bytes(32)] * 3}, "separators must be 4"),
        ({"owner": 'a"b'}, "owner must be plain"),
        ({"owner": "a\\b"}, "owner must be plain"),
        ({"owner": "é"}, "owner must be plain"),
        ({"signature_type": 4}, "signature_type"),
    ],
)
def test_an_account_that_cannot_be_is_refused(
    module: ModuleType, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        builder(module, 0, **changes)


@either
def test_a_signature_of_the_wrong_length_is_refused(module: ModuleType) -> None:
    with pytest.raises(ValueError, match="signature must be 65 bytes"):
        builder(module, 0, sign=lambda digest: bytes(64)).build([LEG], STAMP)


@either
def test_the_longest_batch_fits(module: ModuleType) -> None:
    leg = (3, True, str(2**256 - 1), 2**63 - 1, 2**63 - 1, 1, 2**53 - 1, 2**63 - 1, 3, True)
    body, order_ids = builder(module, 3).build([leg] * 15, 2**63 - 1)
    assert len(json.loads(body)) == len(order_ids) == 15
