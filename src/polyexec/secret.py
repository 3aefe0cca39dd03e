"""A text that must not be seen."""

from typing import Any, NoReturn

__all__ = ["Secret"]


class Secret:
    """A text that shows as ``***`` everywhere and cannot be pickled or copied.

    Parameters
    ----------
    value : str or Secret
    """

    __slots__ = ("_value",)

    def __init__(self, value: "str | Secret") -> None:
        self._value: str = value._value if isinstance(value, Secret) else value

    def reveal(self) -> str:
        """Return the text. Keep it out of logs, exceptions and long-lived objects."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")
