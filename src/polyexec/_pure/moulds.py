"""Copies of a record that differ in a few slots: the readable twin of ``_fast.moulds``."""

from typing import Any, NoReturn

__all__ = ["Mould"]


class Mould:
    """Makes copies of a record that differ in a few slots, without its constructor.

    For values that are normalised already, as what compiled code counted out: nothing is checked
    but the record that the mould is taken from, when it was built.

    Parameters
    ----------
    record : object
        Of a class with ``__slots__``, at most 32 and none inherited.
    varying : str
        Slots that each copy sets. ValueError: the class has no such slot.
    """

    __slots__ = ("_fixed", "_kind", "_setters")

    def __init__(self, record: Any, *varying: str) -> None:
        kind = type(record)
        for name in varying:
            if name not in kind.__slots__:
                raise ValueError(f"{kind.__name__} has no slot {name!r}")
        fixed = [name for name in kind.__slots__ if name not in varying]
        self._kind = kind
        self._fixed = tuple(getattr(record, name) for name in fixed)
        self._setters = tuple(getattr(kind, name).__set__ for name in (*fixed, *varying))

    def cast(self, *values: object) -> Any:
        """Return a copy with these values in the varying slots, in order."""
        wanted = len(self._setters) - len(self._fixed)
        if len(values) != wanted:
            raise ValueError(f"values must be {wanted}, not {len(values)}")
        record = object.__new__(self._kind)
        for put, value in zip(self._setters, self._fixed + values, strict=True):
            put(record, value)
        return record

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle or copy a mould: take one from the record")
