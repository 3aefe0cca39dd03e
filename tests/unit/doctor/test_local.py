"""Settings, key, wallets, switches: each fault of a user has its own sentence."""

from typing import Any

import pytest

from polyexec import _impl
from polyexec.config import ExecutorConfig
from polyexec.core.wallets import (
    deposit_wallet,
    deposit_wallet_uups,
    proxy_wallet,
    safe_wallet,
)
from polyexec.doctor import Finding, Verdict, local
from polyexec.doctor.case import Case
from polyexec.doctor.findings import NotPossibleError
from polyexec.enums import SignatureType

KEY = "0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
EOA = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
SAFE, PROXY, DEPOSIT = safe_wallet(EOA), proxy_wallet(EOA), deposit_wallet(EOA)
STRANGER = "0x" + "12" * 20


def case_of(config: ExecutorConfig | None = None, **settings: Any) -> Case:
    config = config or ExecutorConfig(**{"private_key": KEY} | settings)
    return Case(config, url=config.clob_url, ws_url="", ssl_context=None)


def from_env(**variables: str) -> Case:
    return case_of(ExecutorConfig.from_env({"PRIVATE_KEY": KEY} | variables))


def wallet_of(case: Case) -> Finding:
    assert local.check_key(case).verdict is Verdict.OK
    return local.check_wallet(case)


# settings and switches -----------------------------------------------------------------------


def test_settings_name_the_variables_and_no_value() -> None:
    finding = local.check_settings(from_env(REAL_TRADE_SIZE="25"))
    assert finding.summary == "read from PRIVATE_KEY, REAL_TRADE_SIZE"
    assert finding.figures["sources"]["default_size"] == "REAL_TRADE_SIZE"
    assert KEY[2:] not in repr(finding)


def test_a_url_beside_paper_mode_is_a_contradiction() -> None:
    finding = local.check_settings(from_env(EXECUTOR_MODE="paper", CLOB_URL="https://127.0.0.1:1"))
    assert finding.verdict is Verdict.WARNING
    assert finding.advice == "unset one: CLOB_URL, or EXECUTOR_MODE"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "off: every signal is skipped as TradingDisabled until trading_enabled=true"),
        ({"executor_mode": "off"}, "off: executor_mode is off"),
        ({"trading_enabled": True}, "with real money: orders go to https://clob.polymarket.com"),
        (
            {"trading_enabled": True, "clob_url": "https://127.0.0.1:9"},
            "orders go to https://127.0.0.1:9, a server of this machine",
        ),
    ],
)
def test_the_trading_switch_in_words(settings: dict[str, Any], expected: str) -> None:
    assert expected in local.check_trading(case_of(**settings)).summary


def test_the_switch_has_the_name_of_its_variable() -> None:
    assert "REAL_TRADING_ENABLED=true" in local.check_trading(from_env()).summary


def test_real_money_without_limits_is_warned_of() -> None:
    finding = local.check_limits(case_of(trading_enabled=True))
    assert finding.verdict is Verdict.WARNING
    assert "max_group_cost" in finding.advice
    assert local.check_limits(case_of()).verdict is Verdict.OK
    held = local.check_limits(case_of(trading_enabled=True, max_daily_cost=0))
    assert (held.verdict, held.summary) == (Verdict.OK, "max_daily_cost $0")


# key -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "summary", "advice"),
    [
        ("", "private_key is not set", "64 hex digits"),
        ("0x1234", "this text has 4", "export the private key"),
        (EOA, "this text has 40", "looks like an address"),
        ("word " * 12, "must be 64 hex digits", "looks like a seed phrase"),
        (f'"{KEY}"', "must be 64 hex digits", "take the quotes"),
        ("0x" + "0" * 64, "is zero", "export the private key"),
        ("0x" + "f" * 64, "order of the curve", "export the private key"),
    ],
)
def test_a_bad_key_is_explained_and_not_shown(key: str, summary: str, advice: str) -> None:
    case = case_of(private_key=key)
    finding = local.check_key(case)
    assert finding.verdict is Verdict.PROBLEM
    assert summary in finding.summary
    assert advice in finding.advice
    if len(key) > 10:
        assert key not in repr(finding)
    with pytest.raises(NotPossibleError, match="needs a private key"):
        local.check_wallet(case)


def test_a_good_key_signs() -> None:
    finding = local.check_key(case_of())
    assert (finding.verdict, finding.summary) == (Verdict.OK, f"signs as {EOA}")


def test_the_key_of_another_signer_is_told() -> None:
    finding = local.check_key(from_env(SIGNER_ADDRESS=STRANGER))
    assert finding.verdict is Verdict.PROBLEM
    assert finding.summary == (
        f"PRIVATE_KEY is the key of {EOA}, but SIGNER_ADDRESS says {STRANGER}"
    )


