"""Where a store is: every way to say it, and none that shows a password."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from polyexec.errors import ConfigError, StoreError
from polyexec.journal.database.location import location_of_settings, parse_location
from polyexec.secret import Secret


def settings(**variables: str) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in variables.items()}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("trades.db", "trades.db"),
        ("/var/lib/trades.db", "/var/lib/trades.db"),
        ("sqlite:///trades.db", "trades.db"),
        ("sqlite:////var/lib/trades.db", "/var/lib/trades.db"),
        (Path("/x/y.db"), "/x/y.db"),
        (Secret("sqlite:///a b.db"), "a b.db"),
        ("~/trades.db", str(Path.home() / "trades.db")),
    ],
)
def test_a_file(url: Any, path: str) -> None:
    location = parse_location(url)
    assert location.path == Path(path)
    assert not location.url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:5433/db", "postgresql://u@h:5433/db"),
        ("postgres://u:secret@h/db?sslmode=require", "postgresql://u@h/db"),
        ("postgresql://h/db?password=secret", "postgresql://h/db"),
        ("postgresql://u:s%2Fecret@[::1]:1/db", "postgresql://u@::1:1/db"),
        ("postgresql:///db?host=/run/secret", "postgresql://localhost/db"),
    ],
)
def test_a_server_is_shown_without_its_password(url: str, shown: str) -> None:
    location = parse_location(url)
    assert str(location) == shown
    assert "secret" not in repr(location)
    assert location.url.reveal() == url
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(location)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://u:secret@h/db", "'mysql' is no database that polyexec knows"),
        ("postgresql://u:secret@h:port/db", "percent-encoded"),
        ("postgresql://u:123/secret@h/db", "percent-encoded"),
        ("postgresql://u:secret#1@h/db", "percent-encoded"),
        ("postgresql://u:123#secret@h/db", "percent-encoded"),
        ("postgresql://u:secret@h:70000/db", "percent-encoded"),
        ("postgresql://u:secret@h", "names no database"),
        ("postgresql://u:secret@h/", "names no database"),
        ("u:secret@h/db", "without its scheme"),
        ("", "needs a file"),
        (":memory:", "needs a file"),
        ("sqlite://", "needs a file"),
    ],
)
def test_what_is_no_database_is_refused_without_showing_it(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_location(url, "DB_URL")
    assert str(caught.value).startswith("DB_URL: ")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.__cause__)


def test_the_variables_of_the_original_name_a_server() -> None:
    location = location_of_settings(
        settings(DB_HOST="h", DB_PORT="5433", DB_NAME="db", DB_USER="u", DB_PASSWORD="secret")
    )
    assert location is not None
    assert str(location) == "postgresql://u@h:5433/db"
    assert location.parts["password"].reveal() == "secret"
    assert "secret" not in repr(location)


def test_other_names_of_the_same_are_known_and_foreign_ones_are_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = settings(DB_DATABASE="db", DB_USERNAME="u", DB_USER="u", DB_PASS="secret", DB_SSL="x")
    location = location_of_settings(names)
    assert location is not None
    assert str(location) == "postgresql://u@localhost:5432/db"
    assert location.parts["password"].reveal() == "secret"
    assert [record.setting for record in caplog.records] == ["DB_SSL"]  # type: ignore[attr-defined]


def test_what_is_not_said_has_a_default_and_nothing_is_none() -> None:
    assert str(location_of_settings(settings(DB_NAME="db"))) == "postgresql://localhost:5432/db"
    assert location_of_settings({}) is None
    assert str(location_of_settings(settings(DB_URL="x.db"))) == "x.db"


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"DB_HOST": "h"}, "DB_NAME: missing, while DB_HOST is set"),
        ({"DB_NAME": "d", "DB_PORT": "x"}, "DB_PORT='x': must be a port"),
        ({"DB_NAME": "d", "DB_PORT": "70000"}, "DB_PORT='70000': must be a port"),
        ({"DB_URL": "x.db", "DB_PASSWORD": "secret"}, "DB_URL and DB_PASSWORD are both set"),
        ({"DB_USER": "a", "DB_USERNAME": "b", "DB_NAME": "d"}, "DB_USER and DB_USERNAME are both"),
        ({"DB_PASSWORD": "secret", "DB_PASS": "secret2"}, "DB_PASSWORD and DB_PASS are both set"),
    ],
)
def test_variables_that_cannot_work_are_refused(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        location_of_settings(settings(**variables))
    assert "secret" not in str(caught.value)


def test_the_error_of_a_store_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(StoreError("trades.db", "is locked")))
    assert (error.where, error.problem, str(error)) == (
        "trades.db",
        "is locked",
        "trades.db: is locked",
    )
