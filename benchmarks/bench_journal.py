"""A batch of three orders into the journal, before its POST may go."""

import atexit
import functools
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import inputs
from benchmarks.harness import Row
from polyexec import _impl
from polyexec.core.candidates import PricingPolicy, Skip, price_signal
from polyexec.core.journal import Close, Intent, IntentLeg, account_of
from polyexec.core.rebuilding import rebuild
from polyexec.enums import OrderType
from polyexec.journal.wal import open_journal
from polyexec.models import Leg
from polyexec.numbers import to_decimal
from polyexec.signals import LegsSignal

BUILDER = "0x" + "00" * 32


def rows() -> list[Row]:
    ours = {mode: _Kept(mode) for mode in ("os", "fsync")}
    theirs = {mode: _Sqlite(mode) for mode in ("NORMAL", "FULL")}
    return [
        Row(
            "journal_os",
            "begin and seal of 3 legs, survives the process: one write() of 4 KB dominates",
            ours["os"],
            {"sqlite3, WAL, synchronous=NORMAL": theirs["NORMAL"]},
            functools.partial(_check, ours["os"], theirs["NORMAL"]),
            before=ours["os"].forget,
        ),
        Row(
            "journal_fsync",
            "begin, sign 3 orders, seal; survives the machine: signing and fdatasync at a time",
            ours["fsync"],
            {"sign, then sqlite3, WAL, synchronous=FULL": theirs["FULL"]},
            functools.partial(_check, ours["fsync"], theirs["FULL"]),
            before=ours["fsync"].forget,
        ),
    ]


@functools.cache
def _legs() -> tuple[IntentLeg, ...]:
    """Return the three legs as the pipeline has them when it is about to sign."""
    wanted = [
        Leg(token, "BUY", price, inputs.SIZE, tick_size="0.01", fee_rate="0.07")
        for token, price in zip(inputs.TOKENS, inputs.PRICES, strict=True)
    ]
    policy = PricingPolicy(
        default_size_micro=10_000_000,
        order_type=OrderType.GTC,
        slippage_enabled=False,
        min_pnl_percent=to_decimal(0, "min_pnl_percent"),
    )
    table = price_signal(LegsSignal(wanted), policy)
    assert not isinstance(table, Skip)
    return tuple(
        IntentLeg(leg.token_id, leg.market_slug, table.row(index), order.salt or 0)
        for index, (leg, order) in enumerate(zip(table.sources, inputs.orders(), strict=True))
    )


def _intent(group: int) -> Intent:
    return Intent(
        group=group,
        at_ms=inputs.TIMESTAMP_MS,
        legs=_legs(),
        timestamp_ms=inputs.TIMESTAMP_MS,
        owner=inputs.OWNER,
        builder=BUILDER,
    )


@functools.cache
def _signed() -> tuple[bytes, tuple[Any, ...]]:
    return rebuild(_intent(1), inputs.signer())


@functools.cache
def _batches() -> Any:
    return inputs.signer().batch_builder(owner=inputs.OWNER, builder=BUILDER)


def _sign() -> bytes:
    """Sign the batch as the pipeline does."""
    legs = [
        (
            leg.priced.generation,
            leg.priced.neg_risk,
            leg.priced.token_id,
            leg.priced.maker_micro,
            leg.priced.taker_micro,
            leg.priced.side.code,
            leg.salt,
            leg.priced.expiration,
            _impl.ORDER_TYPES.index(leg.priced.order_type),
            leg.priced.post_only,
        )
        for leg in _legs()
    ]
    body: bytes = _batches().build(legs, inputs.TIMESTAMP_MS)[0]
    return body


def _body() -> bytes:
    return _signed()[0]


def new_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="polyexec-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class _Kept:
    """Our journal, opened when it is first used."""

    def __init__(self, mode: Any) -> None:
        self._mode = mode
        self._body = _sign if mode == "fsync" else _body
        self._open: list[int] = []

    @functools.cached_property
    def _journal(self) -> Any:
        journal = open_journal(new_folder(), account_of(inputs.signer()), mode=self._mode)
        atexit.register(journal.close)
        return journal

    def __call__(self) -> object:
        journal = self._journal
        group = journal.new_group()
        journal.begin(_intent(group))
        body = self._body()
        # No two orders have one id; the bytes are what a real batch has.
        order_ids = tuple(f"{digest[:56]}{group:010x}" for digest in _signed()[1])
        journal.seal(group, body, order_ids)
        self._open.append(group)
        return group

    def forget(self) -> None:
        for group in self._open:
            self._journal.append(Close(group=group, at_ms=inputs.TIMESTAMP_MS))
        self._open.clear()

    def kept(self) -> bytes:
        """Return what a new process would find of one more call."""
        self()
        self._journal.close()
        again = open_journal(self._journal._path.parent, account_of(inputs.signer()), mode="os")
        (*_, last) = again.recovered.groups
        again.close()
        del self.__dict__["_journal"]
        self._open.clear()
        return bytes(last.signed.body) if last.signed else b""


class _Sqlite:
    """The same bytes in a table, one transaction per batch."""

    def __init__(self, synchronous: str) -> None:
        self._synchronous = synchronous
        self._body = _sign if synchronous == "FULL" else _body
        self._group = 0

    @functools.cached_property
    def _execute(self) -> Callable[..., sqlite3.Cursor]:
        database = sqlite3.connect(new_folder() / "journal.sqlite", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={self._synchronous}")
        database.execute("CREATE TABLE journal (id INTEGER PRIMARY KEY, intent BLOB, body BLOB)")
        atexit.register(database.close)
        return database.execute

    def __call__(self) -> object:
        self._group += 1
        intent = msgspec.msgpack.encode(_intent(self._group))
        self._execute("INSERT INTO journal (intent, body) VALUES (?, ?)", (intent, self._body()))
        return self._group

    def kept(self) -> bytes:
        self()
        (found,) = self._execute("SELECT body FROM journal ORDER BY id DESC LIMIT 1").fetchone()
        return bytes(found)


def _check(ours: _Kept, theirs: _Sqlite) -> None:
    inputs.same("journaled body", ours.kept(), theirs.kept())
    inputs.same("journaled body", ours.kept(), _signed()[0])
    inputs.check_orders("the journal", ours.kept())
