"""Exceptions: what they carry, and that they can be caught and shipped."""

import pickle

import pytest

from polyexec import errors
from polyexec.enums import SentState, VenueMode
from polyexec.errors import (
    AuthError,
    ConfigError,
    InputError,
    NotSentError,
    OutcomeUnknownError,
    PolyexecError,
    RateLimitedError,
    TransportError,
    UnexpectedResponseError,
    UsageError,
    VenueError,
    VenueModeError,
)


def test_every_exception_is_a_polyexec_error_and_stands_in_the_outline() -> None:
    outline = errors.__doc__ or ""
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), PolyexecError)
        assert name in outline


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(ConfigError, ValueError), (InputError, ValueError), (UsageError, RuntimeError)],
)
def test_faults_of_the_caller_are_the_builtin_ones_too(kind: type, builtin: type) -> None:
    assert issubclass(kind, builtin)


def test_input_error_carries_field_and_value_and_survives_pickle() -> None:
    error = pickle.loads(pickle.dumps(InputError("size", "-1", "must not be negative")))
    assert (error.field, error.value, error.hint) == ("size", "-1", "must not be negative")
    assert str(error) == "size='-1': must not be negative"


def test_input_error_cuts_a_long_value_but_keeps_it() -> None:
    error = InputError("token_id", "9" * 500, "too long")
    assert str(error) == f"token_id='{'9' * 76}...: too long"
    assert len(error.value) == 500  # type: ignore[arg-type]


def test_transport_errors_say_if_the_request_can_have_arrived() -> None:
    assert NotSentError("refused").sent is SentState.NO
    assert OutcomeUnknownError("reset").sent is SentState.MAYBE
    # Doubt is the default: a new kind of transport fault must never look like "not sent".
    assert TransportError("?").sent is SentState.MAYBE


@pytest.mark.parametrize("kind", [VenueError, AuthError, RateLimitedError, UnexpectedResponseError])
def test_venue_error_keeps_the_exchanges_own_words(kind: type[VenueError]) -> None:
    error = kind(429, "slow down", code="limit", retry_after_s=1.5)
    assert (error.status, error.message, error.code) == (429, "slow down", "limit")
    assert error.retry_after_s == 1.5
    assert str(error) == "HTTP 429: slow down"
    assert kind(400, "x").retry_after_s is None


@pytest.mark.parametrize(
    "error",
    [
        VenueError(500, "x", code="c", retry_after_s=2.0),
        AuthError(401, "x"),
        VenueModeError(503, "m", mode=VenueMode.POST_ONLY, code="post_only_mode", retry_after_s=79),
    ],
    ids=lambda error: type(error).__name__,
)
def test_venue_error_survives_pickle(error: VenueError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)


def test_mode_error_names_the_mode() -> None:
    error = VenueModeError(503, "cancel-only", mode=VenueMode.CANCEL_ONLY)
    assert error.mode is VenueMode.CANCEL_ONLY
