"""Signed orders, made again from what the journal keeps of them."""

from polyexec.core.journal import Intent
from polyexec.core.orders import encode_orders, order_of
from polyexec.core.signer import OrderSigner
from polyexec.errors import InputError
from polyexec.models import OrderId

__all__ = ["rebuild"]


def rebuild(intent: Intent, signer: OrderSigner) -> tuple[bytes, tuple[OrderId, ...]]:
    """Return the body and the order ids of a group, made again from its INTENT.

    Byte for byte what was signed before the crash, because the signatures are RFC 6979: the same
    order at the exchange, not a second one.

    Raises
    ------
    InputError
        The signatures of the group, or those of this signer, come from prepared nonces.
    """
    if not intent.resignable:
        raise InputError(
            "intent", intent.group, "was signed with prepared nonces: use its SIGNED record"
        )
    if signer.presign_info() is not None:
        raise InputError("signer", signer, "prepares nonces: rebuild with one that does not")
    signed = signer.sign_batch(
        order_of(
            leg.priced, salt=leg.salt, timestamp_ms=intent.timestamp_ms, builder=intent.builder
        )
        for leg in intent.legs
    )
    body = encode_orders(
        signed,
        owner=intent.owner,
        order_type=[leg.priced.order_type for leg in intent.legs],
        post_only=[leg.priced.post_only for leg in intent.legs],
    )
    return body, tuple(order.order_id for order in signed)
