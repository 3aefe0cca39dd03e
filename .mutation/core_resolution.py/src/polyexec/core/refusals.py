"""The exchange's words of refusal -> ``RejectCode``. The text itself always stays with the caller.

Texts are compared without case, by substring, first match first: the exchange puts ids, amounts
and markets into them and changes their ends. Source: protocol notes, rest.md 6.
"""

from typing import Final

from polyexec.enums import RejectCode

__all__ = ["refusal_code"]

_TEXTS: Final[tuple[tuple[str, RejectCode], ...]] = (
    ("order_version_mismatch", RejectCode.WRONG_VERSION),
    ("invalid order version", RejectCode.WRONG_VERSION),
    ("invalid order payload", RejectCode.INVALID_PAYLOAD),
    ("too many orders in payload", RejectCode.INVALID_PAYLOAD),
    ("invalid signature", RejectCode.INVALID_SIGNATURE),
    ("owner has to be the owner of the api key", RejectCode.WRONG_ACCOUNT),
    ("signer address has to be the address of the api key", RejectCode.WRONG_ACCOUNT),
    ("maker address not allowed", RejectCode.WRONG_ACCOUNT),
    ("address banned", RejectCode.ACCOUNT_RESTRICTED),
    ("closed only mode", RejectCode.ACCOUNT_RESTRICTED),
    ("trading restricted in your region", RejectCode.ACCOUNT_RESTRICTED),
    ("breaks minimum tick size rule", RejectCode.OFF_TICK),
    ("lower than the minimum", RejectCode.BELOW_MINIMUM),
    ("min size: $", RejectCode.BELOW_MINIMUM),
    ("invalid amounts", RejectCode.INVALID_AMOUNTS),
    ("post-only mode", RejectCode.POST_ONLY_MODE),
    ("crosses book", RejectCode.CROSSES_BOOK),
    ("crosses the book", RejectCode.CROSSES_BOOK),
    ("not enough balance", RejectCode.NOT_ENOUGH_MONEY),
    ("balance is not enough", RejectCode.NOT_ENOUGH_MONEY),
    ("allowance is not enough", RejectCode.NOT_ENOUGH_MONEY),
    ("invalid expiration", RejectCode.INVALID_EXPIRATION),
    ("invalid nonce", RejectCode.INVALID_NONCE),
    ("fully filled or killed", RejectCode.NOT_FILLED),
    ("filled or killed", RejectCode.NOT_FILLED),
    ("no orders found to match", RejectCode.NOT_FILLED),
    ("canceled in the ctf exchange", RejectCode.CANCELLED_ON_CHAIN),
    ("not yet ready to process", RejectCode.MARKET_NOT_OPEN),
    ("no orderbook exists", RejectCode.MARKET_NOT_OPEN),
    ("rate limit", RejectCode.RATE_LIMITED),
    ("order timed out", RejectCode.TIMED_OUT),
    ("cancel-only", RejectCode.TRADING_SUSPENDED),
    ("trading is", RejectCode.TRADING_SUSPENDED),
)

_STATUSES: Final = {
    401: RejectCode.NOT_AUTHORISED,
    403: RejectCode.ACCOUNT_RESTRICTED,
    404: RejectCode.MARKET_NOT_OPEN,
    425: RejectCode.TRADING_SUSPENDED,
    429: RejectCode.RATE_LIMITED,
    503: RejectCode.TRADING_SUSPENDED,
}


def refusal_code(text: str, status: int = 200) -> RejectCode:
    """Return the class of a refusal by its text or, where that says nothing, its HTTP status."""
    lowered = text.lower()
    for part, code in _TEXTS:
        if part in lowered:
            return code
    return _STATUSES.get(status, RejectCode.OTHER)
