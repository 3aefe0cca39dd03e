"""V1 / V2 / V3 orders: the record, the signed record and the exact request bodies."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec.structs import force_setattr

from polyexec.constants import MAX_BATCH, MAX_SALT, ZERO_ADDRESS, ZERO_BYTES32
from polyexec.core.candidates import PricedLeg
from polyexec.core.keys import checksum_address, parse_address, parse_bytes32
from polyexec.enums import Generation, OrderType, Side
from polyexec.errors import InputError
from polyexec.numbers import MAX_MICRO, from_micro
from polyexec.parsing import (
    OrderId,
    TokenId,
    parse_generation,
    parse_order_type,
    parse_side,
    parse_token_id,
)

__all__ = ["Amounts", "Order", "SignedOrder", "encode_order", "encode_orders", "order_of"]

_MAX_UINT256 = 2**256 - 1


class Amounts(msgspec.Struct, frozen=True):
    """What an order gives and wants, in micro-units."""

    maker_micro: int
    taker_micro: int

    @property
    def maker(self) -> Decimal:
        """Whole units: collateral of a BUY, shares of a SELL."""
        return from_micro(self.maker_micro)

    @property
    def taker(self) -> Decimal:
        """Whole units: shares of a BUY, collateral of a SELL."""
        return from_micro(self.taker_micro)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order before it is signed.

    Parameters
    ----------
    generation : Generation, int or str
        CLOB_V1, CLOB_V2 or EXCHANGE_V3; the domain version as 2 or ``"2"`` is taken too.
    token_id : str or int
        Decimal, below 2**256.
    side : Side or str
    maker_micro, taker_micro : int
        What the maker gives and wants, 1 to 2**63 - 1.
    neg_risk : bool
        Selects the exchange contract of V1 and V2.
    salt : int or None
        0 to 2**53 - 1. ``None``: filled when signed.
    timestamp_ms : int or None
        Unix milliseconds, V2 and V3. ``None``: filled when signed.
    expiration : int
        Unix seconds, for GTD only; 0 is none. Signed in V1, only sent in V2 and V3.
    metadata, builder : str or bytes
        32 bytes, V2 and V3.
    taker : str or bytes
        Address, V1. Zero: anyone.
    nonce, fee_rate_bps : int
        V1.

    Raises
    ------
    InputError
        A value is out of range, malformed, or belongs to another generation.
    """

    generation: Generation
    token_id: TokenId
    side: Side
    maker_micro: int
    taker_micro: int
    neg_risk: bool = False
    salt: int | None = None
    timestamp_ms: int | None = None
    expiration: int = 0
    metadata: str = ZERO_BYTES32
    builder: str = ZERO_BYTES32
    taker: str = ZERO_ADDRESS
    nonce: int = 0
    fee_rate_bps: int = 0

    if TYPE_CHECKING:
        # Fields are what they become; arguments are what callers may write.
        def __init__(
            self,
            *,
            generation: Generation | int | str,
            token_id: str | int,
            side: Side | str,
            maker_micro: int,
            taker_micro: int,
            neg_risk: bool = False,
            salt: int | None = None,
            timestamp_ms: int | None = None,
            expiration: int = 0,
            metadata: str | bytes = ZERO_BYTES32,
            builder: str | bytes = ZERO_BYTES32,
            taker: str | bytes = ZERO_ADDRESS,
            nonce: int = 0,
            fee_rate_bps: int = 0,
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "generation", parse_generation(self.generation))
        force_setattr(self, "token_id", parse_token_id(self.token_id))
        force_setattr(self, "side", parse_side(self.side))
        _check_int("maker_micro", self.maker_micro, 1, MAX_MICRO)
        _check_int("taker_micro", self.taker_micro, 1, MAX_MICRO)
        if self.salt is not None:
            _check_int("salt", self.salt, 0, MAX_SALT)
        if self.timestamp_ms is not None:
            _check_int("timestamp_ms", self.timestamp_ms, 0, MAX_MICRO)
        _check_int("expiration", self.expiration, 0, MAX_MICRO)
        _check_int("nonce", self.nonce, 0, _MAX_UINT256)
        _check_int("fee_rate_bps", self.fee_rate_bps, 0, _MAX_UINT256)
        for field in ("metadata", "builder"):
            value = getattr(self, field)
            if value is not ZERO_BYTES32:
                force_setattr(self, field, "0x" + parse_bytes32(value, field).hex())
        if self.taker is not ZERO_ADDRESS:
            force_setattr(self, "taker", checksum_address(parse_address(self.taker, "taker")))
        self._check_generation()

    def _check_generation(self) -> None:
        # A value that its generation does not sign would be dropped in silence.
        is_v1 = self.generation is Generation.CLOB_V1
        unsigned: tuple[tuple[str, object], ...] = (
            (("timestamp_ms", None), ("metadata", ZERO_BYTES32), ("builder", ZERO_BYTES32))
            if is_v1
            else (("taker", ZERO_ADDRESS), ("nonce", 0), ("fee_rate_bps", 0))
        )
        for field, default in unsigned:
            if getattr(self, field) != default:
                raise InputError(
                    field,
                    getattr(self, field),
                    f"is not part of a {self.generation.name} order",
                )


class SignedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order with everything filled in, its id and its signature, as ``0x`` hex."""

    order: Order
    maker: str
    signer: str
    signature_type: int
    struct_hash: str
    order_id: OrderId
    signature: str


def encode_order(
    signed_order: SignedOrder,
    *,
    owner: str,
    order_type: OrderType | str,
    post_only: bool = False,
    defer_exec: bool = False,
) -> bytes:
    """Return the exact body of ``POST /order``.

    Parameters
    ----------
    signed_order : SignedOrder
    owner : str
        The API key, not an address.
    order_type : OrderType or str
    post_only : bool
        GTC and GTD only.
    defer_exec : bool
        Sent as given in V2 and V3; the exchange does not document it. V1 does not have it.

    Raises
    ------
    InputError
        ``post_only`` with FOK or FAK, an expiration without GTD or GTD without one.
    """
    kind = parse_order_type(order_type)
    return orjson.dumps(_entry(signed_order, owner, kind, post_only, defer_exec))


def order_of(leg: PricedLeg, *, salt: int, timestamp_ms: int, builder: str) -> Order:
    """Return the order of a priced leg; V1 knows neither timestamp nor builder."""
    order = Order(
        generation=leg.generation,
        token_id=leg.token_id,
        side=leg.side,
        maker_micro=leg.maker_micro,
        taker_micro=leg.taker_micro,
        neg_risk=leg.neg_risk,
        salt=salt,
        expiration=leg.expiration,
    )
    if leg.generation is Generation.CLOB_V1:
        return order
    return msgspec.structs.replace(order, timestamp_ms=timestamp_ms, builder=builder)


def encode_orders(
    signed_orders: Sequence[SignedOrder],
    *,
    owner: str,
    order_type: OrderType | str | Sequence[OrderType | str],
    post_only: bool | Sequence[bool] = False,
    defer_exec: bool = False,
) -> bytes:
    """Return the exact body of ``POST /orders``: a list of 1 to 15 orders.

    Compact JSON, keys in the order of py-clob-client-v2 (V2, V3) and py-clob-client (V1). These
    bytes are what the HMAC covers.

    Parameters
    ----------
    signed_orders : sequence of SignedOrder
    owner : str
        The API key, not an address.
    order_type : OrderType, str, or a sequence of one per order
    post_only : bool, or a sequence of one per order
    defer_exec : bool
        For every order; see :func:`encode_order`.

    Raises
    ------
    InputError
        No order, more than 15, a wrong number of types or flags, or as in :func:`encode_order`.
    """
    count = len(signed_orders)
    if not 1 <= count <= MAX_BATCH:
        raise InputError(
            "signed_orders", f"<{count} orders>", f"a batch holds 1 to {MAX_BATCH} orders"
        )
    if isinstance(order_type, str):
        kinds = [parse_order_type(order_type)] * count
    else:
        kinds = [parse_order_type(kind) for kind in order_type]
        if len(kinds) != count:
            raise InputError("order_type", order_type, f"gives {len(kinds)} for {count} orders")
    flags = [post_only] * count if isinstance(post_only, bool) else list(post_only)
    if len(flags) != count:
        raise InputError("post_only", post_only, f"gives {len(flags)} for {count} orders")
    return orjson.dumps(
        [
            _entry(signed, owner, kind, flag, defer_exec)
            for signed, kind, flag in zip(signed_orders, kinds, flags, strict=True)
        ]
    )


def _entry(
    signed: SignedOrder, owner: str, kind: OrderType, post_only: bool, defer_exec: bool
) -> dict[str, Any]:
    order = signed.order
    if not isinstance(owner, str) or not owner:
        raise InputError("owner", owner, "must be the API key")
    if post_only and kind.is_immediate:
        raise InputError("post_only", post_only, f"cannot be combined with {kind}")
    if (order.expiration != 0) is not (kind is OrderType.GTD):
        raise InputError(
            "expiration",
            order.expiration,
            "GTD needs a unix time in seconds"
            if kind is OrderType.GTD
            else f"must be 0 for {kind}",
        )
    if order.salt is None:
        raise InputError("salt", None, "is filled when an order is signed: this one is not signed")
    if order.generation is Generation.CLOB_V1:
        return {
            "order": {
                "salt": order.salt,
                "maker": signed.maker,
                "signer": signed.signer,
                "taker": order.taker,
                "tokenId": order.token_id,
                "makerAmount": str(order.maker_micro),
                "takerAmount": str(order.taker_micro),
                "expiration": str(order.expiration),
                "nonce": str(order.nonce),
                "feeRateBps": str(order.fee_rate_bps),
                "side": order.side.value,
                "signatureType": signed.signature_type,
                "signature": signed.signature,
            },
            "owner": owner,
            "orderType": kind.value,
            "postOnly": bool(post_only),
        }
    return {
        "order": {
            "salt": order.salt,
            "maker": signed.maker,
            "signer": signed.signer,
            "tokenId": order.token_id,
            "makerAmount": str(order.maker_micro),
            "takerAmount": str(order.taker_micro),
            "side": order.side.value,
            "expiration": str(order.expiration),
            "signatureType": signed.signature_type,
            "timestamp": str(order.timestamp_ms),
            "metadata": order.metadata,
            "builder": order.builder,
            "signature": signed.signature,
        },
        "owner": owner,
        "orderType": kind.value,
        "deferExec": bool(defer_exec),
        "postOnly": bool(post_only),
    }


def _check_int(field: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(field, value, "must be an int")
    if not low <= value <= high:
        shown = {MAX_MICRO: "2**63 - 1", MAX_SALT: "2**53 - 1", _MAX_UINT256: "2**256 - 1"}[high]
        raise InputError(field, value, f"must be {low} to {shown}")


def split_batch(body: bytes) -> tuple[bytes, ...]:
    """Return the entries of a ``POST /orders`` body of ours, byte for byte.

    No text of an entry can hold what separates two of them.
    """
    first, *others = body[1:-1].split(b',{"order":')
    return (first, *(b'{"order":' + entry for entry in others))
