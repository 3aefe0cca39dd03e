"""Logs of ours that a test provokes by the thousand."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(level: int = logging.CRITICAL + 1) -> Iterator[None]:
    """Keep the library from logging below a level; afterwards it logs as before."""
    logger = logging.getLogger("polyexec")
    before, was_disabled = logger.level, logger.disabled
    logger.disabled = False
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.disabled = was_disabled
