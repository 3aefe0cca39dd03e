"""A process that is killed while it stores breaks nothing, and no order that was sent is lost."""

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.journal.database.support import store
from tests.unit.journal.support import ids

ROUNDS = 3
CHILD = """
import sys
from pathlib import Path
from tests.unit.journal.database.support import leg_result, result, store
from tests.unit.journal.support import ids, life, open_one, write

folder = Path(sys.argv[1])
journal = open_one(folder / "journal")
with store(folder / "trades.db", folder, journal=folder / "journal" / "journal.wal") as opened:
    while True:
        group = journal.new_group()
        for record in life(group)[:-1]:
            write(journal, record)
        legs = tuple(leg_result(0, order_id=order_id) for order_id in ids(group))
        print(group, flush=True)  # as good as sent
        opened.put_result(result(legs=legs))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_and_opened_again(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    sent: set[int] = set()
    for _ in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            cwd=Path(__file__).parents[4],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(rng.randrange(1, 120)):
            line = child.stdout.readline()
            assert line, "the child died by itself"
            sent.add(int(line))
        child.kill()
        # The last number may be cut off in the pipe.
        sent.update(int(line) for line in child.stdout.read().splitlines()[:-1])
        child.wait()
        child.stdout.close()
    with sqlite3.connect(tmp_path / "trades.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    journal = tmp_path / "journal" / "journal.wal"
    with store(tmp_path / "trades.db", tmp_path, journal=journal) as opened:
        assert opened.catch_up()
        trades, orders = opened.reader.trades(), opened.reader.orders()
    assert {ids(group)[0] for group in sent} <= {trade.trade_id for trade in trades}
    assert len({trade.trade_id for trade in trades}) == len(trades)
    assert len(orders) == 3 * len(trades)
