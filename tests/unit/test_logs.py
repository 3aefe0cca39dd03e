"""Formatters: an event, its fields, and nothing that text from outside can forge."""

import json
import logging
from typing import Any

import pytest

from polyexec.logs import JsonFormatter, LineFormatter, event_fields


def record(event: str = "clock_off", /, *args: Any, **extra: Any) -> logging.LogRecord:
    logger = logging.Logger("polyexec.clob")
    made = logger.makeRecord("polyexec.clob", logging.ERROR, "f", 1, event, args, None, extra=extra)
    made.created, made.msecs = 1_700_000_000.0625, 62.5
    return made


def failed() -> logging.LogRecord:
    made = record("group_failed")
    try:
        raise ValueError("bad")
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    return made


def test_fields_are_what_was_given_as_extra() -> None:
    assert event_fields(record(offset_s=3.2, detail="x")) == {"offset_s": 3.2, "detail": "x"}
    made = record()
    logging.Formatter("%(asctime)s %(message)s").format(made)
    assert event_fields(made) == {}


def test_a_line_is_for_people() -> None:
    line = LineFormatter().format(record(offset_s=3.2, detail="too fast"))
    assert line == (
        "2023-11-14T22:13:20.062Z ERROR   polyexec.clob clock_off offset_s=3.2 detail=too fast"
    )


@pytest.mark.parametrize("text", ["x\n2023-11-14 ERROR forged", "x\r\nforged"])
def test_text_from_outside_cannot_begin_a_line(text: str) -> None:
    assert len(LineFormatter().format(record(detail=text)).splitlines()) == 1
    assert len(JsonFormatter().format(record(detail=text)).splitlines()) == 1


def test_json_has_event_and_fields_side_by_side() -> None:
    assert json.loads(JsonFormatter().format(record(offset_s=3.2, orders=("a", "b")))) == {
        "time": "2023-11-14T22:13:20.062Z",
        "level": "ERROR",
        "logger": "polyexec.clob",
        "event": "clock_off",
        "offset_s": 3.2,
        "orders": ["a", "b"],
    }


def test_a_field_cannot_replace_the_event() -> None:
    assert json.loads(JsonFormatter().format(record(event="forged")))["event"] == "clock_off"


def test_names_in_the_message_are_filled_in() -> None:
    assert " user_channel_up" in LineFormatter().format(record("%s_channel_up", "user"))


def test_what_json_has_no_word_for_is_text() -> None:
    assert (
        json.loads(JsonFormatter().format(record(value=b"x", kind=ValueError)))["value"] == "b'x'"
    )


def test_a_traceback_is_kept() -> None:
    assert json.loads(JsonFormatter().format(failed()))["exception"].endswith("ValueError: bad")
    assert LineFormatter().format(failed()).endswith("ValueError: bad")
