"""A process that appends as fast as it can, and is killed: ``python -m tests.journal_storm.kills``.

The child prints the number of every group that ``seal`` acknowledged; the parent kills it and looks
for each of them.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from polyexec.core.journal import Close, Sent
from tests.unit.journal.support import NOW, body, ids, intent, open_one

_KEEP = 5
"""Groups that stay open, so that a compaction has something to keep and something to drop."""


def child(folder: Path, mode: str) -> None:
    """Write groups until killed; one line per acknowledged group, one per closed one."""
    journal = open_one(folder, mode, max_bytes=40_000)
    while True:
        group = journal.new_group()
        journal.begin(intent(group))
        journal.seal(group, body(group), ids(group))
        os.write(1, b"%d\n" % group)
        journal.append(Sent(group=group, at_ms=NOW))
        if group > _KEEP:
            os.write(1, b"-%d\n" % (group - _KEEP))  # before: killed between, it may be closed
            journal.append(Close(group=group - _KEEP, at_ms=NOW))


def run(folder: Path, mode: str, groups: int) -> int:
    """Kill a writer after it acknowledged that many groups; return how many it really did.

    Raises
    ------
    AssertionError
        An acknowledged group that was not closed is not found, or the journal does not open.
    """
    argv = [sys.executable, "-m", "tests.journal_storm.kills", str(folder), mode]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(2 * groups)]
        process.send_signal(signal.SIGKILL)
        seen += process.stdout.read().splitlines()
    said = [int(line) for line in seen]
    acknowledged = {number for number in said if number > 0}
    closed = {-number for number in said if number < 0}
    journal = open_one(folder, mode)
    found = {group.group for group in journal.recovered.groups}
    journal.close()
    missing = acknowledged - closed - found
    assert not missing, f"groups {sorted(missing)} were acknowledged and are gone"
    assert found <= acknowledged | {max(acknowledged) + 1} | closed
    assert journal.recovered.next_group > max(acknowledged)
    return len(acknowledged)


if __name__ == "__main__":
    child(Path(sys.argv[1]), sys.argv[2])
