"""Log records as events: a name, and fields beside it.

polyexec logs by the standard library alone and adds no handler; only its command line does. The
message of a record is the name of the event; what belongs to it stands in ``extra``. These
formatters write both.
"""

import json
import logging
import sys
import time
from typing import Any, Final

__all__ = ["JsonFormatter", "LineFormatter", "event_fields", "set_up_logging"]

_STANDARD: Final = frozenset(
    (*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "asctime", "message", "taskName")
)


def event_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


class LineFormatter(logging.Formatter):
    """One line for people: time (UTC), level, event, ``name=value`` of every field."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on lines of its own."""
        fields = "".join(f" {name}={value!s}" for name, value in event_fields(record).items())
        line = f"{_time(record)} {record.levelname:<7} {record.name} {record.getMessage()}{fields}"
        # Text from outside must not be able to forge a line.
        line = line.replace("\n", "\\n").replace("\r", "\\r")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line, for machines: ``time``, ``level``, ``logger``, ``event``, fields.

    A traceback is in ``exception``. What JSON has no word for is written as text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        document = {
            **event_fields(record),
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)


class _StandardError(logging.Handler):
    """Writes to what standard error is at the time: a dashboard stands in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def set_up_logging(level: str, *, as_json: bool = False) -> None:
    """Write the log to standard error, for a program of its own; once it is set up: no effect.

    Parameters
    ----------
    level : str
        Of what polyexec logs, as ``info``. Of other libraries warnings are shown, never less: some
        log addresses with a token in them.
    as_json : bool
        By :class:`JsonFormatter`, not :class:`LineFormatter`.
    """
    if logging.getLogger().hasHandlers():
        return
    handler = _StandardError()
    handler.setFormatter(JsonFormatter() if as_json else LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("polyexec").setLevel(level.upper())
