"""Replay recorded books: what would have traded, with the live code and a virtual clock."""

import json
import tempfile
from pathlib import Path

import polyexec as px

START_MS = 1_790_000_000_000
ABOVE, BELOW = px.TokenId("1001"), px.TokenId("2001")
ABOVE_NO, BELOW_NO = px.TokenId("1002"), px.TokenId("2002")


def record(path: Path) -> None:
    """Write what ``polyexec record`` would have heard: a book each second, one price moving."""
    lines = []
    for second, ask in enumerate(["0.55", "0.53", "0.50", "0.50", "0.54"]):
        for token, price in ((ABOVE, "0.46"), (BELOW, ask)):
            frame = {
                "event_type": "book",
                "asset_id": token,
                "timestamp": str(START_MS + 1000 * second),
                "tick_size": "0.01",
                "bids": [],
                "asks": [{"price": price, "size": "40"}],
            }
            lines.append(json.dumps(frame))
    path.write_text("\n".join(lines) + "\n")


def leg(token: px.TokenId, complement: px.TokenId, slug: str) -> px.FormLeg:
    market = px.Market(
        token_id=token,
        condition_id=px.ConditionId("0x" + "00" * 32),
        tick_e4=100,
        min_order_size_micro=5_000_000,
        neg_risk=False,
        generation=px.Generation.CLOB_V2,
        fee_rate_micro=20_000,
        market_slug=slug,
    )
    return px.FormLeg(market=market, side=px.Side.BUY, complement_token_id=complement)


def main() -> None:
    # A share of each is worth a dollar, whatever happens.
    form = px.Form(
        legs=(leg(ABOVE, ABOVE_NO, "btc-above-100k"), leg(BELOW, BELOW_NO, "btc-below-100k")),
        payout=1,
        outcomes=((1, 0), (0, 1)),
    )
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, "books.jsonl")
        record(recording)
        report = px.backtest.run(
            None,
            px.backtest.open_source(recording),
            forms=[form],
            config={"order_type": "FOK", "default_size": 10, "opportunity_timeout_ms": 500},
            latency_ms=(20, 20),
        )
    print(report)
    for row in report.legs:
        print(f"trade {row.trade}: {row.side} at {row.price_e4 / 10_000:.2f} {row.state}")


if __name__ == "__main__":
    main()
