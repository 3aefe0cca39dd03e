"""The exchange's texts, as recorded and documented, each in its class."""

import pytest

from polyexec.core.refusals import refusal_code
from polyexec.enums import RejectCode

TEXTS = {
    "Invalid order payload": RejectCode.INVALID_PAYLOAD,
    "Too many orders in payload: 16, max allowed: 15": RejectCode.INVALID_PAYLOAD,
    "order_version_mismatch": RejectCode.WRONG_VERSION,
    "invalid order version, please use the latest clob-client": RejectCode.WRONG_VERSION,
    "invalid signature": RejectCode.INVALID_SIGNATURE,
    "the order owner has to be the owner of the API KEY": RejectCode.WRONG_ACCOUNT,
    "the order signer address has to be the address of the API KEY": RejectCode.WRONG_ACCOUNT,
    "maker address not allowed, please use the deposit wallet flow": RejectCode.WRONG_ACCOUNT,
    "'0xabc' address banned": RejectCode.ACCOUNT_RESTRICTED,
    "'0xabc' address in closed only mode": RejectCode.ACCOUNT_RESTRICTED,
    "Trading restricted in your region": RejectCode.ACCOUNT_RESTRICTED,
    "order 0x1 is invalid. Price (0.511) breaks minimum tick size rule: 0.01": RejectCode.OFF_TICK,
    "order 0x1 is invalid. Size (4) lower than the minimum: 5": RejectCode.BELOW_MINIMUM,
    "invalid amount for a marketable BUY order ($0.05), min size: $1": RejectCode.BELOW_MINIMUM,
    "invalid amounts, the market buy orders maker amount supports a max accuracy of 2 decimals, "
    "taker amount a max of 4 decimals": RejectCode.INVALID_AMOUNTS,
    "invalid post-only order: order crosses book": RejectCode.CROSSES_BOOK,
    "order 0x1 crosses the book": RejectCode.CROSSES_BOOK,
    "post-only mode: only post-only orders and cancels are allowed": RejectCode.POST_ONLY_MODE,
    "not enough balance / allowance: the balance is not enough -> balance: 1933630, sum of matched "
    "orders: 1050000, order amount (inc. fees): 1056000": RejectCode.NOT_ENOUGH_MONEY,
    "the allowance is not enough": RejectCode.NOT_ENOUGH_MONEY,
    "invalid expiration": RejectCode.INVALID_EXPIRATION,
    "invalid nonce": RejectCode.INVALID_NONCE,
    "order couldn't be fully filled. FOK orders are fully filled or killed.": RejectCode.NOT_FILLED,
    "FOK orders are filled or killed": RejectCode.NOT_FILLED,
    "no orders found to match with FAK order. FAK orders are partially filled or killed if no match"
    " is found.": RejectCode.NOT_FILLED,
    "order canceled in the CTF exchange contract": RejectCode.CANCELLED_ON_CHAIN,
    "the market is not yet ready to process new orders": RejectCode.MARKET_NOT_OPEN,
    "No orderbook exists for the requested token id": RejectCode.MARKET_NOT_OPEN,
    "Rate limit exceeded for tokenId 12": RejectCode.RATE_LIMITED,
    "order timed out": RejectCode.TIMED_OUT,
    "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.": (
        RejectCode.TRADING_SUSPENDED
    ),
    "trading is disabled": RejectCode.TRADING_SUSPENDED,
    "something new": RejectCode.OTHER,
    "": RejectCode.OTHER,
}


@pytest.mark.parametrize(("text", "code"), TEXTS.items())
def test_a_text_has_its_class_in_any_case(text: str, code: RejectCode) -> None:
    assert refusal_code(text) is code
    assert refusal_code(text.upper()) is code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, RejectCode.OTHER),
        (401, RejectCode.NOT_AUTHORISED),
        (403, RejectCode.ACCOUNT_RESTRICTED),
        (404, RejectCode.MARKET_NOT_OPEN),
        (405, RejectCode.OTHER),
        (425, RejectCode.TRADING_SUSPENDED),
        (429, RejectCode.RATE_LIMITED),
        (503, RejectCode.TRADING_SUSPENDED),
    ],
)
def test_a_text_that_says_nothing_leaves_it_to_the_status(status: int, code: RejectCode) -> None:
    assert refusal_code("HTML page: sorry", status) is code
    assert refusal_code("invalid signature", status) is RejectCode.INVALID_SIGNATURE
