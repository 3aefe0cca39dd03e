"""One entry of ``POST /order(s)``: its shape, and the rules that need no book and no balance."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from polyexec.enums import OrderType, Side, SignatureType
from polyexec.numbers import PRICE_SCALE
from polyexec.paper.book import PaperMarket, decimal_text, price_text
from polyexec.paper.errors import Refused

__all__ = ["OrderEntry", "limit_price_e4", "parse_entry"]

MAX_SALT = 2**53 - 1
MIN_GTD_LIFE_S = 180
_BAD_PAYLOAD = "Invalid order payload"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_BYTES32 = re.compile(r"0x[0-9a-fA-F]{64}")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})+")
_INTEGER = re.compile(r"[0-9]{1,78}")
_SIZE_GRAIN = 10_000  # sizes have two decimals


@dataclass(slots=True, frozen=True)
class OrderEntry:
    """A well-formed entry. ``is_v1``: it has the shape of a CLOB V1 order."""

    salt: int
    maker: str
    signer: str
    token_id: str
    maker_micro: int
    taker_micro: int
    side: Side
    signature_type: SignatureType
    signature: bytes
    expiration_s: int
    owner: str
    order_type: OrderType
    post_only: bool
    is_v1: bool
    timestamp_ms: int = 0
    metadata: bytes = bytes(32)
    builder: bytes = bytes(32)
    taker: str = ""
    nonce: int = 0
    fee_rate_bps: int = 0


def parse_entry(raw: Any) -> OrderEntry:
    """Return the entry, or refuse it as ``Invalid order payload``."""
    if not isinstance(raw, dict) or not isinstance(raw.get("order"), dict):
        raise Refused(_BAD_PAYLOAD)
    order = raw["order"]
    is_v1 = "timestamp" not in order and "feeRateBps" in order
    post_only, defer = raw.get("postOnly", False), raw.get("deferExec", False)
    salt, kind = order.get("salt"), order.get("signatureType")
    if (
        type(salt) is not int
        or salt < 0
        or type(kind) is not int
        or kind not in range(3 if is_v1 else 4)
        or order.get("side") not in ("BUY", "SELL")
        or raw.get("orderType") not in OrderType.__members__
        or not isinstance(raw.get("owner"), str)
        or not isinstance(post_only, bool)
        or not isinstance(defer, bool)
    ):
        raise Refused(_BAD_PAYLOAD)
    if salt > MAX_SALT:
        # The server's numbers are doubles: the salt it hashes is not the salt that was signed.
        raise Refused("invalid signature")
    order_type = OrderType(raw["orderType"])
    if post_only and order_type.is_immediate:
        raise Refused(_BAD_PAYLOAD)
    common: dict[str, Any] = {
        "salt": salt,
        "maker": _text(order, "maker", _ADDRESS),
        "signer": _text(order, "signer", _ADDRESS),
        "token_id": str(_integer(order, "tokenId")),
        "maker_micro": _integer(order, "makerAmount"),
        "taker_micro": _integer(order, "takerAmount"),
        "side": Side(order["side"]),
        "signature_type": SignatureType(kind),
        "signature": bytes.fromhex(_text(order, "signature", _HEX)[2:]),
        "expiration_s": _integer(order, "expiration"),
        "owner": raw["owner"],
        "order_type": order_type,
        "post_only": post_only,
        "is_v1": is_v1,
    }
    if is_v1:
        return OrderEntry(
            **common,
            taker=_text(order, "taker", _ADDRESS),
            nonce=_integer(order, "nonce"),
            fee_rate_bps=_integer(order, "feeRateBps"),
        )
    return OrderEntry(
        **common,
        timestamp_ms=_integer(order, "timestamp"),
        metadata=bytes.fromhex(_text(order, "metadata", _BYTES32)[2:]),
        builder=bytes.fromhex(_text(order, "builder", _BYTES32)[2:]),
    )


def _text(order: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = order.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(_BAD_PAYLOAD)
    return value


def _integer(order: dict[str, Any], key: str) -> int:
    value = int(_text(order, key, _INTEGER))
    if value >= 2**256:
        raise Refused(_BAD_PAYLOAD)
    return value


def limit_price_e4(entry: OrderEntry, market: PaperMarket, order_id: str, now_ms: int) -> int:
    """Check amounts, precision, price, size and expiration; return the worst price it may get.

    GTC and GTD name a price on the tick exactly. FOK and FAK amounts are cut to 2 and 4 decimals,
    so their ratio only comes near it: for them the price is the last ten-thousandth that still
    honours what was signed.
    """
    is_buy, immediate = entry.side is Side.BUY, entry.order_type.is_immediate
    _check_expiration(entry, now_ms)
    if entry.maker_micro == 0 or entry.taker_micro == 0:
        raise Refused(_BAD_PAYLOAD)
    _check_precision(entry, market)
    collateral, shares = (
        (entry.maker_micro, entry.taker_micro) if is_buy else (entry.taker_micro, entry.maker_micro)
    )
    quotient, rest = divmod(collateral * PRICE_SCALE, shares)
    price_e4 = quotient if is_buy or rest == 0 else quotient + 1
    tick = market.tick_e4
    on_grid = immediate or (rest == 0 and price_e4 % tick == 0)
    if not on_grid and not is_buy:
        _check_rounded_proceeds(collateral, shares, tick)
    if not (on_grid and tick <= price_e4 <= PRICE_SCALE - tick):
        raise Refused(
            f"order {order_id} is invalid. Price ({collateral / shares}) breaks minimum tick size "
            f"rule: {price_text(tick)}"
        )
    if not immediate and shares < market.min_order_size_micro:
        raise Refused(
            f"order {order_id} is invalid. Size ({decimal_text(shares)}) lower than the minimum: "
            f"{decimal_text(market.min_order_size_micro)}"
        )
    return price_e4


def _check_expiration(entry: OrderEntry, now_ms: int) -> None:
    if entry.order_type is OrderType.GTD:
        if entry.expiration_s * 1000 < now_ms + MIN_GTD_LIFE_S * 1000:
            raise Refused("invalid expiration")
    elif entry.expiration_s:
        raise Refused("invalid expiration")


def _check_precision(entry: OrderEntry, market: PaperMarket) -> None:
    immediate = entry.order_type.is_immediate
    # An exact product of a price on the tick and two-decimal shares has this many decimals.
    product = 6 - max(4, 2 + _decimals(market.tick_e4))
    fine = 10 ** (2 if immediate else product)
    if entry.side is Side.BUY:
        grains = (_SIZE_GRAIN, fine) if immediate else (fine, _SIZE_GRAIN)
    else:
        grains = (_SIZE_GRAIN, fine)
    if entry.maker_micro % grains[0] == 0 and entry.taker_micro % grains[1] == 0:
        return
    if entry.side is Side.SELL:
        kind, maker, taker = "sell", 2, 4
    elif immediate:
        kind, maker, taker = "market buy", 2, 4
    else:
        kind, maker, taker = "buy", 4, 2
    raise Refused(
        f"invalid amounts, the {kind} orders maker amount supports a max accuracy of {maker} "
        f"decimals, taker amount a max of {taker} decimals"
    )


def _check_rounded_proceeds(collateral: int, shares: int, tick_e4: int) -> None:
    # A SELL whose proceeds were rounded to cents is told what they should have been.
    ticks = (2 * collateral * PRICE_SCALE + shares * tick_e4) // (2 * shares * tick_e4)
    price_e4 = ticks * tick_e4
    exact, rest = divmod(shares * price_e4, PRICE_SCALE)
    plausible = tick_e4 <= price_e4 <= PRICE_SCALE - tick_e4 and rest == 0
    if not plausible or not 0 < abs(exact - collateral) < _SIZE_GRAIN:
        return
    raise Refused(
        f"invalid amounts, the taker amount for a ${price_text(price_e4)} order of size "
        f"{decimal_text(shares)} should be '{decimal_text(exact)}' but the value submited is "
        f"'{decimal_text(collateral)}'"
    )


def _decimals(tick_e4: int) -> int:
    exponent = Decimal(price_text(tick_e4)).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
