"""The trade store of an executor: where the settings want it, and what it is told."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from polyexec.config import ExecutorConfig, default_journal_folder
from polyexec.executor import BaseExecutor
from polyexec.journal.database.location import Location, location_of_settings
from polyexec.journal.database.reading import TradeReader
from polyexec.journal.database.store import TradeStore

__all__ = ["TradeReader", "TradeStore", "open_store", "store_location"]

_OFF: Final = "off"


def store_location(config: ExecutorConfig) -> Location | None:
    """Return where the settings keep trades; None: nowhere.

    ``DB_URL`` or the other ``DB_*`` variables say it. Without any it is ``trades.db`` in the folder
    of the journals on the real exchange, and nowhere otherwise; ``DB_URL=off`` is nowhere.

    Raises
    ------
    ConfigError
        They contradict each other, or cannot work.
    """
    url = config.database.get("DB_URL")
    if url is not None and url.reveal().strip().lower() == _OFF:
        return None
    location = location_of_settings(config.database)
    if location is None and config.executor_mode == "live" and not config.is_loopback:
        path = _folder(config) / "trades.db"
        return Location(shown=str(path), path=path)
    return location


@contextlib.asynccontextmanager
async def open_store(
    config: ExecutorConfig, executor: BaseExecutor
) -> AsyncIterator[TradeStore | None]:
    """Keep what an executor does in the database of the settings while the context is open.

    The executor may be opened before or after. At the end the store waits for what the executor
    has published, not for answers that are still due: ``drain`` the executor before, or close it.

    Raises
    ------
    ConfigError, StoreError
        As :class:`~polyexec.journal.database.store.TradeStore`. A server that cannot be reached is
        none: rows wait on disk.
    """
    location = store_location(config)
    if location is None:
        yield None
        return
    name = f"{executor.address}-{config.chain_id}"
    is_paper = config.executor_mode == "paper"
    account = f"paper-{name}" if is_paper else name
    store = TradeStore(
        location,
        account=account,
        spill_folder=_folder(config) / f"{account}.spill" if location.path is None else None,
        journal=None if is_paper else _folder(config) / name / "journal.wal",
    )
    async with store:
        stops = (
            executor.on_trade_result(store.put_result, is_quick=True),
            executor.on_group(store.put_group, is_quick=True),
            executor.on_order(store.put_order, is_quick=True),
        )
        try:
            yield store
        finally:
            await executor.flush_callbacks()
            for stop in stops:
                stop()


def _folder(config: ExecutorConfig) -> Path:
    return Path(config.journal_folder or default_journal_folder())
