"""Recordings: whole, torn, on a full disk; and the command that makes them."""

import asyncio
import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from polyexec.cli import main
from polyexec.core.market_events import BookEvent, PriceChanges, decode_frame
from polyexec.engine.recording import FrameRecord, Recorder, read_frames
from polyexec.errors import InputError, UsageError
from polyexec.paper import PaperExchange
from tests.integration.h2_server import until

from .support import following, is_true


def record_of(number: int) -> tuple[int, bytes, int]:
    return number % 3, b'{"n":"%d \xc3\xa9"}' % number, 1000 + number


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Recorder(tmp_path, time_ms=lambda: 1_782_852_249_137) as recorder:
        recorder.on_up(0)
        for number in range(1000):
            recorder.on_frame(*record_of(number))
        recorder.on_down(2)
    (path,) = tmp_path.iterdir()
    assert path.name == "market-20260630T204409Z-0.jsonl.gz"
    up, *frames, down = read_frames(path)
    assert (up.event, up.connection, up.frame) == ("up", 0, None)
    assert (down.event, down.connection) == ("down", 2)
    assert frames[7] == FrameRecord(
        received_ns=1007, received_ms=1_782_852_249_137, connection=1, frame='{"n":"7 é"}'
    )
    assert len(frames) == recorder.counts.frames == 1000
    assert (recorder.counts.lines, recorder.counts.files, recorder.counts.lost) == (1002, 1, 0)
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 1002


def test_files_are_rotated_and_read_in_order(tmp_path: Path) -> None:
    with Recorder(tmp_path, rotate_s=1e-9, time_ms=lambda: 0) as recorder:
        for number in range(12):
            recorder.on_frame(*record_of(number))
    assert recorder.counts.files == 12
    assert [one.received_ns for one in read_frames(tmp_path)] == list(range(1000, 1012))


@pytest.mark.parametrize("keep", [1, 10, 40, 300, 2000])
def test_a_torn_tail_costs_what_is_torn(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "whole.jsonl.gz"
    with Recorder(tmp_path / "r") as recorder:
        for number in range(400):
            recorder.on_frame(number, os.urandom(20).hex().encode(), number)
    (whole,) = (tmp_path / "r").iterdir()
    path.write_bytes(whole.read_bytes()[:keep])
    found = [one.received_ns for one in read_frames(path)]
    assert found == list(range(len(found)))
    assert len(found) < 400
    assert found or keep < 2000


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"received_ns":1,"received_ms":1,"connection":0}\nnews\n{}\n'))
    with pytest.raises(InputError, match=r"m\.jsonl\.gz:2.*no recorded line"):
        list(read_frames(path))
    path.write_bytes(b"no gzip at all")
    with pytest.raises(InputError, match="damaged"):
        list(read_frames(path))
    with pytest.raises(InputError, match="no such file"):
        list(read_frames(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no recording"):
        list(read_frames(tmp_path / "empty"))


def test_misuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rotate_s"):
        Recorder(tmp_path, rotate_s=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        Recorder(tmp_path / "file" / "folder")
    with Recorder(tmp_path) as recorder, pytest.raises(UsageError):
        recorder.start()


_FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import os
from polyexec.engine import recording
recording._FLUSH_S = recording._RETRY_S = 0.0
recorder = recording.Recorder(sys.argv[1])
with recorder:
    for number in range(4000):
        recorder.on_frame(0, os.urandom(20).hex().encode(), number)
counts = recorder.counts
print(counts.lines, counts.lost, counts.failures, counts.files)
"""


def test_a_full_disk_is_told_and_stops_nobody(tmp_path: Path) -> None:
    # No file may grow beyond 20 kB: the write fails as on a full disk, then a new file is begun.
    command = [sys.executable, "-c", _FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines, lost, failures, files = map(int, done.stdout.split())
    assert failures >= 1
    assert lost >= 1
    assert 4000 <= lines + lost <= 4000 + 2 * files  # and the lines that say what was lost
    assert files >= 2
    assert "recording_failed" in done.stderr
    found = list(read_frames(tmp_path))
    numbers = [one.received_ns for one in found if one.frame is not None]
    assert numbers == sorted(set(numbers))
    assert any(one.event == "lost" and one.lines for one in found)
    assert len(numbers) > 500


_KILLED = """
import os, sys, time
from polyexec.engine import recording
recording._FLUSH_S = 0.05
recorder = recording.Recorder(sys.argv[1]).start()
for number in range(3000):
    recorder.on_frame(0, os.urandom(20).hex().encode(), number)
while recorder.counts.lines < 3000:
    time.sleep(0.01)
print("written", flush=True)
time.sleep(60)
"""


def test_a_kill_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        (path,) = tmp_path.iterdir()
        child.kill()
    found = list(read_frames(path))
    assert [one.received_ns for one in found][:3000] == list(range(3000))


async def test_a_feed_with_a_recorder_can_be_played_again(tmp_path: Path) -> None:
    async with PaperExchange() as exchange:
        market = exchange.add_market("m")
        exchange.seed_book(market.yes, bids=[("0.40", 100)])
        with Recorder(tmp_path) as recorder:
            async with following(
                exchange.ws_url, exchange.ssl_context, given={"tap": recorder}
            ) as (feed, table, _):
                feed.subscribe(market.token_ids)
                await until(lambda: is_true(exchange, table, market.no))
                exchange.set_level(market.yes, "BUY", "0.41", 7)
                await until(lambda: is_true(exchange, table, market.no))
                await until(lambda: feed.connections[0][0])
    lines = list(read_frames(tmp_path))
    events = [e for one in lines if one.frame for e in decode_frame(one.frame)]
    assert [one.event for one in lines if one.event] == ["up", "down"]
    assert sum(isinstance(event, BookEvent) for event in events) == 2
    assert sum(isinstance(event, PriceChanges) for event in events) == 1


async def test_the_command_records_until_it_is_told_to_stop(tmp_path: Path) -> None:
    async with PaperExchange() as exchange:
        market = exchange.add_market("m")
        exchange.seed_book(market.yes, bids=[("0.40", 100)])
        ca = exchange.write_ca(tmp_path / "ca.pem")
        tokens = tmp_path / "tokens.txt"
        tokens.write_text(f"# both of one market\n{market.yes}\n\n{market.no}\n")
        out = tmp_path / "out"
        start = "import sys; from polyexec.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", start, "record", "--url", exchange.ws_url]
        child = await asyncio.create_subprocess_exec(
            *command,
            "--tokens-file",
            str(tokens),
            "--out",
            str(out),
            env=os.environ | {"SSL_CERT_FILE": str(ca)},
            stdout=subprocess.PIPE,
        )
        try:
            await until(lambda: exchange.channels.market_sessions == 1, 30)
            exchange.set_level(market.yes, "BUY", "0.41", 7)
            await until(lambda: any(out.iterdir()))
            child.send_signal(signal.SIGINT)
            printed, _ = await asyncio.wait_for(child.communicate(), 30)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        assert child.returncode == 0
        assert printed.decode().splitlines()[-1].startswith("frames=")
    events = [e for one in read_frames(out) if one.frame for e in decode_frame(one.frame)]
    assert {event.asset_id for event in events if isinstance(event, BookEvent)} == set(
        market.token_ids
    )


def test_bad_arguments_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given, message in (
        (["--tokens", "x"], "token_id"),
        (["--tokens-file", str(tmp_path / "none")], "cannot be read"),
        (["--tokens", "1", "--url", "ws://h"], "ws_url"),
        (["--tokens", "1", "--rotate-minutes", "0"], "rotate"),
        ([], "tokens"),
    ):
        assert main(["record", *given, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
