"""Every refusal in the exchange's own words, and every answer in its habits."""

from decimal import Decimal
from typing import Any

import pytest

from polyexec import paper
from polyexec.enums import Generation, SignatureType

from .support import NOW_MS, Clock, Trader, leg_errors

M = 1_000_000


# --- accepted -----------------------------------------------------------------------------------


def test_resting_order_is_live_and_its_id_is_the_eip712_digest(
    alice: Trader, market: paper.PaperMarket
) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10")
    digest, _ = alice.digest_and_signature(
        entry["order"], Generation.CLOB_V2, neg_risk=market.neg_risk
    )
    status, answer = alice.post(entry)
    assert status == 200
    assert answer == {
        "errorMsg": "",
        "orderID": digest,
        "takingAmount": "",
        "makingAmount": "",
        "status": "live",
        "transactionsHashes": [],
        "tradeIDs": [],
        "success": True,
    }


def test_fok_buy_spends_its_collateral_and_brings_more_shares(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, asks=[("0.61", 100)])
    # 2.00 dollars at a limit of 0.99
    _, answer = alice.post(alice.entry(market.yes, "BUY", 2 * M, 2_020_200, order_type="FOK"))
    assert answer["status"] == "matched"
    assert answer["makingAmount"] == "2"
    assert answer["takingAmount"] == "3.278688"
    assert exchange.position(alice.address, market.yes) == Decimal("3.278688")
    fee = Decimal("0.0546")  # 3.278688 x 0.07 x 0.61 x 0.39 = 0.054599..., to 1e-5
    assert exchange.fees_collected == fee
    assert exchange.balance(alice.address) == Decimal(1000) - 2 - fee
    exchange.audit()


def test_gtc_buy_below_its_limit_gets_the_same_shares_for_less(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, asks=[("0.50", 100)])
    _, answer = alice.post(alice.limit(market.yes, "BUY", "0.60", "10"))
    assert (answer["makingAmount"], answer["takingAmount"]) == ("5", "10")
    assert exchange.balance(alice.address) == Decimal(1000) - 5 - Decimal("0.175")


