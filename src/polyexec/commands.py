"""What another process may ask of a running bot, and how it is said: one JSON object a line."""

from typing import Final, Literal, TypeAlias, cast, get_args

import msgspec

from polyexec.environment import parse_bool
from polyexec.errors import ConfigError, InputError

__all__ = ["COMMANDS", "Command", "Request", "parse_request", "request_of"]

Command: TypeAlias = Literal[
    "status",
    "enable",
    "disable",
    "halt",
    "resume",
    "reduce-only",
    "cancel-all",
    "reload",
    "shutdown",
]
COMMANDS: Final[tuple[str, ...]] = get_args(Command)

_LONGEST_REASON: Final = 200


class Request(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One command."""

    command: Command
    reason: str = ""
    """Of a halt; shown wherever something is refused for it."""
    flag: bool = True
    """Of reduce-only: on or off."""
    account: str = ""
    """Empty: every account of the process."""


def parse_request(line: bytes) -> Request:
    """Read a command.

    Raises
    ------
    InputError
        It is none; nothing happens.
    """
    try:
        request = msgspec.json.decode(line, type=Request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        known = ", ".join(COMMANDS)
        raise InputError("command", line[:80], f"is no command ({error}); one of {known}") from None
    _check_reason(request.reason)
    return request


def request_of(command: str, argument: str | None = None, *, account: str = "") -> Request:
    """Return the request of a command line.

    Raises
    ------
    InputError
        The command takes no such argument.
    """
    if command == "halt":
        _check_reason(argument or "")
        return Request("halt", reason=argument or "", account=account)
    if command == "reduce-only":
        try:
            flag = parse_bool("on" if argument is None else argument, "reduce-only")
        except ConfigError:
            raise InputError("reduce-only", argument, "must be on or off") from None
        return Request("reduce-only", flag=flag, account=account)
    if argument is not None:
        raise InputError(command, argument, "is an argument that the command does not take")
    return Request(cast("Command", command), account=account)


def _check_reason(reason: str) -> None:
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise InputError(
            "reason", reason[:80], f"must be one line of at most {_LONGEST_REASON} characters"
        )
