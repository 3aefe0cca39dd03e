"""Check of the journal: readable, writable, nobody else's, and what an earlier run left open."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from polyexec.config import default_journal_folder
from polyexec.core.journal import Account, Recovered
from polyexec.doctor.case import Case
from polyexec.doctor.findings import Finding, NotPossibleError, ok, problem, warning
from polyexec.errors import JournalError
from polyexec.journal.wal import open_journal

__all__ = ["check_journal"]

_LEAST_FREE: Final = 256 * 2**20


def check_journal(case: Case) -> Finding:
    """Look at the journal that an executor would open, and change nothing of it."""
    config = case.config
    mode = config.journal_mode
    if mode is None:
        is_real = config.executor_mode == "live" and not config.is_loopback
        mode = "fsync" if is_real else "off"
    if mode == "off":
        raise NotPossibleError("off, as no real money moves or a setting says so")
    account = Account(
        address=case.account.address,
        funder=case.account.funder,
        signature_type=int(case.account.signature_type),
        chain_id=config.chain_id,
    )
    root = Path(config.journal_folder or default_journal_folder())
    folder = root / f"{account.address}-{account.chain_id}"
    setting = case.name("journal_folder")
    fault = _why_not_writable(folder)
    if fault:
        return problem("journal", fault, f"mend it, or set {setting} to another folder")
    figures = {"folder": str(folder), "mode": mode}
    try:
        return _look(folder, account, figures, setting)
    except OSError as error:
        return problem(
            "journal",
            f"{folder} cannot be read: {error.strerror}",
            f"give this user the folder, or set {setting} to another one",
            **figures,
        )


def _look(folder: Path, account: Account, figures: dict[str, str], setting: str) -> Finding:
    holder = _holder(folder / "journal.lock")
    if holder:
        return warning(
            "journal",
            f"process {holder} has {folder} open: a bot of this account is running",
            "a second one will be refused; end the first, or leave it",
            **figures,
            held_by=holder,
        )
    try:
        recovered = _read(folder, account)
    except JournalError as error:
        where = "" if error.offset is None else f", byte {error.offset}"
        return problem(
            "journal",
            f"{folder / 'journal.wal'}{where}: {error.problem}",
            f"keep a copy of it; with no order open, set {setting} to another folder",
            **figures,
        )
    return _contents(folder, recovered, figures)


def _contents(folder: Path, recovered: Recovered, figures: dict[str, str]) -> Finding:
    unresolved = sum(leg.is_unresolved for group in recovered.groups for leg in group.legs)
    counts = {"open_groups": len(recovered.groups), "unresolved_orders": unresolved}
    if unresolved:
        return warning(
            "journal",
            f"an earlier run left {len(recovered.groups)} groups with {unresolved} orders whose "
            "fate is open",
            "an executor asks the exchange for them when it opens, and sends nothing before it "
            "knows; look at your open orders",
            **figures,
            **counts,
        )
    free = shutil.disk_usage(_existing(folder)).free
    if free < _LEAST_FREE:
        return warning(
            "journal",
            f"only {free // 2**20} MiB are free at {folder}",
            "a full disk stops trading: make room",
            **figures,
            **counts,
        )
    return ok("journal", f"{figures['mode']}, nothing is open in {folder}", **figures, **counts)


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _why_not_writable(folder: Path) -> str:
    there = _existing(folder)
    if not there.is_dir():
        return f"{there} is not a folder, so {folder} cannot be made"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written by this user"
    return ""


def _holder(lock: Path) -> str:
    """Return the process that has the journal open; empty: none has."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        # Shared, and given back at once: the one that an executor takes is exclusive.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return ""


def _read(folder: Path, account: Account) -> Recovered:
    """Return what the journal holds, read from a copy: opening it would mend it."""
    if not (folder / "journal.wal").exists():
        return Recovered()
    with tempfile.TemporaryDirectory(prefix="polyexec-doctor-") as copy:
        shutil.copyfile(folder / "journal.wal", Path(copy) / "journal.wal")
        journal = open_journal(copy, account, mode="os")
        try:
            return journal.recovered
        finally:
            journal.close()
