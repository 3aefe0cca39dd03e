"""What an executor is opened with, by its settings: journal, credentials, venue, pricing."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from polyexec.clob.client import ClobClient
from polyexec.clob.venue import ClobVenue
from polyexec.config import ExecutorConfig, default_journal_folder
from polyexec.core.auth import ApiCredentials
from polyexec.core.candidates import PricingPolicy
from polyexec.core.journal import account_of
from polyexec.core.ports import Journal
from polyexec.core.resolution import ResolutionPolicy
from polyexec.core.signer import OrderSigner

if TYPE_CHECKING:
    from polyexec.paper import PaperExchange

__all__ = [
    "clob_venue",
    "find_credentials",
    "open_own_journal",
    "pricing_policy",
    "resolution_policy",
    "wants_user_channel",
]

# A venue of the caller's own authenticates by itself; the body still names an owner.
_NOBODY: Final = ApiCredentials("00000000-0000-0000-0000-000000000000", "", "")


def open_own_journal(
    config: ExecutorConfig, signer: OrderSigner, *, is_exchange: bool
) -> Journal | None:
    """Open the journal that the settings name; None: they want none.

    Without a mode there is one only where real money is: on the exchange itself (``is_exchange``),
    not on this machine. A venue of the caller's own brings a journal if it wants.
    """
    mode = config.journal_mode
    if mode is None:
        is_real = config.executor_mode == "live" and is_exchange and not config.is_loopback
        mode = "fsync" if is_real else "off"
    if mode == "off":
        return None
    from polyexec.journal.wal import open_journal  # noqa: PLC0415  paper needs none

    account = account_of(signer)
    folder = Path(config.journal_folder or default_journal_folder())
    return open_journal(folder / f"{account.address}-{account.chain_id}", account, mode=mode)


async def find_credentials(
    config: ExecutorConfig,
    now_s: Callable[[], float],
    *,
    exchange: "PaperExchange | None",
    has_venue: bool,
) -> ApiCredentials:
    """Return the API credentials of the settings, or those that the exchange has for the key."""
    if exchange is not None:
        return exchange.credentials(config.private_key.reveal())
    if config.has_credentials:
        return ApiCredentials(
            config.api_key.reveal(), config.api_secret.reveal(), config.api_passphrase.reveal()
        )
    if has_venue or config.executor_mode == "off":
        return _NOBODY
    async with ClobClient(
        config.clob_url, chain_id=config.chain_id, ssl_context=config.ssl_context, now_s=now_s
    ) as client:
        return await client.create_or_derive_api_key(config.private_key.reveal())


def wants_user_channel(config: ExecutorConfig, ws_url: str, *, is_embedded: bool) -> bool:
    """Return whether to listen to our own orders at ``ws_url``."""
    if config.executor_mode == "off" or not ws_url:
        return False
    if config.user_channel is not None:
        return config.user_channel
    # Other servers on this machine are somebody's tests, mostly without WebSockets.
    return is_embedded or not config.is_loopback


def clob_venue(
    config: ExecutorConfig,
    signer: OrderSigner,
    credentials: ApiCredentials,
    *,
    url: str,
    ssl_context: ssl.SSLContext | None,
    now_s: Callable[[], float],
) -> ClobVenue:
    """Return the exchange at ``url`` as a venue, not yet open."""
    return ClobVenue(
        url,
        signer_address=signer.address,
        maker_address=signer.funder,
        signature_type=signer.signature_type,
        credentials=credentials,
        ssl_context=ssl_context,
        timeout_s=config.post_timeout_s,
        warm_interval_s=config.warm_interval_s,
        framing=config.http2,
        chain_id=config.chain_id,
        heartbeat=config.heartbeat,
        now_s=now_s,
    )


def pricing_policy(config: ExecutorConfig) -> PricingPolicy:
    """Return what pricing and the edge gate read of the settings."""
    return PricingPolicy(
        default_size_micro=config.default_size_micro,
        order_type=config.order_type,
        slippage_enabled=config.slippage_enabled,
        min_pnl_percent=config.min_pnl_threshold_percent,
        buys_complements=config.sell_policy == "buy_complement",
    )


def resolution_policy(config: ExecutorConfig) -> ResolutionPolicy:
    """Return when the settings let an unknown order be sent again, or taken to be absent."""
    return ResolutionPolicy(
        absent_after_ms=_milliseconds(config.unknown_absent_after_s),
        resend_after_ms=_milliseconds(config.unknown_resend_after_s),
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))