def test_sell_pays_its_fee_out_of_the_proceeds(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.set_position(alice.address, market.yes, 10)
    exchange.seed_book(market.yes, bids=[("0.50", 100)])
    _, answer = alice.post(alice.limit(market.yes, "SELL", "0.50", "10", "FAK"))
    assert (answer["makingAmount"], answer["takingAmount"]) == ("10", "5")
    assert exchange.balance(alice.address) == Decimal(1000) + 5 - Decimal("0.175")
    exchange.audit()


def test_makers_pay_no_fee(
    exchange: paper.PaperExchange, alice: Trader, bob: Trader, market: paper.PaperMarket
) -> None:
    alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
    bob.post(bob.limit(market.no, "BUY", "0.60", "10"))  # mints a set
    assert exchange.balance(alice.address) == 996
    assert exchange.balance(bob.address) == Decimal(1000) - 6 - Decimal("0.168")
    assert exchange.position(alice.address, market.yes) == 10
    assert exchange.position(bob.address, market.no) == 10
    exchange.audit()


def test_type_3_order_is_checked_through_its_envelope(
    exchange: paper.PaperExchange, vectors: Any
) -> None:
    cases = [case for case in vectors("orders-v2") if case["inputs"]["signature_type"] == 3]
    case = next(c for c in cases if c["inputs"]["chain_id"] == 137 and c["inputs"]["side"] == "BUY")
    inputs, outputs = case["inputs"], case["outputs"]
    owner = Trader(exchange, int(inputs["private_key"], 16))
    exchange.deposit(inputs["maker"], 1_000_000)
    market = exchange.add_market(
        "vector",
        tokens=(inputs["token_id"], "12345"),
        tick_size=inputs["tick_size"],
        neg_risk=inputs["neg_risk"],
    )
    entry = owner.limit(market.yes, "BUY", "0.5", "10") | {"orderType": inputs["order_type"]}
    entry["order"] |= {
        "salt": int(inputs["salt"]),
        "maker": inputs["maker"],
        "signer": inputs["signer"],
        "makerAmount": outputs["maker_amount"],
        "takerAmount": outputs["taker_amount"],
        "signatureType": 3,
        "timestamp": inputs["timestamp"],
        "metadata": inputs["metadata"],
        "builder": inputs["builder"],
        "signature": outputs["signature"],
    }
    status, answer = owner.post(entry)
    assert (status, answer["orderID"]) == (200, outputs["order_id"])
    # A bare signature of the digest is not enough for a wallet contract.
    bare = {**entry, "order": entry["order"] | {"signature": outputs["inner_signature"]}}
    assert owner.error(bare) == "invalid signature"
    eoa_as_signer = {**entry, "order": entry["order"] | {"signer": owner.address}}
    assert (
        owner.error(eoa_as_signer)
        == "the order signer address has to be the address of the API KEY"
    )


def test_proxy_wallet_belongs_to_the_first_good_signer(
    exchange: paper.PaperExchange, alice: Trader, bob: Trader, market: paper.PaperMarket
) -> None:
    wallet = "0x" + "ab" * 20
    exchange.deposit(wallet, 100)
    first = alice.limit(market.yes, "BUY", "0.40", "10", maker=wallet, signatureType=1)
    assert alice.post(first)[0] == 200
    second = bob.limit(market.yes, "BUY", "0.40", "10", maker=wallet, signatureType=1)
    assert bob.error(second) == "invalid signature"


def test_nobody_trades_from_the_eoa_of_another(
    exchange: paper.PaperExchange, alice: Trader, bob: Trader, market: paper.PaperMarket
) -> None:
    for kind in (1, 2):
        stolen = bob.limit(market.yes, "BUY", "0.40", "10", maker=alice.address, signatureType=kind)
        assert bob.error(stolen) == "invalid signature"


def test_deposit_can_name_the_owner_of_a_wallet(
    exchange: paper.PaperExchange, alice: Trader
) -> None:
    wallet = "0x" + "cd" * 20
    exchange.deposit(wallet, "7.5", owner=alice.address, signature_type=SignatureType.POLY_PROXY)
    query = {"asset_type": "COLLATERAL", "signature_type": "1"}
    assert alice.request("GET", "/balance-allowance", **query)[1]["balance"] == "7500000"
    # Nobody has said anything of a Safe: it is empty, as with the wrong type on the real one.
    query["signature_type"] = "2"
    assert alice.request("GET", "/balance-allowance", **query)[1]["balance"] == "0"


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"salt": "12"},
        {"salt": -1},
        {"salt": True},
        {"makerAmount": 4_000_000},
        {"makerAmount": "-4"},
        {"side": 0},
        {"signatureType": "0"},
        {"signatureType": 4},
        {"timestamp": 5},
        {"tokenId": "0x12"},
        {"maker": "alice"},
        {"metadata": "0x00"},
        {"signature": "zz"},
        {"takerAmount": str(2**256)},
        {"expiration": None},
    ],
    ids=str,
)
def test_wrong_shape_is_an_invalid_payload(
    alice: Trader, market: paper.PaperMarket, change: dict[str, Any]
) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10")
    entry["order"] |= change
    assert alice.error(entry) == "Invalid order payload"


@pytest.mark.parametrize(
    "change",
    [{"orderType": "IOC"}, {"owner": 5}, {"postOnly": 1}, {"deferExec": "no"}, {"order": []}],
    ids=str,
)
def test_wrong_envelope_is_an_invalid_payload(
    alice: Trader, market: paper.PaperMarket, change: dict[str, Any]
) -> None:
    assert (
        alice.error(alice.limit(market.yes, "BUY", "0.40", "10") | change)
        == "Invalid order payload"
    )


def test_post_only_market_order_is_an_invalid_payload(
    alice: Trader, market: paper.PaperMarket
) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10", "FOK", outer={"postOnly": True})
    assert alice.error(entry) == "Invalid order payload"


def test_zero_amounts_are_an_invalid_payload(alice: Trader, market: paper.PaperMarket) -> None:
    assert alice.error(alice.entry(market.yes, "BUY", 0, 5 * M)) == "Invalid order payload"
    assert alice.error(alice.entry(market.yes, "BUY", 5 * M, 0)) == "Invalid order payload"


