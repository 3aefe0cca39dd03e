"""Sign a batch of V2 / V3 orders and write its body: the readable twin of ``_fast.batch``."""

import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from polyexec._pure.checks import checked_bytes
from polyexec._pure.eip712 import order_struct_hash_v2, typed_data_hash, typed_data_sign_hash
from polyexec._pure.type_strings import ORDER_TYPE_V2

if TYPE_CHECKING:
    from polyexec._pure.legs import LegTable

__all__ = ["ORDER_TYPES", "BatchBuilder", "BatchLeg"]

ORDER_TYPES = ("GTC", "GTD", "FOK", "FAK")
MAX_BATCH = 15
MAX_SALT = 2**53 - 1
MAX_INT64 = 2**63 - 1

BatchLeg: TypeAlias = tuple[int, bool, str, int, int, int, int, int, int, bool]


class BatchBuilder:
    """Signs and encodes batches of one account; parameters as in ``_fast.batch``."""

    def __init__(
        self,
        sign: Callable[[bytes], bytes],
        *,
        maker: bytes,
        signer: bytes,
        maker_text: str,
        signer_text: str,
        signature_type: int,
        chain_id: int,
        separators: Sequence[bytes],
        owner: str,
        builder: bytes,
    ) -> None:
        for name, value, length in (
            ("maker", maker, 20),
            ("signer", signer, 20),
            ("builder", builder, 32),
            *(("separators", separator, 32) for separator in separators),
        ):
            if len(value) != length:
                raise ValueError(f"{name} must be {length} bytes, not {len(value)}")
        if len(separators) != 4:
            raise ValueError(f"separators must be 4, not {len(separators)}")
        for name, text in (
            ("maker_text", maker_text),
            ("signer_text", signer_text),
            ("owner", owner),
        ):
            if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
                raise ValueError(f"{name} must be plain ASCII text")
        _check(signature_type, 3, "signature_type")
        _check(chain_id, MAX_INT64, "chain_id")
        self._sign = sign
        self._maker, self._signer = maker, signer
        self._maker_text, self._signer_text = maker_text, signer_text
        self._signature_type = signature_type
        self._chain_id = chain_id
        self._separators = tuple(separators)
        self._owner = owner
        self._builder = builder

    def build(self, legs: list[BatchLeg], timestamp_ms: int) -> tuple[bytes, tuple[str, ...]]:
        """Return the body of ``POST /orders`` and the order ids."""
        _check(timestamp_ms, MAX_INT64, "timestamp_ms")
        if not 1 <= len(legs) <= MAX_BATCH:
            raise ValueError(f"a batch holds 1 to {MAX_BATCH} orders, not {len(legs)}")
        for leg in legs:
            _check_leg(leg)
        made = [self._entry(leg, timestamp_ms) for leg in legs]
        body = json.dumps([entry for entry, _ in made], separators=(",", ":"))
        return body.encode("ascii"), tuple(order_id for _, order_id in made)

    def build_table(
        self, table: "LegTable", timestamp_ms: int, entropy: bytes | None = None
    ) -> tuple[bytes, tuple[str, ...]]:
        """Return what :meth:`build` does, for priced legs.

        Parameters
        ----------
        table : LegTable
            Without a fault, and no leg of generation 1.
        timestamp_ms : int
            Of every order.
        entropy : bytes or None
            Eight for each leg; the upper 53 bits are its salt. ``None``: drawn from the system.
        """
        entropy = os.urandom(8 * table.count) if entropy is None else entropy
        checked_bytes(entropy, 8 * table.count, "entropy")
        if table.fault or table.needs_v1:
            raise ValueError("the table has a fault or a leg of generation 1")
        legs: list[BatchLeg] = []
        for index, source in enumerate(table.sources):
            row = table.row(index)
            salt = int.from_bytes(entropy[8 * index : 8 * index + 8], "big") >> 11
            side, kind, generation, neg_risk, maker, taker = (*row[:4], *row[8:10])
            token, expiration, post_only = source.token_id, row[16], bool(row[17])
            legs.append(
                (
                    generation,
                    bool(neg_risk),
                    token,
                    maker,
                    taker,
                    side,
                    salt,
                    expiration,
                    kind,
                    post_only,
                )
            )
        return self.build(legs, timestamp_ms)

    def _entry(self, leg: BatchLeg, timestamp_ms: int) -> tuple[dict[str, Any], str]:
        generation, neg_risk, token, maker, taker, side, salt, expiration, kind, post_only = leg
        separator = self._separators[2 * (generation - 2) + bool(neg_risk)]
        struct_hash = order_struct_hash_v2(
            salt,
            self._maker,
            self._signer,
            int(token),
            maker,
            taker,
            side,
            self._signature_type,
            timestamp_ms,
            bytes(32),
            self._builder,
        )
        digest = typed_data_hash(separator, struct_hash)
        if self._signature_type == 3:
            wrapped = typed_data_sign_hash(separator, struct_hash, self._chain_id, self._maker)
            contents_type = ORDER_TYPE_V2.encode("ascii")
            trailer = contents_type + len(contents_type).to_bytes(2, "big")
            signature = self._signature(wrapped) + separator + struct_hash + trailer
        else:
            signature = self._signature(digest)
        order = {
            "salt": salt,
            "maker": self._maker_text,
            "signer": self._signer_text,
            "tokenId": token,
            "makerAmount": str(maker),
            "takerAmount": str(taker),
            "side": "SELL" if side else "BUY",
            "expiration": str(expiration),
            "signatureType": self._signature_type,
            "timestamp": str(timestamp_ms),
            "metadata": "0x" + bytes(32).hex(),
            "builder": "0x" + self._builder.hex(),
            "signature": "0x" + signature.hex(),
        }
        entry = {
            "order": order,
            "owner": self._owner,
            "orderType": ORDER_TYPES[kind],
            "deferExec": False,
            "postOnly": bool(post_only),
        }
        return entry, "0x" + digest.hex()

    def _signature(self, digest: bytes) -> bytes:
        signature = self._sign(digest)
        if len(signature) != 65:
            raise ValueError(f"signature must be 65 bytes, not {len(signature)}")
        return signature

    def __repr__(self) -> str:
        return f"BatchBuilder(signature_type={self._signature_type})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BatchBuilder signs for an account: it cannot be pickled or copied")


def _check_leg(leg: BatchLeg) -> None:
    generation, _, token, maker, taker, side, salt, expiration, kind, _ = leg
    _check(generation, 3, "generation")
    if generation not in (2, 3):
        raise ValueError(f"generation must be 2 or 3, not {generation}")
    if not isinstance(token, str):
        raise TypeError(f"token_id must be text, not {type(token).__name__}")
    if not (token.isascii() and token.isdigit() and len(token) <= 78 and int(token) < 2**256):
        raise ValueError("token_id must be a decimal number below 2**256")
    _check(maker, MAX_INT64, "maker_micro")
    _check(taker, MAX_INT64, "taker_micro")
    if maker == 0 or taker == 0:
        raise ValueError("maker_micro and taker_micro must be above zero")
    _check(side, 1, "side")
    _check(salt, MAX_SALT, "salt")
    _check(expiration, MAX_INT64, "expiration")
    _check(kind, 3, "order_type")


def _check(value: int, most: int, name: str) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value > MAX_INT64:
        raise OverflowError(f"{name} does not fit 64 bits")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be between 0 and {most}, not {value}")
