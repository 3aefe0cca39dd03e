"""The databases that the contract is tested on."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from polyexec.journal.database.location import Location, parse_location
from tests.unit.journal.database.support import PostgresServer, postgres_server

_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "sqlite":
        return parse_location(tmp_path / "trades.db")
    server: PostgresServer = request.getfixturevalue("server")
    return server.new_database(f"contract{next(_numbers)}")
