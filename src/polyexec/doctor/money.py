"""Checks of the account at the exchange. All of them only ask; none sends or cancels an order."""

from collections.abc import Mapping
from typing import Final

from polyexec.clob.limits import TIERS
from polyexec.clob.user_channel import UserChannel
from polyexec.clob.wire import BalanceAllowance
from polyexec.constants import EXCHANGES
from polyexec.core.auth import ApiCredentials
from polyexec.core.ports import OrderStatus
from polyexec.doctor.case import Case, call_it
from polyexec.doctor.findings import Finding, NotPossibleError, ok, problem, warning
from polyexec.enums import Generation, SignatureType
from polyexec.errors import AuthError, ConfigError, NotSentError, VenueError
from polyexec.numbers import from_micro

__all__ = [
    "check_account",
    "check_credentials",
    "check_money",
    "check_tier",
    "check_user_channel",
    "check_venue_mode",
    "refused",
]

_SPENDERS: Final = {
    (Generation.CLOB_V2, False): "CLOB V2 exchange",
    (Generation.CLOB_V2, True): "CLOB V2 neg-risk exchange",
    (Generation.EXCHANGE_V3, False): "ExchangeV3",
}
_MAX_INT64: Final = 2**63 - 1
_SHOWN: Final = 4
_FORBIDDEN: Final = 403


def refused(check: str, error: VenueError) -> Finding:
    """Return the finding of an answer that refuses, other than for the credentials."""
    if error.status == _FORBIDDEN:
        return problem(
            check,
            f"the exchange refuses this machine's address: {error}",
            "it does not serve your region, or not this data centre; nothing can be sent from here",
        )
    return problem(check, f"the exchange answered {error}", "wait a little and look again")


async def check_credentials(case: Case) -> Finding:
    """Find out whether the API credentials work and are this key's."""
    address = case.need_key()
    _ = case.transport
    config = case.config
    if case.is_embedded or not config.has_credentials:
        return await _derived(case)  # on paper an executor does not use those of the settings
    try:
        given = ApiCredentials(
            config.api_key.reveal(), config.api_secret.reveal(), config.api_passphrase.reveal()
        )
    except ConfigError as error:
        return problem("credentials", str(error), f"copy {case.name('api_secret')} once more")
    async with case.client(credentials=given) as client:
        try:
            with case.noting_the_mode():
                keys = await client.api_keys()
        except AuthError as error:
            if error.status == _FORBIDDEN:
                raise
            return await _why_not(case, given)
    case.credentials = given
    return ok(
        "credentials",
        f"API key {_masked(given.api_key)} is one of {len(keys)} of {address}",
        api_keys=len(keys),
    )


async def _derived(case: Case) -> Finding:
    try:
        found = await _derive(case)
    except AuthError as error:
        if error.status == _FORBIDDEN:
            raise
        return problem(
            "credentials",
            f"the exchange does not take the key's own signature: {error}",
            "look at the clock, and whether "
            f"{case.set_to('chain_id', case.config.chain_id)} is this exchange's",
        )
    if found is None:
        return ok(
            "credentials",
            f"{case.address} has no API key yet: an executor creates one when it opens",
        )
    case.credentials = found
    return ok("credentials", f"API key {_masked(found.api_key)} derives from the private key")


async def _derive(case: Case) -> ApiCredentials | None:
    """Return the credentials of the key, None when it has none."""
    async with case.client() as client:
        try:
            with case.noting_the_mode():
                return await client.derive_api_key(case.config.private_key.reveal())
        except VenueError as error:
            if error.status == 400:
                return None
            raise


