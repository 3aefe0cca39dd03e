"""The inputs of every benchmark: three legs of one trade, with nothing left to chance."""

import polyexec as px

# A throwaway key; never fund its address.
PRIVATE_KEY = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
OWNER = "fe0d4178-bd63-47ca-895b-8690daccfce9"
SECRET = "c2VjcmV0LW9mLXRoZS1iZW5jaG1hcmstMzItYnl0ZXMhIQ=="
TIMESTAMP_MS = 1_767_225_600_000
TOKENS = (
    "71321045679252212594626385532706912750332728571942532289631379312455583992563",
    "52114319501245915516055106046884209969926127482827954674443846427813813222426",
    "86150365625267649141094288706504628826631881073820121152097146981939712851801",
)


def orders() -> list[px.Order]:
    """Return three CLOB V2 orders, salt and time fixed: every library signs the same."""
    return [
        px.Order(
            generation=px.Generation.CLOB_V2,
            token_id=px.TokenId(token),
            side=px.Side.BUY,
            maker_micro=3_300_000 + 100_000 * number,
            taker_micro=10_000_000,
            salt=479_249_096_354 + number,
            timestamp_ms=TIMESTAMP_MS,
        )
        for number, token in enumerate(TOKENS)
    ]


def signer() -> px.OrderSigner:
    """Return a signer for an EOA on chain 137."""
    return px.OrderSigner(PRIVATE_KEY, chain_id=137)


def same(name: str, ours: object, theirs: object) -> None:
    """Raise when two libraries disagree: a difference makes the timing meaningless."""
    if ours != theirs:
        raise SystemExit(f"{name}: outputs differ, nothing was timed\n  {ours!r}\n  {theirs!r}")
