"""Handing a batch to a venue: whatever it does, there is an outcome."""

import logging

from polyexec.core.ports import AnswerCallback, NoAnswer, OrderBatch, Venue
from polyexec.errors import OutcomeUnknownError, TransportError

__all__ = ["post"]

_log = logging.getLogger("polyexec.executor")


def post(venue: Venue, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
    """Post a batch; a venue that raises instead of reporting has an outcome too."""
    try:
        venue.post_orders(batch, on_outcome)
    except Exception as error:
        # A venue must report trouble as an outcome. One that raises instead may have sent.
        _log.exception("venue_raised")
        on_outcome(_as_outcome(error))
    except BaseException as error:  # Ctrl-C while writing: the bytes may have left
        on_outcome(_as_outcome(error))
        raise


def _as_outcome(error: BaseException) -> NoAnswer:
    if isinstance(error, TransportError):
        return NoAnswer(error=error)
    return NoAnswer(error=OutcomeUnknownError(f"the venue raised {type(error).__name__}"))