# wallets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "funder", "kind"),
    [
        ({}, EOA, SignatureType.EOA),
        ({"proxy_address": EOA}, EOA, SignatureType.EOA),
        ({"proxy_address": PROXY}, PROXY, SignatureType.POLY_PROXY),
        ({"proxy_address": SAFE.lower()}, SAFE, SignatureType.POLY_GNOSIS_SAFE),
        ({"proxy_address": DEPOSIT}, DEPOSIT, SignatureType.POLY_1271),
        (
            {"proxy_address": deposit_wallet_uups(EOA), "signature_type": 3},
            deposit_wallet_uups(EOA),
            SignatureType.POLY_1271,
        ),
        ({"signature_type": 1}, PROXY, SignatureType.POLY_PROXY),
        ({"signature_type": 2}, SAFE, SignatureType.POLY_GNOSIS_SAFE),
    ],
)
def test_a_wallet_that_fits(settings: dict[str, Any], funder: str, kind: SignatureType) -> None:
    case = case_of(**settings)
    finding = wallet_of(case)
    assert finding.verdict is Verdict.OK
    assert finding.summary.startswith(f"trades the money of {funder}")
    assert finding.figures["signature_type"] == kind
    assert (case.account.funder, case.account.signature_type) == (funder, kind)


@pytest.mark.parametrize(
    ("kind", "own", "funder", "real"),
    [(0, EOA, SAFE, 2), (1, PROXY, SAFE, 2), (2, SAFE, DEPOSIT, 3), (2, SAFE, EOA, 0)],
)
def test_a_wrong_signature_type_names_the_right_one(
    kind: int, own: str, funder: str, real: int
) -> None:
    case = from_env(SIGNATURE_TYPE=str(kind), PROXY_ADDRESS=funder)
    finding = wallet_of(case)
    assert finding.verdict is Verdict.PROBLEM
    assert f"signature type {kind} signs for {own}" in finding.summary
    assert f"funder is {funder}" in finding.summary
    assert f"SIGNATURE_TYPE={real}" in finding.advice
    assert f"PROXY_ADDRESS={own}" in finding.advice


@pytest.mark.parametrize("kind", [None, 0, 1, 2])
def test_a_funder_of_another_key_is_told_with_our_own_wallets(kind: int | None) -> None:
    finding = wallet_of(case_of(proxy_address=STRANGER, signature_type=kind))
    assert finding.verdict is Verdict.PROBLEM
    assert f"{STRANGER} is no wallet of this key" in finding.summary
    for wallet in (EOA, PROXY, SAFE, DEPOSIT):
        assert wallet in finding.summary


def test_a_deposit_wallet_of_another_form_cannot_be_judged() -> None:
    case = case_of(proxy_address=STRANGER, signature_type=3)
    assert wallet_of(case).verdict is Verdict.WARNING
    assert case.account.funder == STRANGER


def test_a_deposit_wallet_without_address_has_two_forms() -> None:
    finding = wallet_of(case_of(signature_type=3))
    assert finding.verdict is Verdict.WARNING
    assert DEPOSIT in finding.summary
    assert deposit_wallet_uups(EOA) in finding.summary


def test_a_mistyped_address_is_found_by_its_checksum() -> None:
    swapped = SAFE.swapcase().replace("0X", "0x")
    finding = wallet_of(from_env(PROXY_ADDRESS=swapped))
    assert finding.verdict is Verdict.PROBLEM
    assert "PROXY_ADDRESS" in finding.summary
    assert "checksum" in finding.summary


@pytest.mark.parametrize(
    ("settings", "verdict", "words"),
    [
        ({}, Verdict.OK, f"trades the money of {EOA}"),
        ({"proxy_address": STRANGER}, Verdict.PROBLEM, "cannot be derived on chain 80002"),
        ({"signature_type": 2}, Verdict.PROBLEM, "cannot be derived on chain 80002"),
        (
            {"proxy_address": STRANGER, "signature_type": 2},
            Verdict.WARNING,
            "cannot be derived on chain 80002",
        ),
    ],
)
def test_on_the_test_network_nothing_derives(
    settings: dict[str, Any], verdict: Verdict, words: str
) -> None:
    finding = wallet_of(case_of(chain_id=80002, **settings))
    assert finding.verdict is verdict
    assert words in finding.summary


# installation --------------------------------------------------------------------------------


def test_the_build_is_told() -> None:
    finding = local.check_build(None)
    assert finding.figures["implementation"] == _impl.IMPLEMENTATION
    assert finding.figures["secp256k1"] in finding.summary
    assert finding.verdict is (Verdict.OK if _impl.IMPLEMENTATION == "fast" else Verdict.WARNING)


def test_a_pure_build_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_impl, "IMPLEMENTATION", "pure")
    finding = local.check_build(None)
    assert finding.verdict is Verdict.WARNING
    assert "POLYEXEC_NO_EXTENSIONS" in finding.advice


# what may be shown ---------------------------------------------------------------------------


def test_texts_lose_secrets_and_escapes() -> None:
    case = case_of(
        api_key="k" * 36, api_secret="c2VjcmV0LXNlY3JldA==", api_passphrase="open sesame"
    )
    text = f"\x1b[31m{KEY} c2VjcmV0LXNlY3JldA== open sesame\nend"
    assert case.clean(text) == " [31m0x*** *** *** end"
