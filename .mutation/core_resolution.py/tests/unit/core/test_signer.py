import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from polyexec import _secp256k1
from polyexec._secp256k1 import recover_address
from polyexec.constants import ORDER_TYPE_V2
from polyexec.core.orders import Order
from polyexec.core.signer import OrderSigner
from polyexec.core.wallets import deposit_wallet, proxy_wallet, safe_wallet
from polyexec.enums import Generation, SignatureType
from polyexec.errors import InputError, SigningError

KEY = "0x9e4021881b9c86ce4addb6c579cd14c5be07dd6bf81e5402e991f50231f81207"
ADDRESS = "0xC3108e7a0750Dc4B56613aDA1A36d854639a9fdE"
OTHER = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def order(**changes: Any) -> Order:
    fields: dict[str, Any] = {
        "generation": Generation.CLOB_V2,
        "token_id": "1234",
        "side": "BUY",
        "maker_micro": 5_000_000,
        "taker_micro": 10_000_000,
    }
    return Order(**fields | changes)


def test_open_fields_are_filled_from_the_given_sources() -> None:
    salts = iter((1, 2))
    signer = OrderSigner(KEY, salt=lambda: next(salts), now_ms=lambda: 1_790_000_000_123)
    first, second = signer.sign_batch([order(), order()])
    assert (first.order.salt, second.order.salt) == (1, 2)
    assert first.order.timestamp_ms == 1_790_000_000_123
    assert first.order_id != second.order_id
    kept = signer.sign(order(salt=0, timestamp_ms=0))
    assert (kept.order.salt, kept.order.timestamp_ms) == (0, 0)
    v1 = OrderSigner(KEY, salt=lambda: 3).sign(order(generation=1))
    assert (v1.order.salt, v1.order.timestamp_ms) == (3, None)


def test_default_salts_are_53_bits_that_do_not_repeat() -> None:
    signer = OrderSigner(KEY)
    salts = {signed.order.salt for signed in signer.sign_batch([order()] * 200)}
    assert len(salts) == 200
    assert all(salt is not None and 0 <= salt < 2**53 for salt in salts)
    assert max(salt for salt in salts if salt is not None) > 2**48


@pytest.mark.parametrize(
    ("sources", "field"),
    [
        ({"salt": lambda: 2**53}, "salt"),
        ({"salt": lambda: -1}, "salt"),
        ({"now_ms": lambda: 1.5}, "timestamp_ms"),
    ],
)
def test_bad_source_is_blamed_and_not_the_caller(
    sources: dict[str, Callable[[], Any]], field: str
) -> None:
    with pytest.raises(SigningError, match=field):
        OrderSigner(KEY, **sources).sign(order())


@pytest.mark.parametrize(
    ("kind", "derive"),
    [(0, lambda a: a), (1, proxy_wallet), (2, safe_wallet), (3, deposit_wallet)],
)
def test_maker_and_signer_follow_the_signature_type(
    kind: int, derive: Callable[[str], str]
) -> None:
    signer = OrderSigner(KEY, signature_type=kind)
    signed = signer.sign(order())
    assert signer.address == ADDRESS
    assert signed.maker == signer.funder == derive(ADDRESS)
    assert signed.signer == (signed.maker if kind == 3 else ADDRESS)
    assert signed.signature_type == kind
    if kind < 3:
        digest = bytes.fromhex(signed.order_id[2:])
        recovered = recover_address(digest, bytes.fromhex(signed.signature[2:]))
        assert "0x" + recovered.hex() == ADDRESS.lower()


def test_deposit_wallet_signature_is_an_envelope_and_the_id_is_not() -> None:
    owner = OrderSigner(KEY, signature_type=SignatureType.POLY_1271)
    signed = owner.sign(order(salt=1, timestamp_ms=2))
    raw = bytes.fromhex(signed.signature[2:])
    assert len(raw) == 317
    assert raw[65:97] == owner.domain_separator(2, False)
    assert raw[97:129].hex() == signed.struct_hash[2:]
    assert raw[129:315] == ORDER_TYPE_V2.encode()
    assert raw[315:] == b"\x00\xba"
    digest = bytes.fromhex(signed.order_id[2:])
    assert "0x" + recover_address(digest, raw[:65]).hex() != ADDRESS.lower()


