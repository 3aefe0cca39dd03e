"""The doctor against a paper exchange over real TLS: every fault has its own sentence."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from polyexec.config import ExecutorConfig
from polyexec.constants import EXCHANGES
from polyexec.core.signer import OrderSigner
from polyexec.core.wallets import safe_wallet
from polyexec.doctor import Diagnosis, Verdict, examination, examine
from polyexec.doctor.case import Case
from polyexec.enums import Generation, SignatureType, VenueMode
from polyexec.paper import PaperExchange, Request, Response, json_response

KEY = "0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
OTHER_KEY = "0x" + "51" * 32
EOA = OrderSigner(KEY).address
SAFE = safe_wallet(EOA)
NETWORK = ("latency", "clock", "version", "credentials", "account", "tier", "balance")
V2 = EXCHANGES[137, Generation.CLOB_V2, False]
UNLIMITED = str(2**256 - 1)


@pytest.fixture
async def exchange() -> AsyncIterator[PaperExchange]:
    async with PaperExchange() as exchange:
        exchange.deposit(EOA, 100)
        yield exchange


def settings(exchange: PaperExchange, **changes: Any) -> ExecutorConfig:
    given = {
        "private_key": KEY,
        "clob_url": exchange.url,
        "ssl_context": exchange.ssl_context,
        "user_channel": True,
        "post_timeout_s": 5.0,
    }
    return ExecutorConfig(**given | changes)


def with_keys(exchange: PaperExchange, key: str = KEY, **changes: Any) -> ExecutorConfig:
    made = exchange.credentials(key)
    given = {
        "api_key": made.api_key,
        "api_secret": made.secret,
        "api_passphrase": made.passphrase,
    }
    return settings(exchange, **given | changes)


def verdicts(diagnosis: Diagnosis) -> dict[str, str]:
    return {finding.check: str(finding.verdict) for finding in diagnosis.findings}


def answer_with(
    **answers: Response | Callable[[Request], Response],
) -> Callable[[Request], Awaitable[Response | None]]:
    """Return a hook: the last part of a path, with underscores -> the answer."""

    async def hook(request: Request) -> Response | None:
        answer = answers.get(request.path.rpartition("/")[2].replace("-", "_"))
        return answer(request) if callable(answer) else answer

    return hook


# well ----------------------------------------------------------------------------------------


async def test_without_settings_it_runs_on_an_exchange_of_its_own() -> None:
    diagnosis = await examine()
    assert diagnosis.is_well, str(diagnosis)
    assert "throwaway key" in diagnosis["settings"].summary
    assert "$1000" in diagnosis["balance"].summary
    skipped = {name for name, verdict in verdicts(diagnosis).items() if verdict == "skipped"}
    assert skipped == {"journal", "venue mode"}


async def test_a_sound_account_is_well_and_is_only_asked(exchange: PaperExchange) -> None:
    config = with_keys(exchange)
    asked: list[str] = []

    async def note(request: Request) -> None:
        asked.append(request.method)

    exchange.on_request = note
    diagnosis = await examine(config)
    assert diagnosis.is_well, str(diagnosis)
    # A build without compiled functions is warned of.
    assert set((verdicts(diagnosis) | {"build": "ok"}).values()) == {"ok", "skipped"}
    assert set(asked) == {"GET"}
    assert diagnosis["connection"].figures.keys() == {"dns_ms", "tcp_ms", "tls_ms"}
    assert diagnosis["latency"].figures["median_ms"] <= diagnosis["latency"].figures["p95_ms"]
    assert diagnosis["user channel"].verdict is Verdict.OK


async def test_paper_mode_is_told_to_be_empty() -> None:
    diagnosis = await examine(ExecutorConfig(KEY, executor_mode="paper"))
    assert diagnosis.is_well
    assert diagnosis["balance"].verdict is Verdict.WARNING
    assert "executor.exchange.deposit" in diagnosis["balance"].advice


async def test_real_credentials_are_no_matter_in_paper_mode(exchange: PaperExchange) -> None:
    diagnosis = await examine(with_keys(exchange, executor_mode="paper"))
    assert "derives from the private key" in diagnosis["credentials"].summary
    assert diagnosis.is_well, str(diagnosis)


async def test_mode_off_connects_to_nothing(exchange: PaperExchange) -> None:
    diagnosis = await examine(settings(exchange, executor_mode="off"))
    assert exchange.request_count == 0
    assert {diagnosis[name].verdict for name in NETWORK} == {Verdict.SKIPPED}
    assert diagnosis.is_well


async def test_a_wallet_without_api_key_is_not_given_one(exchange: PaperExchange) -> None:
    diagnosis = await examine(settings(exchange))
    assert diagnosis.is_well
    assert "has no API key yet" in diagnosis["credentials"].summary
    assert diagnosis["balance"].verdict is Verdict.SKIPPED
    again = await examine(settings(exchange))
    assert "has no API key yet" in again["credentials"].summary


async def test_without_credentials_they_are_derived(exchange: PaperExchange) -> None:
    exchange.credentials(KEY)
    diagnosis = await examine(settings(exchange))
    assert "derives from the private key" in diagnosis["credentials"].summary
    assert diagnosis["balance"].verdict is Verdict.OK


# wallets -------------------------------------------------------------------------------------


async def test_a_wrong_signature_type(exchange: PaperExchange) -> None:
    config = with_keys(exchange, proxy_address=SAFE, signature_type=0)
    diagnosis = await examine(config)
    assert diagnosis["wallet"].verdict is Verdict.PROBLEM
    assert "signature_type=2" in diagnosis["wallet"].advice
    # What does not hang on it is still looked at.
    assert diagnosis["latency"].verdict is diagnosis["credentials"].verdict is Verdict.OK
    assert diagnosis["tier"].verdict is diagnosis["account"].verdict is Verdict.OK
    assert diagnosis["balance"].verdict is Verdict.SKIPPED


async def test_a_funder_of_somebody_else(exchange: PaperExchange) -> None:
    diagnosis = await examine(with_keys(exchange, proxy_address="0x" + "12" * 20))
    assert "is no wallet of this key" in diagnosis["wallet"].summary
    assert not diagnosis.is_well


async def test_money_in_another_wallet_of_the_key_is_found() -> None:
    async with PaperExchange() as exchange:
        exchange.deposit(SAFE, "12.5", owner=EOA, signature_type=SignatureType.POLY_GNOSIS_SAFE)
        diagnosis = await examine(with_keys(exchange))
        finding = diagnosis["balance"]
        assert finding.verdict is Verdict.PROBLEM
        assert "$12.5 in the Safe of the same key" in finding.summary
        assert "signature_type=2" in finding.advice
        assert finding.figures["elsewhere_micro"] == {2: 12_500_000}
        mended = await examine(with_keys(exchange, proxy_address=SAFE))
        assert mended["balance"].verdict is Verdict.OK


async def test_no_money_anywhere_is_a_warning() -> None:
    async with PaperExchange() as exchange:
        finding = (await examine(with_keys(exchange)))["balance"]
        assert finding.verdict is Verdict.WARNING
        assert "nothing in" in finding.summary


# credentials ---------------------------------------------------------------------------------


async def test_a_revoked_api_key(exchange: PaperExchange) -> None:
    config = with_keys(exchange)
    accounts = exchange._exchange.accounts
    accounts.delete(accounts.derive(EOA.lower(), 0))
    finding = (await examine(config))["credentials"]
    assert finding.verdict is Verdict.PROBLEM
    assert f"{EOA} has none: it was revoked, or belongs to another account" in finding.summary
    assert "unset api_key, api_secret and api_passphrase" in finding.advice


async def test_an_api_key_of_another_account(exchange: PaperExchange) -> None:
    own = exchange.credentials(KEY)
    finding = (await examine(with_keys(exchange, OTHER_KEY)))["credentials"]
    assert finding.verdict is Verdict.PROBLEM
    assert f"that of {EOA} is {own.api_key[:4]}..." in finding.summary


async def test_a_wrong_secret(exchange: PaperExchange) -> None:
    config = with_keys(exchange, api_secret="AAAAAAAAAAAAAAAAAAAAAA==")
    finding = (await examine(config))["credentials"]
    assert finding.verdict is Verdict.PROBLEM
    assert "its secret or passphrase is wrong" in finding.summary


async def test_a_secret_that_is_no_base64(exchange: PaperExchange) -> None:
    finding = (await examine(with_keys(exchange, api_secret="no base64!")))["credentials"]
    assert finding.verdict is Verdict.PROBLEM
    assert "not base64" in finding.summary


async def test_another_chain_is_refused_by_the_exchange(exchange: PaperExchange) -> None:
    exchange.credentials(KEY)
    finding = (await examine(settings(exchange, chain_id=80002)))["credentials"]
    assert finding.verdict is Verdict.PROBLEM
    assert "chain_id=80002" in finding.advice


async def test_a_region_that_is_not_served(exchange: PaperExchange) -> None:
    blocked = json_response({"error": "Trading restricted in your region"}, 403)
    exchange.on_request = answer_with(api_keys=blocked)
    finding = (await examine(with_keys(exchange)))["credentials"]
    assert finding.verdict is Verdict.PROBLEM
    assert "Trading restricted in your region" in finding.summary
    assert "nothing can be sent from here" in finding.advice


# the account ---------------------------------------------------------------------------------


def money(balance: int, **allowances: str) -> Response:
    return json_response({"balance": str(balance), "allowances": allowances})


def spenders(**changes: str) -> dict[str, str]:
    slots = [
        (Generation.CLOB_V2, False),
        (Generation.CLOB_V2, True),
        (Generation.EXCHANGE_V3, False),
    ]
    return {EXCHANGES[(137, *slot)]: UNLIMITED for slot in slots} | changes


async def test_a_zero_allowance_names_the_contract(exchange: PaperExchange) -> None:
    exchange.on_request = answer_with(balance_allowance=money(5_000_000, **spenders(**{V2: "0"})))
    diagnosis = await examine(with_keys(exchange))
    finding = diagnosis["allowance"]
    assert finding.verdict is Verdict.PROBLEM
    assert f"CLOB V2 exchange {V2} spend nothing" in finding.summary
    assert "neg-risk" not in finding.summary
    assert finding.figures[f"CLOB V2 exchange {V2}"] == 0
    assert diagnosis["balance"].verdict is Verdict.OK


async def test_an_allowance_below_the_balance(exchange: PaperExchange) -> None:
    answer = money(5_000_000, **spenders(**{V2: "1500000"}))
    exchange.on_request = answer_with(balance_allowance=answer)
    finding = (await examine(with_keys(exchange)))["allowance"]
    assert finding.verdict is Verdict.WARNING
    assert f"CLOB V2 exchange {V2} spend $1.5" in finding.summary


async def test_an_allowance_that_is_not_told(exchange: PaperExchange) -> None:
    told = spenders()
    del told[V2]
    exchange.on_request = answer_with(balance_allowance=money(5_000_000, **told))
    finding = (await examine(with_keys(exchange)))["allowance"]
    assert finding.verdict is Verdict.WARNING
    assert f"does not say what CLOB V2 exchange {V2} may spend" in finding.summary


async def test_a_stale_figure_is_asked_for_again(exchange: PaperExchange) -> None:
    fresh = False

    def update(_: Request) -> Response:
        nonlocal fresh
        fresh = True
        return json_response("")

    def balance(_: Request) -> Response:
        return money(7_000_000 if fresh else 0, **spenders())

    exchange.on_request = answer_with(update=update, balance_allowance=balance)
    finding = (await examine(with_keys(exchange)))["balance"]
    assert finding.verdict is Verdict.OK
    assert finding.summary.startswith("$7 in")
    assert "has looked again" in finding.summary


async def test_a_closed_only_account(exchange: PaperExchange) -> None:
    exchange.on_request = answer_with(closed_only=json_response({"closed_only": True}))
    finding = (await examine(with_keys(exchange)))["account"]
    assert finding.verdict is Verdict.PROBLEM
    assert "closed-only" in finding.summary


async def test_the_tier_comes_with_its_rates(exchange: PaperExchange) -> None:
    exchange.set_rate_limits(orders=(200, 300), cancels=(400, 600), tier="Silver")
    finding = (await examine(with_keys(exchange)))["tier"]
    assert finding.summary == "Silver: 200 orders/s (burst 300), 400 cancels/s (burst 600)"


async def test_a_version_that_is_not_known(exchange: PaperExchange) -> None:
    exchange.on_request = answer_with(version=json_response({"version": 9}))
    finding = (await examine(with_keys(exchange)))["version"]
    assert finding.verdict is Verdict.PROBLEM
    assert "version 9" in finding.summary


async def test_a_mode_that_only_orders_meet_is_not_called_fine(exchange: PaperExchange) -> None:
    exchange.set_mode(VenueMode.CANCEL_ONLY)
    finding = (await examine(with_keys(exchange)))["venue mode"]
    assert finding.verdict is Verdict.SKIPPED
    assert "only an order finds out" in finding.summary


@pytest.mark.parametrize(
    ("status", "text", "mode"),
    [
        (503, "Trading is currently cancel-only.", VenueMode.CANCEL_ONLY),
        (503, "Trading is currently disabled.", VenueMode.DISABLED),
        (425, "Too Early: the matching engine is restarting", VenueMode.RESTARTING),
    ],
)
async def test_a_mode_that_an_answer_tells_of(
    exchange: PaperExchange, status: int, text: str, mode: VenueMode
) -> None:
    exchange.on_request = answer_with(closed_only=json_response({"error": text}, status))
    diagnosis = await examine(with_keys(exchange))
    assert diagnosis["account"].verdict is Verdict.PROBLEM
    assert diagnosis["venue mode"].verdict is Verdict.PROBLEM
    assert diagnosis["venue mode"].figures["mode"] == mode
    assert diagnosis["balance"].verdict is Verdict.OK


async def test_credentials_that_the_user_channel_does_not_take(exchange: PaperExchange) -> None:
    config = with_keys(exchange)
    exchange.channels.check_key = lambda _: None  # type: ignore[method-assign]
    finding = (await examine(config))["user channel"]
    assert finding.verdict is Verdict.PROBLEM
    assert "credentials were not taken" in finding.summary


async def test_a_user_channel_that_nobody_asked_for(exchange: PaperExchange) -> None:
    for given, words in (
        (False, "switched off by user_channel"),
        (None, "servers of this machine"),
    ):
        finding = (await examine(with_keys(exchange, user_channel=given)))["user channel"]
        assert finding.verdict is Verdict.SKIPPED
        assert words in finding.summary


# clock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("off_s", "words"), [(5, "behind"), (-5, "ahead of")])
async def test_a_clock_that_is_off(off_s: int, words: str) -> None:
    def skewed_ms() -> int:
        return time.time_ns() // 1_000_000 + off_s * 1000

    async with PaperExchange(clock=skewed_ms, auth_window_s=2) as exchange:
        exchange.deposit(EOA, 100)
        diagnosis = await examine(with_keys(exchange))
        finding = diagnosis["clock"]
        assert finding.verdict is Verdict.PROBLEM
        assert f"{words} the exchange's" in finding.summary
        low, high = finding.figures["least_offset_s"], finding.figures["greatest_offset_s"]
        assert low <= off_s <= high
        assert high - low <= 1.5
        # Requests are signed with the exchange's time, so the rest can be examined all the same.
        assert diagnosis["balance"].verdict is Verdict.OK


async def test_an_exchange_that_does_not_tell_the_time(exchange: PaperExchange) -> None:
    exchange.on_request = answer_with(time=json_response({"error": "no"}, 404))
    finding = (await examine(with_keys(exchange)))["clock"]
    assert finding.verdict is Verdict.WARNING


# the way there -------------------------------------------------------------------------------


def assert_not_reached(diagnosis: Diagnosis, words: str) -> None:
    assert diagnosis["connection"].verdict is Verdict.PROBLEM
    assert words in diagnosis["connection"].summary
    assert {diagnosis[name].verdict for name in NETWORK} == {Verdict.SKIPPED}
    assert diagnosis["wallet"].verdict is Verdict.OK


async def test_a_port_where_nobody_listens(exchange: PaperExchange) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{bound.getsockname()[1]}"
        diagnosis = await examine(settings(exchange, clob_url=url))
    assert_not_reached(diagnosis, "Connection refused")
    assert "clob_url" in diagnosis["connection"].advice


async def test_a_certificate_that_is_not_trusted(exchange: PaperExchange) -> None:
    diagnosis = await examine(settings(exchange, ssl_context=None))
    assert_not_reached(diagnosis, "is not trusted")
    assert "SSL_CERT_FILE" in diagnosis["connection"].advice


async def test_a_certificate_for_another_host() -> None:
    async with PaperExchange() as exchange, PaperExchange() as other:
        diagnosis = await examine(settings(exchange, ssl_context=other.ssl_context))
    assert_not_reached(diagnosis, "is not trusted")


async def test_a_name_without_address(exchange: PaperExchange) -> None:
    url = "https://no-such-host.invalid"
    diagnosis = await examine(settings(exchange, clob_url=url, user_channel=False))
    assert_not_reached(diagnosis, "no-such-host.invalid cannot be looked up")


async def test_a_server_that_hangs_up(exchange: PaperExchange) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        diagnosis = await examine(settings(exchange, clob_url=url))
    assert diagnosis["connection"].verdict is Verdict.PROBLEM


async def test_a_server_that_says_nothing(exchange: PaperExchange) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        diagnosis = await examine(settings(exchange, clob_url=url, post_timeout_s=0.2))
    assert_not_reached(diagnosis, "the TLS handshake of")


async def test_a_server_without_http2(exchange: PaperExchange) -> None:
    context = exchange._server_context()
    context.set_alpn_protocols(["http/1.1"])
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        diagnosis = await examine(settings(exchange, clob_url=url))
    assert diagnosis["connection"].verdict is Verdict.PROBLEM
    assert "does not speak HTTP/2" in diagnosis["connection"].summary


# the examination itself ----------------------------------------------------------------------


async def test_a_broken_check_hides_no_other(
    exchange: PaperExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Case) -> Any:
        raise RuntimeError(f"holds {KEY}")

    monkeypatch.setitem(examination._CHECKS, "build", broken)  # type: ignore[arg-type]
    diagnosis = await examine(with_keys(exchange))
    assert diagnosis["build"].verdict is Verdict.PROBLEM
    assert diagnosis["build"].summary == "the check itself failed with RuntimeError"
    assert diagnosis["user channel"].verdict is Verdict.OK


async def test_secrets_are_never_told_even_when_the_exchange_sends_them_back(
    exchange: PaperExchange,
) -> None:
    config = with_keys(exchange)
    secrets = [config.api_secret.reveal(), config.api_passphrase.reveal(), KEY[2:]]

    def echo(_: Request) -> Response:
        return json_response({"error": f"no \x1b[2J {' '.join(secrets)}"}, 500)

    exchange.on_request = answer_with(
        closed_only=echo, balance_allowance=echo, api_keys=echo, derive_api_key=echo
    )
    given = await examine(config)
    exchange.on_request = answer_with(closed_only=echo, balance_allowance=echo)
    derived = await examine(settings(exchange))
    for diagnosis in (given, derived):
        for text in (str(diagnosis), diagnosis.to_json(), repr(diagnosis)):
            assert [secret for secret in secrets if secret in text] == []
            assert "\x1b" not in text
            assert "***" in text


async def test_bad_bytes_are_findings(exchange: PaperExchange) -> None:
    odd = Response(200, b"\xff<html>", {})
    exchange.on_request = answer_with(version=odd, api_keys=odd, derive_api_key=odd, time=odd)
    diagnosis = await examine(with_keys(exchange))
    assert diagnosis["version"].verdict is Verdict.PROBLEM
    assert diagnosis["credentials"].verdict is Verdict.PROBLEM
    assert "check itself failed" not in str(diagnosis)
