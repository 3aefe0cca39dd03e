"""The journal is looked at and left as it is."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polyexec.config import ExecutorConfig
from polyexec.doctor import Finding, Verdict, local
from polyexec.doctor.books import check_journal
from polyexec.doctor.case import Case
from polyexec.doctor.findings import NotPossibleError
from tests.unit.journal.support import ACCOUNT, KEY, OTHER, life, open_one, submit, write


def look(root: Path, **settings: Any) -> Finding:
    config = ExecutorConfig(
        **{"private_key": KEY, "journal_folder": str(root), "journal_mode": "os"} | settings
    )
    case = Case(config, url=config.clob_url, ws_url="", ssl_context=None)
    local.check_key(case)
    local.check_wallet(case)
    return check_journal(case)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / f"{ACCOUNT.address}-137"


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_folder_that_is_not_there_yet_is_fine_and_not_made(tmp_path: Path) -> None:
    finding = look(tmp_path / "new")
    assert finding.verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


def test_open_groups_are_counted(tmp_path: Path, folder: Path) -> None:
    journal = open_one(folder)
    for record in life(1):
        write(journal, record)
    submit(journal, 2)
    submit(journal, 3)
    journal.close()
    before = snapshot(tmp_path)
    finding = look(tmp_path)
    assert finding.verdict is Verdict.WARNING
    assert "2 groups with 6 orders whose fate is open" in finding.summary
    assert finding.figures["open_groups"] == 2
    assert snapshot(tmp_path) == before


def test_a_settled_journal_is_fine(tmp_path: Path, folder: Path) -> None:
    journal = open_one(folder)
    for record in life(1):
        write(journal, record)
    journal.close()
    finding = look(tmp_path)
    assert finding.verdict is Verdict.OK
    assert finding.figures["unresolved_orders"] == 0


def test_the_process_that_has_it_is_named(tmp_path: Path, folder: Path) -> None:
    code = (
        "import sys; from tests.unit.journal.support import *\n"
        "journal = open_one(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        finding = look(tmp_path)
        assert finding.verdict is Verdict.WARNING
        assert f"process {other.pid} has" in finding.summary
        assert other.stdin is not None
        other.stdin.close()
    assert look(tmp_path).verdict is Verdict.OK


def test_looking_keeps_nobody_from_opening_it(tmp_path: Path, folder: Path) -> None:
    open_one(folder).close()
    look(tmp_path)
    open_one(folder).close()


def test_damage_is_told_with_file_and_byte(tmp_path: Path, folder: Path) -> None:
    journal = open_one(folder)
    submit(journal, 1)
    submit(journal, 2)
    journal.close()
    path = folder / "journal.wal"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    finding = look(tmp_path)
    assert finding.verdict is Verdict.PROBLEM
    assert f"{path}, byte " in finding.summary
    assert path.read_bytes() == bytes(data)


def test_the_journal_of_another_account_is_told(tmp_path: Path, folder: Path) -> None:
    open_one(folder, account=OTHER).close()
    finding = look(tmp_path)
    assert finding.verdict is Verdict.PROBLEM
    assert f"the journal of {OTHER.address}" in finding.summary


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    finding = look(tmp_path / "state")
    assert finding.verdict is Verdict.PROBLEM
    assert f"{tmp_path / 'state'} is not a folder" in finding.summary
    assert "journal_folder" in finding.advice


@pytest.mark.parametrize("settings", [{"journal_mode": "off"}, {"clob_url": "https://127.0.0.1"}])
def test_no_journal_where_none_is_kept(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(NotPossibleError, match="off"):
        look(tmp_path, **{"journal_mode": None} | settings)
