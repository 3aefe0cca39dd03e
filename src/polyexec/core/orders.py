"""V1 / V2 / V3 orders: the record, the signed record and the exact request bodies."""

from decimal import Decimal

import msgspec

from polyexec.enums import Generation, Side
from polyexec.models import OrderId, TokenId

__all__ = ["Amounts", "Order", "SignedOrder"]


class Amounts(msgspec.Struct, frozen=True):
    """What an order gives and wants, in micro-units."""

    maker_micro: int
    taker_micro: int

    @property
    def maker(self) -> Decimal:
        """Whole units."""
        return Decimal(self.maker_micro) / 1_000_000


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order before it is signed. ``salt`` and ``timestamp_ms`` None: filled when signed."""

    generation: Generation
    token_id: TokenId
    side: Side
    maker_micro: int
    taker_micro: int
    neg_risk: bool = False
    salt: int | None = None
    timestamp_ms: int | None = None
    expiration: int = 0
    metadata: str = "0x" + "00" * 32
    builder: str = "0x" + "00" * 32
    taker: str = "0x" + "00" * 20
    nonce: int = 0
    fee_rate_bps: int = 0


class SignedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order with everything filled in, its id and its signature, as ``0x`` hex."""

    order: Order
    maker: str
    signer: str
    signature_type: int
    struct_hash: str
    order_id: OrderId
    signature: str