def test_neg_risk_selects_the_contract_except_in_v3() -> None:
    signer = OrderSigner(KEY)
    for generation in Generation:
        plain = signer.sign(order(generation=generation, salt=1)).order.neg_risk
        assert plain is False
        same = signer.exchange_address(generation, False) == signer.exchange_address(
            generation, True
        )
        assert same is (generation is Generation.EXCHANGE_V3)
    fixed = {"salt": 1, "timestamp_ms": 1}
    ids = {signer.sign(order(neg_risk=flag, **fixed)).order_id for flag in (False, True)}
    assert len(ids) == 2


def test_replaced_exchange_is_the_one_that_is_signed_for() -> None:
    slot = (Generation.CLOB_V2, False)
    signer = OrderSigner(KEY, exchanges={slot: OTHER.lower()})
    assert signer.exchange_address(*slot) == OTHER
    fixed = {"salt": 1, "timestamp_ms": 1}
    assert signer.sign(order(**fixed)).order_id != OrderSigner(KEY).sign(order(**fixed)).order_id


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"chain_id": 1}, "chain_id"),
        ({"signature_type": 4}, "signature_type"),
        ({"funder": OTHER}, "funder"),
        ({"funder": "0x12", "signature_type": 2}, "funder"),
        ({"funder": OTHER.replace("5aA", "5aa"), "signature_type": 2}, "funder"),
        ({"chain_id": 80002, "signature_type": 1}, "funder"),
        ({"chain_id": 80002, "signature_type": 3}, "funder"),
        ({"exchanges": {(4, False): OTHER}}, "exchanges"),
        ({"exchanges": {(Generation.CLOB_V2, False): "0x1"}}, "exchanges"),
    ],
)
def test_bad_account_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        OrderSigner(KEY, **options)
    assert caught.value.field == field


def test_eoa_may_name_itself_as_funder() -> None:
    assert OrderSigner(KEY, funder=ADDRESS.lower()).funder == ADDRESS


def test_v1_does_not_know_deposit_wallets() -> None:
    with pytest.raises(InputError, match="V1"):
        OrderSigner(KEY, signature_type=3).sign(order(generation=1))


@pytest.mark.parametrize("generation", [0, 4, "x"])
def test_unknown_generation_has_no_exchange(generation: Any) -> None:
    with pytest.raises(InputError, match="generation"):
        OrderSigner(KEY).exchange_address(generation, False)


def test_key_does_not_leave_by_repr_pickle_or_copy() -> None:
    signer = OrderSigner(KEY)
    number = int(KEY, 16)
    for secret in (KEY, KEY[2:], KEY[2:].upper(), str(number), repr(bytes.fromhex(KEY[2:]))):
        assert secret not in repr(signer)
    assert ADDRESS in repr(signer)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="private key"):
            leak(signer)
    assert not hasattr(signer, "__dict__")


def test_any_digest_can_be_signed_by_the_owner() -> None:
    signer = OrderSigner(KEY)
    signature = signer.sign_digest(bytes(32))
    assert "0x" + recover_address(bytes(32), signature).hex() == ADDRESS.lower()
    assert signer.chain_id == 137
    assert signer.signature_type is SignatureType.EOA


def test_a_given_source_of_salts_is_asked_for_each_order() -> None:
    assert OrderSigner(KEY).given_salts(2) is None
    assert OrderSigner(KEY, salt=lambda: 7).given_salts(2) == (7 << 11).to_bytes(8, "big") * 2


@pytest.mark.parametrize("salt", [-1, 2**53])
def test_a_source_of_salts_that_does_not_fit_is_named(salt: int) -> None:
    with pytest.raises(SigningError, match=f"source of salt returned {salt}"):
        OrderSigner(KEY, salt=lambda: salt).given_salts(1)


def test_presign_without_a_library_by_address_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nonce_pool(key: bytes, size: int) -> None:
        raise LookupError("prepared nonces need the compiled functions")

    monkeypatch.setattr(_secp256k1, "nonce_pool", nonce_pool)
    with pytest.raises(InputError, match="presign=8: prepared nonces need the compiled functions"):
        OrderSigner(KEY, presign=8)