def test_salt_beyond_a_double_cannot_be_verified(alice: Trader, market: paper.PaperMarket) -> None:
    assert alice.post(alice.limit(market.yes, "BUY", "0.4", "10", salt=2**53 - 1))[0] == 200
    assert (
        alice.error(alice.limit(market.yes, "BUY", "0.4", "10", salt=2**53)) == "invalid signature"
    )


def test_owner_must_be_the_api_key(alice: Trader, bob: Trader, market: paper.PaperMarket) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10", outer={"owner": bob.credentials.api_key})
    assert alice.error(entry) == "the order owner has to be the owner of the API KEY"


def test_signer_must_be_the_address_of_the_api_key(
    alice: Trader, bob: Trader, market: paper.PaperMarket
) -> None:
    entry = bob.limit(market.yes, "BUY", "0.40", "10", outer={"owner": alice.credentials.api_key})
    assert alice.error(entry) == "the order signer address has to be the address of the API KEY"


@pytest.mark.parametrize(
    "change",
    [{"makerAmount": "4000001"}, {"salt": 7}, {"builder": "0x" + "01" * 32}, {"side": "SELL"}],
    ids=str,
)
def test_changed_order_has_an_invalid_signature(
    alice: Trader, market: paper.PaperMarket, change: dict[str, Any]
) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10")
    entry["order"] |= change
    assert alice.error(entry) == "invalid signature"


def test_malleable_and_odd_signatures_are_invalid(alice: Trader, market: paper.PaperMarket) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10")
    good = bytes.fromhex(entry["order"]["signature"][2:])
    order_n = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high_s = (order_n - int.from_bytes(good[32:64], "big")).to_bytes(32, "big")
    twin = good[:32] + high_s + bytes([55 - good[64]])
    for bad in (twin, good[:64] + bytes([good[64] - 27]), good[:64], good + b"\0", bytes(65)):
        entry["order"]["signature"] = "0x" + bad.hex()
        assert alice.error(entry) == "invalid signature"


def test_eoa_order_for_another_maker_is_invalid(alice: Trader, market: paper.PaperMarket) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10", maker="0x" + "ab" * 20)
    assert alice.error(entry) == "invalid signature"


def test_v1_order_in_a_v2_market_is_a_version_mismatch(
    alice: Trader, market: paper.PaperMarket
) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10", generation=Generation.CLOB_V1)
    assert alice.error(entry) == "order_version_mismatch"


