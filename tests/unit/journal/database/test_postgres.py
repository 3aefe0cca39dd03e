"""PostgreSQL for real: refused, gone, hung, back, and shared."""

import os
import signal
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from polyexec.errors import StoreError
from polyexec.journal.database.location import Location, location_of_settings, parse_location
from polyexec.secret import Secret
from tests.unit.journal.database.support import (
    PASSWORD,
    PostgresServer,
    fill,
    news,
    order_id,
    postgres_server,
    rejected,
    result,
    skipped,
    store,
)

postgres = pytest.importorskip("polyexec.journal.database.postgres")
_numbers = count(1)


@pytest.fixture
def name() -> str:
    return f"trades{next(_numbers)}"


@pytest.fixture
def where(server: PostgresServer, name: str) -> Location:
    return server.new_database(name)


def test_the_variables_of_the_original_open_it(
    server: PostgresServer, where: Location, name: str, tmp_path: Path
) -> None:
    variables = {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(server.port),
        "DB_NAME": name,
        "DB_USER": "trader",
        "DB_PASSWORD": PASSWORD,
    }
    location = location_of_settings({key: Secret(text) for key, text in variables.items()})
    assert location is not None
    with store(location, tmp_path) as opened:
        opened.put_result(result(1))
        opened.put_result(skipped(legs=()))
        opened.put_result(rejected(2))
        opened.put_order(news(1, fill(1)))
        assert opened.flush()
    counts = "SELECT count(*), sum(cost_micro), bool_or(success) FROM polyexec_trades"
    assert server.sql(name, counts) == f"3|{2 * 4_012_340}|t"


def test_a_wrong_password_is_refused_and_not_shown(server: PostgresServer, tmp_path: Path) -> None:
    url = server.url("postgres", "wrong-secret")
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        store(parse_location(url), tmp_path).open()
    error = caught.value
    assert error.where == f"postgresql://trader@127.0.0.1:{server.port}/postgres"
    assert "wrong-secret" not in f"{error!r} {error.__cause__!r}"


def test_a_database_that_is_not_there_is_refused(server: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        store(parse_location(server.url("nowhere")), tmp_path).open()


def test_a_user_who_may_not_make_tables_is_refused(
    server: PostgresServer, name: str, tmp_path: Path
) -> None:
    server.sql("postgres", f"CREATE DATABASE {name}")
    server.sql(name, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(StoreError, match="permission denied for schema public"):
        store(parse_location(server.url(name)), tmp_path).open()


def test_a_query_string_that_makes_no_sense_is_refused(
    server: PostgresServer, name: str, tmp_path: Path
) -> None:
    url = server.url(name) + "?sslmode=perhaps"
    with pytest.raises(StoreError) as caught:
        store(parse_location(url), tmp_path).open()
    assert PASSWORD not in str(caught.value)


def test_tables_of_a_newer_version_are_refused(
    server: PostgresServer, where: Location, name: str, tmp_path: Path
) -> None:
    with store(where, tmp_path):
        pass
    server.sql(name, "INSERT INTO polyexec_schema VALUES (99, 0)")
    with pytest.raises(StoreError, match="version 99, this polyexec knows 1"):
        store(where, tmp_path).open()


def test_several_processes_may_make_the_tables_at_once(where: Location, tmp_path: Path) -> None:
    stores = [store(where, tmp_path / str(number), account=str(number)) for number in range(4)]
    threads = [threading.Thread(target=each.open) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, each in enumerate(stores):
        each.put_result(result(number + 1))
        each.close()
    with store(where, tmp_path) as opened:
        assert {t.account for t in opened.reader.trades()} == {"0", "1", "2", "3"}


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """Return a server that a test may stop."""
    with postgres_server() as server:
        yield server


def test_a_server_that_is_gone_and_comes_back_has_everything(
    own_server: PostgresServer, name: str, tmp_path: Path
) -> None:
    where = own_server.new_database(name)
    with store(where, tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        own_server.stop()
        for number in range(2, 30):
            opened.put_result(result(number))
            opened.put_order(news(number, fill(number, "CONFIRMED")))
        assert opened.flush()
        counts = opened.counts
        assert (counts.outages, counts.dropped, counts.spilled) == (1, 0, 56)
        with pytest.raises(StoreError, match="cannot be asked"):
            opened.reader.trades()
        own_server.start()
        assert opened.catch_up()
        assert opened.failure == ""
        assert opened.counts.spill_bytes == 0
        assert {t.trade_id for t in opened.reader.trades()} == set(map(order_id, range(1, 30)))
        assert len(opened.reader.fills()) == 28


def test_a_server_that_is_gone_at_the_start_is_waited_for(
    own_server: PostgresServer, name: str, tmp_path: Path
) -> None:
    where = own_server.new_database(name)
    own_server.stop()
    with store(where, tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        assert opened.counts.spilled == 1
    # Nor does the next process need it to be there.
    with store(where, tmp_path) as opened:
        own_server.start()
        assert opened.catch_up()
        assert len(opened.reader.trades()) == 1


def test_a_server_that_hangs_is_given_up_and_delays_nobody(
    own_server: PostgresServer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_COMMAND_S", 0.2)
    monkeypatch.setattr(postgres, "_CONNECT_S", 0.2)
    where = own_server.new_database(name)
    with store(where, tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        backend = int(
            own_server.sql(
                "postgres",
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'polyexec'",
            )
        )
        os.kill(backend, signal.SIGSTOP)
        try:
            opened.put_result(result(2))
            assert opened.flush()
            assert opened.counts.spilled == 1
        finally:
            os.kill(backend, signal.SIGCONT)
        assert opened.catch_up()
        assert len(opened.reader.trades()) == 2