async def _why_not(case: Case, given: ApiCredentials) -> Finding:
    """Return why credentials that were given are not taken, by what the key itself derives."""
    names = f"{case.name('api_key')}, {case.name('api_secret')} and {case.name('api_passphrase')}"
    unset = f"unset {names}: they are then derived from the private key"
    shown = _masked(given.api_key)
    try:
        found = await _derive(case)
    except AuthError:
        return problem(
            "credentials",
            f"the exchange takes neither API key {shown} nor the private key's own signature",
            "look at the clock first: a wrong one spoils both",
        )
    if found is None:
        return problem(
            "credentials",
            f"API key {shown} is refused, and {case.address} has none: it was revoked, or belongs "
            "to another account",
            unset,
        )
    case.credentials = found
    if found.api_key == given.api_key:
        return problem(
            "credentials",
            f"API key {shown} belongs to {case.address}, but its secret or passphrase is wrong",
            f"copy both once more, or {unset}",
        )
    return problem(
        "credentials",
        f"API key {shown} is refused; that of {case.address} is {_masked(found.api_key)}: the one "
        "that is set was revoked, or belongs to another account",
        unset,
    )


async def check_account(case: Case) -> Finding:
    """Ask whether the account may only reduce its positions."""
    async with case.client(credentials=case.credentials) as client:
        with case.noting_the_mode():
            closed_only = await client.closed_only()
    if closed_only:
        return problem(
            "account",
            "closed-only: the exchange lets this account reduce its positions and refuses all else",
            "ask the exchange's support",
            closed_only=True,
        )
    return ok("account", "may open positions", closed_only=False)


async def check_tier(case: Case) -> Finding:
    """Ask for the signer's rate limits."""
    async with case.client(credentials=case.credentials) as client:
        with case.noting_the_mode():
            tier = await client.rate_limit_tier()
    rates = TIERS.get(tier.lower())
    if rates is None:
        return ok("tier", f"{tier}, whose rates are not known: counted as standard", tier=tier)
    orders, orders_burst, cancels, cancels_burst = rates
    return ok(
        "tier",
        f"{tier}: {orders} orders/s (burst {orders_burst}), {cancels} cancels/s "
        f"(burst {cancels_burst})",
        tier=tier,
        orders_per_s=orders,
        cancels_per_s=cancels,
    )


async def check_money(case: Case) -> tuple[Finding, ...]:
    """Read the balance, and what the exchange's contracts may spend of it."""
    async with case.account_client() as client:
        with case.noting_the_mode():
            held = await client.balance_allowance()
            was_stale = False
            if not held.balance_micro or _without_allowance(case, held):
                # After a deposit or an approval the exchange's cache may not have looked again.
                await client.update_balance_allowance()
                before, held = held, await client.balance_allowance()
                was_stale = before != held
    return (
        await _balance(case, held, was_stale=was_stale),
        _allowance(case, held, was_stale=was_stale),
    )


async def _balance(case: Case, held: BalanceAllowance, *, was_stale: bool) -> Finding:
    account = case.account
    figures = {"balance_micro": held.balance_micro, "signature_type": int(account.signature_type)}
    whose = f"{account.funder}, {call_it(account.signature_type)}"
    if held.balance_micro:
        stale = "; the exchange had an older figure and has looked again" if was_stale else ""
        return ok("balance", f"${from_micro(held.balance_micro)} in {whose}{stale}", **figures)
    elsewhere = await _money_elsewhere(case)
    if elsewhere:
        kind, micro = max(elsewhere.items(), key=lambda item: item[1])
        return problem(
            "balance",
            f"nothing in {whose}; but ${from_micro(micro)} in {call_it(kind)} of the same key",
            f"set {case.set_to('signature_type', int(kind))}, and {case.name('proxy_address')} to "
            "the address of that wallet",
            **figures,
            elsewhere_micro={int(kind): micro for kind, micro in elsewhere.items()},
        )
    if case.is_embedded:
        advice = "a fresh paper exchange is empty: executor.exchange.deposit(address, amount)"
    else:
        advice = "deposit, or check that this is the wallet that you deposited to"
    return warning("balance", f"nothing in {whose}", advice, **figures)


async def _money_elsewhere(case: Case) -> Mapping[SignatureType, int]:
    """Return the balances of the key's other wallets that hold something."""
    found = {}
    for kind in SignatureType:
        if kind is not case.account.signature_type:
            async with case.account_client(kind) as client:
                try:
                    balance = await client.balance_allowance()
                except VenueError:
                    continue  # not every exchange knows every kind of wallet
            if balance.balance_micro:
                found[kind] = balance.balance_micro
    return found


