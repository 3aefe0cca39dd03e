"""Runs the checks, one after the other; one that breaks hides no other."""

import asyncio
import inspect
import secrets
import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from polyexec.build import build_info
from polyexec.config import ExecutorConfig
from polyexec.core.signer import OrderSigner
from polyexec.doctor import books, connection, local, money
from polyexec.doctor.case import Case
from polyexec.doctor.findings import (
    Diagnosis,
    Finding,
    NotPossibleError,
    Verdict,
    problem,
    warning,
)
from polyexec.errors import ConfigError, PolyexecError, VenueError

__all__ = ["examine", "examine_environment"]

_Found: TypeAlias = Finding | tuple[Finding, ...]
_Check: TypeAlias = Callable[[Case], _Found | Awaitable[_Found]]

_CHECKS: Final[Mapping[str, _Check]] = {
    "settings": local.check_settings,
    "trading": local.check_trading,
    "limits": local.check_limits,
    "key": local.check_key,
    "wallet": local.check_wallet,
    "build": local.check_build,
    "journal": books.check_journal,
    "connection": connection.check_connection,
    "latency": connection.check_latency,
    "clock": connection.check_clock,
    "version": connection.check_version,
    "credentials": money.check_credentials,
    "account": money.check_account,
    "tier": money.check_tier,
    "balance": money.check_money,
    "user channel": money.check_user_channel,
    # Last: by then every answer has been heard.
    "venue mode": money.check_venue_mode,
}


async def examine(config: ExecutorConfig | None = None) -> Diagnosis:
    """Find out what is wrong before money moves. No order is sent or cancelled.

    The exchange is only asked: ``GET`` requests, and the user channel for a moment. API
    credentials are derived but not created.

    Parameters
    ----------
    config : ExecutorConfig or None
        What to examine. ``None``: nothing of yours; an embedded paper exchange, with a throwaway
        key and made-up money, shows that this installation works.

    Returns
    -------
    Diagnosis
        Never an exception for what is found, whatever it is.
    """
    async with AsyncExitStack() as stack:
        case = await _open(config, stack)
        stack.push_async_callback(case.close)
        findings: list[Finding] = []
        for name, check in _CHECKS.items():
            findings += await _run(name, check, case)
    subject = "an embedded paper exchange" if case.is_embedded else case.url
    return Diagnosis(subject=subject, version=_version(), findings=tuple(findings))


def examine_environment(dotenv: str | Path | None = None) -> Diagnosis:
    """Examine the settings of the environment; without any, the embedded paper exchange."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            config = ExecutorConfig.from_env(dotenv=dotenv)
    except ConfigError as error:
        fault = problem("settings", str(error), "correct it and look again: nothing else was read")
        build = local.check_build(None)
        return Diagnosis(subject="unreadable settings", version=_version(), findings=(fault, build))
    diagnosis = asyncio.run(examine(config if config.sources else None))
    remarks = tuple(warning("settings", str(each.message), "write today's word") for each in told)
    return Diagnosis(
        subject=diagnosis.subject,
        version=diagnosis.version,
        findings=remarks + diagnosis.findings,
    )


async def _open(config: ExecutorConfig | None, stack: AsyncExitStack) -> Case:
    is_sample = config is None
    if config is None:
        config = ExecutorConfig("0x" + secrets.token_hex(32), executor_mode="paper")
    if config.executor_mode != "paper":
        return Case(
            config, url=config.clob_url, ws_url=config.channels_url, ssl_context=config.ssl_context
        )
    from polyexec.paper import PaperExchange  # noqa: PLC0415  loads half of cryptography

    exchange = await stack.enter_async_context(PaperExchange(chain_id=config.chain_id))
    try:
        # As an executor does it: nobody has to create credentials on a paper exchange.
        exchange.credentials(config.private_key.reveal())
    except PolyexecError:
        pass  # the check of the key says what is wrong with it
    if is_sample:
        exchange.deposit(OrderSigner(config.private_key.reveal()).address, 1000)
    return Case(
        config,
        url=exchange.url,
        ws_url=exchange.ws_url,
        ssl_context=exchange.ssl_context,
        is_embedded=True,
        is_sample=is_sample,
    )


async def _run(name: str, check: _Check, case: Case) -> tuple[Finding, ...]:
    try:
        found = check(case)
        if inspect.isawaitable(found):
            found = await found
    except NotPossibleError as error:
        found = Finding(check=name, verdict=Verdict.SKIPPED, summary=str(error))
    except VenueError as error:
        found = money.refused(name, error)
    except PolyexecError as error:
        found = problem(name, str(error), "look at what comes before it, and try again")
    except Exception as error:
        # Its text is not shown: nobody knows what it holds.
        found = problem(
            name,
            f"the check itself failed with {type(error).__name__}",
            "please report it; the other checks are not touched by it",
        )
    return tuple(_clean(case, each) for each in (found if isinstance(found, tuple) else (found,)))


def _clean(case: Case, finding: Finding) -> Finding:
    figures = {
        name: case.clean(figure) if isinstance(figure, str) else figure
        for name, figure in finding.figures.items()
    }
    return msgspec.structs.replace(
        finding,
        summary=case.clean(finding.summary),
        advice=case.clean(finding.advice),
        figures=figures,
    )


def _version() -> str:
    return str(build_info()["version"])
