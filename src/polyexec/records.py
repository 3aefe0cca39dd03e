"""The base of the records that people build: immutable, comparable, readable."""

from decimal import Decimal
from typing import Any, ClassVar, Self

__all__ = ["Record"]


class Record:
    """Base of the immutable input records: equality, repr and pickling by ``__slots__``."""

    __slots__: ClassVar[tuple[str, ...]] = ()
    _shown: ClassVar[tuple[str, ...]] = ()
    """Constructor arguments, in order; each is readable as an attribute of the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: use .replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _astuple(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._shown)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some constructor arguments changed."""
        return type(self)(**dict(zip(self._shown, self._astuple(), strict=True)) | changes)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._astuple() == other._astuple()

    def __hash__(self) -> int:
        return hash(self._astuple())

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={str(value) if isinstance(value, Decimal) else value!r}"
            for name, value in zip(self._shown, self._astuple(), strict=True)
            if value is not None and value != ""
        )
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._shown, self._astuple())


def _rebuild(cls: type[Record], names: tuple[str, ...], values: tuple[Any, ...]) -> Record:
    return cls(**dict(zip(names, values, strict=True)))