def _spenders(case: Case) -> dict[str, str]:
    """Return the contracts that settle orders: address -> name."""
    chain = case.config.chain_id
    return {EXCHANGES[(chain, *slot)]: name for slot, name in _SPENDERS.items()}


def _allowances(held: BalanceAllowance) -> dict[str, int]:
    return {spender.lower(): micro for spender, micro in held.allowances.items()}


def _without_allowance(case: Case, held: BalanceAllowance) -> list[str]:
    told = _allowances(held)
    return [spender for spender in _spenders(case) if told.get(spender.lower()) == 0]


def _allowance(case: Case, held: BalanceAllowance, *, was_stale: bool) -> Finding:
    told = _allowances(held)
    names = _spenders(case)
    figures = {
        f"{name} {spender}": _figure(told.get(spender.lower())) for spender, name in names.items()
    }
    none = _without_allowance(case, held)
    missing = [spender for spender in names if spender.lower() not in told]
    low = [s for s in names if 0 < told.get(s.lower(), 0) < held.balance_micro]
    if none:
        listed = ", ".join(f"{names[spender]} {spender}" for spender in none)
        return problem(
            "allowance",
            f"{call_it(case.account.signature_type)} lets {listed} spend nothing: orders of its "
            "markets are refused with 'not enough balance / allowance'",
            "approve it: trade once by hand on the site, or send the approvals yourself",
            **figures,
        )
    if low:
        listed = ", ".join(f"{names[s]} {s} spend ${from_micro(told[s.lower()])}" for s in low)
        return warning(
            "allowance",
            f"less than the balance: {call_it(case.account.signature_type)} lets {listed}",
            "approve more, or orders beyond it are refused",
            **figures,
        )
    if missing:
        listed = ", ".join(f"{names[spender]} {spender}" for spender in missing)
        return warning(
            "allowance",
            f"the exchange does not say what {listed} may spend",
            "send a small order to a market of that kind first",
            **figures,
        )
    stale = "; the exchange had older figures and has looked again" if was_stale else ""
    return ok("allowance", f"covers the balance for {', '.join(names.values())}{stale}", **figures)


def _figure(micro: int | None) -> int | str | None:
    return "unlimited" if micro == _MAX_INT64 else micro


async def check_venue_mode(case: Case) -> Finding:
    """Say what the exchange accepts, if an answer has told."""
    _ = case.transport
    if case.mode is None:
        raise NotPossibleError(
            "no answer told; whether orders are taken now only an order finds out, and none is sent"
        )
    return problem(
        "venue mode",
        f"the exchange is {case.mode}: it does not take orders",
        "wait; an executor that is open does so by itself",
        mode=str(case.mode),
    )


async def check_user_channel(case: Case) -> Finding:
    """Connect to the user channel and hand over the credentials."""
    config = case.config
    if config.user_channel is False:
        raise NotPossibleError(f"switched off by {case.name('user_channel')}")
    if not case.ws_url:
        raise NotPossibleError(
            f"no {case.name('ws_url')} is set, and none is known of {case.url}; fills are asked for"
        )
    if config.user_channel is None and config.is_loopback and not case.is_embedded:
        switch = case.set_to("user_channel", True)
        raise NotPossibleError(f"not listened to on servers of this machine, unless {switch}")
    channel = UserChannel(
        case.ws_url,
        credentials=case.credentials,
        events=_Deaf(),
        ssl_context=case.ssl_context,
        connect_timeout_s=case.timeout_s,
    )
    try:
        await channel.check()
    except NotSentError as error:
        return problem(
            "user channel",
            str(error),
            f"check {case.name('ws_url')}; without the channel fills are only asked for, every "
            f"{config.follow_interval_s:g} s",
        )
    return ok("user channel", f"{channel.origin.authority} takes the credentials")


class _Deaf:
    """Listens to nothing."""

    is_owed = False

    def on_order(self, status: OrderStatus) -> None:
        pass

    def on_fills(self, fills: object) -> None:
        pass

    def on_gap(self) -> None:
        pass

    async def backfill(self, since_ms: int) -> None:
        pass


def _masked(api_key: str) -> str:
    return f"{api_key[:_SHOWN]}..." if len(api_key) > 2 * _SHOWN else "..."