def test_v3_signature_in_a_v2_market_does_not_recover(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    wrong = alice.limit(market.yes, "BUY", "0.40", "10", generation=Generation.EXCHANGE_V3)
    assert alice.error(wrong) == "invalid signature"
    newer = exchange.add_market("v3", generation=Generation.EXCHANGE_V3)
    wrong = alice.limit(newer.yes, "BUY", "0.40", "10", generation=Generation.CLOB_V2)
    assert alice.error(wrong) == "invalid signature"
    assert alice.post(alice.limit(newer.yes, "BUY", "0.40", "10"))[0] == 200


def test_neg_risk_signature_does_not_fit_a_standard_market(
    exchange: paper.PaperExchange, alice: Trader
) -> None:
    neg = exchange.add_market("neg", neg_risk=True)
    assert alice.post(alice.limit(neg.yes, "BUY", "0.40", "10"))[0] == 200
    entry = alice.limit(neg.yes, "BUY", "0.40", "10")
    _, entry["order"]["signature"] = alice.digest_and_signature(
        entry["order"], Generation.CLOB_V2, neg_risk=False
    )
    assert alice.error(entry) == "invalid signature"


def test_v1_market_takes_v1_orders_with_its_fee_and_no_nonce(
    exchange: paper.PaperExchange, alice: Trader
) -> None:
    old = exchange.add_market("old", generation=Generation.CLOB_V1, fee_rate="0.07")
    assert alice.post(alice.limit(old.yes, "BUY", "0.40", "10"))[0] == 200
    assert alice.error(alice.limit(old.yes, "BUY", "0.40", "10", nonce="1")) == "invalid nonce"
    wrong_fee = alice.limit(old.yes, "BUY", "0.40", "10", feeRateBps="1")
    assert alice.error(wrong_fee) == "Invalid order payload"
    newer = alice.limit(old.yes, "BUY", "0.40", "10", generation=Generation.CLOB_V2)
    assert alice.error(newer) == "order_version_mismatch"


def test_unknown_token_has_no_orderbook(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "10")
    entry["order"]["tokenId"] = "99"
    text = "No orderbook exists for the requested token id"
    assert alice.post(entry) == (404, {"error": text})
    assert leg_errors(alice, [entry]) == [text]


def test_same_order_twice_is_duplicated_whatever_became_of_it(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    resting = alice.limit(market.yes, "BUY", "0.40", "10")
    order_id = alice.post(resting)[1]["orderID"]
    assert alice.error(resting) == f"order {order_id} is invalid. Duplicated."
    alice.request("DELETE", "/order", {"orderID": order_id})
    assert alice.error(resting) == f"order {order_id} is invalid. Duplicated."
    killed = alice.limit(market.yes, "BUY", "0.30", "10", "FOK")
    assert alice.error(killed).startswith("order couldn't be fully filled")
    assert alice.error(killed).endswith("is invalid. Duplicated.")
    # In one batch the second copy finds the first.
    both = [alice.limit(market.yes, "BUY", "0.20", "10")] * 2
    first, second = leg_errors(alice, both)
    assert first == ""
    assert second.endswith("is invalid. Duplicated.")


def test_refused_order_may_come_again_when_it_is_affordable(
    exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    carol = Trader(exchange, 9)
    entry = carol.limit(market.yes, "BUY", "0.40", "10")
    assert carol.error(entry).startswith("not enough balance / allowance")
    exchange.deposit(carol.address, 10)
    assert carol.post(entry)[0] == 200


@pytest.mark.parametrize(
    ("side", "maker", "taker", "order_type", "kind", "limits"),
    [
        ("BUY", 10_001_000, 20 * M, "FOK", "market buy", (2, 4)),
        ("BUY", 10 * M, 20_000_010, "FAK", "market buy", (2, 4)),
        ("SELL", 10_001_000, 5 * M, "FOK", "sell", (2, 4)),
        ("SELL", 10 * M, 5_000_010, "FAK", "sell", (2, 4)),
        ("BUY", 4_000_010, 10 * M, "GTC", "buy", (4, 2)),
        ("BUY", 4 * M, 10_001_000, "GTC", "buy", (4, 2)),
        ("SELL", 10_001_000, 4 * M, "GTC", "sell", (2, 4)),
        ("SELL", 10 * M, 4_000_010, "GTC", "sell", (2, 4)),
    ],
)
def test_amounts_that_are_too_fine(
    alice: Trader,
    market: paper.PaperMarket,
    side: str,
    maker: int,
    taker: int,
    order_type: str,
    kind: str,
    limits: tuple[int, int],
) -> None:
    error = alice.error(alice.entry(market.yes, side, maker, taker, order_type=order_type))
    assert error == (
        f"invalid amounts, the {kind} orders maker amount supports a max accuracy of {limits[0]} "
        f"decimals, taker amount a max of {limits[1]} decimals"
    )


def test_fine_ticks_have_finer_exact_products(exchange: paper.PaperExchange, alice: Trader) -> None:
    for tick, price in (("0.001", "0.123"), ("0.0001", "0.1234"), ("0.0025", "0.1225")):
        fine = exchange.add_market(f"fine-{tick}", tick_size=tick)
        assert alice.post(alice.limit(fine.yes, "BUY", price, "11.11"))[0] == 200
        # ... but a market order is held to 2 and 4 decimals on every tick
        assert alice.error(alice.limit(fine.yes, "BUY", price, "11.11", "FOK")).startswith(
            "invalid amounts, the market buy orders"
        )


def test_price_off_the_tick(alice: Trader, market: paper.PaperMarket) -> None:
    order_id, _ = "", None
    entry = alice.entry(market.yes, "BUY", 10 * M, 10_200_000)
    order_id, _ = alice.digest_and_signature(entry["order"], Generation.CLOB_V2, neg_risk=False)
    assert alice.error(entry) == (
        f"order {order_id} is invalid. Price (0.9803921568627451) breaks minimum tick size "
        "rule: 0.01"
    )


@pytest.mark.parametrize("order_type", ["GTC", "FOK"])
@pytest.mark.parametrize(("maker", "taker"), [(10 * M, 10 * M), (12 * M, 10 * M)])
def test_price_of_a_dollar_or_more_breaks_the_tick_rule(
    alice: Trader, market: paper.PaperMarket, order_type: str, maker: int, taker: int
) -> None:
    error = alice.error(alice.entry(market.yes, "BUY", maker, taker, order_type=order_type))
    assert error.endswith(f"Price ({maker / taker}) breaks minimum tick size rule: 0.01")


def test_market_order_ratio_need_not_lie_on_the_tick(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, asks=[("0.67", 100)])
    # 10 dollars at 0.67: 14.9253 shares, whose ratio is 0.6700032...
    assert alice.post(alice.entry(market.yes, "BUY", 10 * M, 14_925_300, order_type="FOK"))[1][
        "success"
    ]


def test_proceeds_rounded_to_cents_are_told_what_they_should_be(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.set_position(alice.address, market.yes, 100)
    assert alice.error(alice.entry(market.yes, "SELL", 19_690_000, 4_330_000)) == (
        "invalid amounts, the taker amount for a $0.22 order of size 19.69 should be '4.3318' but "
        "the value submited is '4.33'"
    )


def test_size_below_the_minimum(alice: Trader, market: paper.PaperMarket) -> None:
    entry = alice.limit(market.yes, "BUY", "0.40", "4.99")
    assert alice.error(entry).endswith("is invalid. Size (4.99) lower than the minimum: 5")
    # FOK and FAK are judged by their dollars
    entry = alice.entry(market.yes, "BUY", 1 * M, 2_500_000, order_type="FAK")
    assert alice.error(entry).startswith("no orders found to match with FAK order")


def test_marketable_buy_below_a_dollar(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, asks=[("0.01", 1000)])
    text = "invalid amount for a marketable BUY order ($0.05), min size: $1"
    assert alice.error(alice.limit(market.yes, "BUY", "0.01", "5")) == text
    post_only = alice.limit(market.yes, "BUY", "0.01", "5", outer={"postOnly": True})
    assert alice.error(post_only) == text
    market_order = alice.entry(market.no, "BUY", 990_000, 1_000_000, order_type="FOK")
    assert (
        alice.error(market_order)
        == "invalid amount for a marketable BUY order ($0.99), min size: $1"
    )


def test_small_buy_that_rests_is_fine(alice: Trader, market: paper.PaperMarket) -> None:
    assert alice.post(alice.limit(market.yes, "BUY", "0.01", "5"))[1]["status"] == "live"


def test_post_only_that_crosses(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, asks=[("0.40", 100)])
    entry = alice.limit(market.yes, "BUY", "0.40", "10", outer={"postOnly": True})
    assert alice.error(entry) == "invalid post-only order: order crosses book"
    # BUY NO at 0.60 meets SELL YES at 0.40
    entry = alice.limit(market.no, "SELL", "0.61", "10", outer={"postOnly": True})
    exchange.set_position(alice.address, market.no, 10)
    assert alice.post(entry)[1]["status"] == "live"


def test_fok_and_fak_that_find_too_little(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, asks=[("0.40", 9)])
    fok = alice.limit(market.yes, "BUY", "0.40", "10", "FOK")
    assert (
        alice.error(fok) == "order couldn't be fully filled. FOK orders are fully filled or killed."
    )
    assert exchange.balance(alice.address) == 1000
    _, answer = alice.post(alice.limit(market.yes, "BUY", "0.40", "10", "FAK"))
    assert (answer["status"], answer["takingAmount"]) == ("matched", "9")
    fak = alice.limit(market.yes, "BUY", "0.40", "10", "FAK")
    assert alice.error(fak) == (
        "no orders found to match with FAK order. "
        "FAK orders are partially filled or killed if no match is found."
    )
    assert alice.request("GET", "/data/orders")[1]["data"] == []


def test_recorded_balance_error_is_reproduced(clock: Clock) -> None:
    # Recorded 2026-05-17: post-only BUY of 5 at 0.20 in a crypto market.
    exchange = paper.PaperExchange(clock=clock, settle_at_once=False)
    market = exchange.add_market("crypto", fee_rate="0.07")
    alice, bob = Trader(exchange, 1), Trader(exchange, 2)
    exchange.deposit(alice.address, "1.933630")
    exchange.deposit(bob.address, "100")
    alice.post(alice.limit(market.no, "BUY", "0.21", "5"))
    bob.post(bob.limit(market.yes, "BUY", "0.79", "5"))  # alice's trade is matched, not settled
    entry = alice.limit(market.yes, "BUY", "0.20", "5", outer={"postOnly": True})
    assert alice.error(entry) == (
        "not enough balance / allowance: the balance is not enough -> balance: 1933630, "
        "sum of matched orders: 1050000, order amount (inc. fees): 1056000"
    )


def test_open_orders_count_against_the_balance(
    exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    carol = Trader(exchange, 9)
    exchange.deposit(carol.address, "5")
    assert carol.post(carol.limit(market.yes, "BUY", "0.40", "10"))[0] == 200
    assert carol.error(carol.limit(market.yes, "BUY", "0.10", "10")) == (
        "not enough balance / allowance: the balance is not enough -> balance: 5000000, "
        "sum of active orders: 4000000, order amount (inc. fees): 1063000"
    )


def test_shares_that_are_not_there_cannot_be_sold(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.set_position(alice.address, market.yes, 6)
    assert alice.post(alice.limit(market.yes, "SELL", "0.40", "5"))[0] == 200
    assert alice.error(alice.limit(market.yes, "SELL", "0.40", "5")) == (
        "not enough balance / allowance: the balance is not enough -> balance: 6000000, "
        "sum of active orders: 5000000, order amount (inc. fees): 5000000"
    )


def test_price_improvement_must_not_overdraw_the_fee(
    exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    # At the limit 0.99 the fee of 10 dollars is 0.007; at 0.10 it is 0.63.
    exchange.seed_book(market.yes, asks=[("0.10", 1000)])
    carol = Trader(exchange, 9)
    exchange.deposit(carol.address, "10.1")
    entry = carol.entry(market.yes, "BUY", 10 * M, 10_101_000, order_type="FOK")
    assert carol.error(entry).endswith("order amount (inc. fees): 10630000")
    exchange.deposit(carol.address, "0.53")
    assert carol.post(entry)[0] == 200
    assert exchange.balance(carol.address) == 0
    exchange.audit()


def test_expiration_rules(clock: Clock, alice: Trader, market: paper.PaperMarket) -> None:
    now_s = NOW_MS // 1000

    def gtd(expiration: int, order_type: str = "GTD") -> dict[str, Any]:
        return alice.limit(market.yes, "BUY", "0.40", "10", order_type, expiration=str(expiration))

    assert alice.error(gtd(now_s + 179)) == "invalid expiration"
    assert alice.error(gtd(0)) == "invalid expiration"
    assert alice.error(gtd(now_s + 500, "GTC")) == "invalid expiration"
    order_id = alice.post(gtd(now_s + 180))[1]["orderID"]
    clock.now_ms += 119_999
    assert len(alice.request("GET", "/data/orders")[1]["data"]) == 1
    clock.now_ms += 1  # 60 s before the stated time
    assert alice.request("GET", "/data/orders")[1]["data"] == []
    assert alice.request("GET", f"/data/order/{order_id}")[1]["status"] == "CANCELED"


def test_expired_order_frees_its_money(
    clock: Clock, exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    carol = Trader(exchange, 9)
    exchange.deposit(carol.address, "4.2")
    expiration = str(NOW_MS // 1000 + 180)
    carol.post(carol.limit(market.yes, "BUY", "0.40", "10", "GTD", expiration=expiration))
    clock.now_ms += 120_000
    assert carol.post(carol.limit(market.yes, "BUY", "0.40", "10"))[0] == 200
