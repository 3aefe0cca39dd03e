"""Exceptions. They are faults; a refusal is a value in ``TradeResult``.

::

    PolyexecError
    ├── ConfigError(ValueError)        bad or missing setting, names it, never its secret value
    ├── UsageError(RuntimeError)       called after close, on the wrong loop, re-entered
    ├── InputError(ValueError)         value off the grid, wrong length; carries field and value
    ├── SigningError                   key or signature problem; never carries the key
    ├── TransportError                 carries ``sent``: NO | MAYBE
    │   ├── NotSentError               nothing left this process, safe to send again
    │   └── OutcomeUnknownError        may be on the book: the hold stays
    ├── VenueError                     the exchange refused: status, code, message, retry_after
    │   ├── AuthError
    │   ├── RateLimitedError
    │   ├── VenueModeError             restarting, post-only, cancel-only, disabled
    │   └── UnexpectedResponseError    an answer we cannot read
    ├── JournalError                   the journal cannot be read or written: nothing is sent
    ├── StoreError                     the trade store cannot be opened or asked; trading goes on
    └── InternalError                  our bug: please report it
"""

from typing import Any, ClassVar

from polyexec.enums import SentState, VenueMode

__all__ = [
    "AuthError",
    "ConfigError",
    "InputError",
    "InternalError",
    "JournalError",
    "NotSentError",
    "OutcomeUnknownError",
    "PolyexecError",
    "RateLimitedError",
    "SigningError",
    "StoreError",
    "TransportError",
    "UnexpectedResponseError",
    "UsageError",
    "VenueError",
    "VenueModeError",
]


class PolyexecError(Exception):
    """Base of everything this library raises on purpose."""


class ConfigError(PolyexecError, ValueError):
    """A setting is missing, malformed or contradicts another one."""


class UsageError(PolyexecError, RuntimeError):
    """The library was called in a state or from a place where it cannot work."""


class InputError(PolyexecError, ValueError):
    """A value cannot be used exactly as given.

    Parameters
    ----------
    field : str
        Name of the argument or field.
    value : object
        The value as given; its repr is cut at 80 characters. Never a secret.
    hint : str
        What is wrong and what to do.
    """

    def __init__(self, field: str, value: object, hint: str) -> None:
        self.field = field
        self.value = value
        self.hint = hint
        try:
            shown = repr(value)
        except ValueError:  # Python prints no int of more than 4300 digits
            shown = f"<{type(value).__name__} too long to print>"
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"{field}={shown}: {hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.value, self.hint)


class SigningError(PolyexecError):
    """A key cannot sign or a signature does not belong to it. Never carries the key."""


class TransportError(PolyexecError):
    """A request did not get its answer; ``sent`` says whether it can have arrived."""

    sent: ClassVar[SentState] = SentState.MAYBE


class NotSentError(TransportError):
    """Nothing of the request can have been processed; it is safe to send it again."""

    sent = SentState.NO


class OutcomeUnknownError(TransportError):
    """The request may have been processed. Ask for the order ids before anything else."""


class VenueError(PolyexecError):
    """The exchange answered with a refusal.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        The exchange's own text, unchanged.
    code : str
        Its machine-readable code, empty when it sent none.
    retry_after_s : float or None
        Seconds to wait, when it said so.
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.message = message
        self.code = code
        self.retry_after_s = retry_after_s
        super().__init__(f"HTTP {status}: {message}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Attributes are named as the arguments are; __notes__ is the interpreter's.
        fields = {name: value for name, value in vars(self).items() if name != "__notes__"}
        return _rebuild, (type(self), fields)


def _rebuild(cls: type[VenueError], fields: dict[str, Any]) -> VenueError:
    return cls(**fields)


class AuthError(VenueError):
    """401 or 403: credentials, clock or region. The request was not processed."""


class RateLimitedError(VenueError):
    """429: slow down; ``retry_after_s`` says for how long when the exchange does."""


class VenueModeError(VenueError):
    """The exchange is in a mode that does not take this request.

    Parameters
    ----------
    mode : VenueMode
        The mode that the answer tells of; the rest as in :class:`VenueError`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        mode: VenueMode,
        code: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.mode = mode
        super().__init__(status, message, code=code, retry_after_s=retry_after_s)


class UnexpectedResponseError(VenueError):
    """The answer is not what the protocol describes (HTML, broken JSON, wrong shape)."""


class JournalError(PolyexecError):
    """The journal cannot be opened, read or written. No order leaves without it.

    Parameters
    ----------
    path : str
        The file or folder.
    problem : str
        What is wrong and what to do.
    offset : int or None
        Byte of the file where it was found.
    """

    def __init__(self, path: str, problem: str, *, offset: int | None = None) -> None:
        self.path = path
        self.problem = problem
        self.offset = offset
        where = path if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{where}: {problem}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_journal_error, (self.path, self.problem, self.offset)


def _rebuild_journal_error(path: str, problem: str, offset: int | None) -> JournalError:
    return JournalError(path, problem, offset=offset)


class StoreError(PolyexecError):
    """The trade store cannot be opened or asked. Trading does not need it.

    Parameters
    ----------
    where : str
        The database; never a password.
    problem : str
        What is wrong and what to do.
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where = where
        self.problem = problem
        super().__init__(f"{where}: {problem}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.where, self.problem)


class InternalError(PolyexecError):
    """A broken invariant of polyexec. Trading should stop; please report it."""
