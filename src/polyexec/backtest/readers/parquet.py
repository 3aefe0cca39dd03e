"""Parquet files, read by row group with the filter pushed down."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from polyexec.errors import ConfigError, InputError

__all__ = ["ParquetRows", "load_pyarrow"]

_BATCH: Final = 8192


def load_pyarrow() -> ModuleType:
    """Return pyarrow with its Parquet part.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        import pyarrow.compute  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise ConfigError("pyarrow is not installed: pip install 'polyexec[backtest]'") from None
    module: ModuleType = pyarrow
    return module


class ParquetRows:
    """The rows of a file that pass a filter, some columns of them.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._pa = load_pyarrow()
        try:
            self._file = self._pa.parquet.ParquetFile(path, memory_map=False, pre_buffer=False)
        except (self._pa.ArrowException, OSError, ValueError) as error:
            problem = f"bytes are no whole Parquet file: {error}"
            size = path.stat().st_size if path.exists() else 0
            raise InputError(self.name, size, problem) from None
        self.columns: tuple[str, ...] = tuple(self._file.schema_arrow.names)
        self.total: int = self._file.metadata.num_rows
        self.groups_read = 0
        """Row groups that the filter has not ruled out by their statistics."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def is_time(self, column: str) -> bool:
        """Return whether a column holds timestamps."""
        found: bool = self._pa.types.is_timestamp(self._file.schema_arrow.field(column).type)
        return found

    def require(self, kinds: Mapping[str, str]) -> None:
        """Check that columns are there and of a kind: ``text``, ``time``, ``decimal``, ``int``.

        Raises
        ------
        InputError
            One is missing or of another kind; names file and column.
        """
        schema, types = self._file.schema_arrow, self._pa.types
        checks = {
            "text": lambda t: (
                types.is_string(t)
                or types.is_large_string(t)
                or types.is_fixed_size_binary(t)
                or types.is_binary(t)
                or (types.is_dictionary(t) and types.is_string(t.value_type))
            ),
            "time": types.is_timestamp,
            "decimal": types.is_decimal,
            "int": types.is_integer,
        }
        for column, kind in kinds.items():
            if column not in self.columns:
                raise InputError(self.name, column, "is a column that is missing: wrong schema")
            found = schema.field(column).type
            if not checks[kind](found):
                problem = f"is a column of {found}, and has to be {kind}: wrong schema"
                raise InputError(self.name, column, problem)

    def read(
        self,
        columns: Sequence[str],
        *,
        where: Mapping[str, Collection[str]] | None = None,
        matching: tuple[str, str] | None = None,
    ) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Yield (row, values); timestamps as integer nanoseconds, decimals as texts.

        Parameters
        ----------
        columns : sequence of str
        where : mapping
            Column -> the values that pass. Row groups whose statistics rule them out are not read.
        matching : (column, regular expression) or None

        Raises
        ------
        InputError
            A page is damaged; names file and row group.
        """
        where = where or {}
        start = 0
        wanted = list(dict.fromkeys([*columns, *where, *([matching[0]] if matching else ())]))
        for group in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            try:
                may_hold = self._may_hold(group, where)
            except UnicodeDecodeError as error:  # of names and statistics
                problem = f"is damaged: {error}"
                raise InputError(self.name, f"row group {group}", problem) from None
            if may_hold:
                self.groups_read += 1
                for row, values in self._read_group(group, wanted, columns, where, matching):
                    yield start + row, values
            start += rows

    def _read_group(
        self,
        group: int,
        wanted: list[str],
        columns: Sequence[str],
        where: Mapping[str, Collection[str]],
        matching: tuple[str, str] | None,
    ) -> Iterator[tuple[int, tuple[Any, ...]]]:
        batches = self._file.iter_batches(
            batch_size=_BATCH, row_groups=[group], columns=wanted, use_threads=False
        )
        start = 0
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                found = self._convert(batch, columns, where, matching)
            except (self._pa.ArrowException, OSError, UnicodeDecodeError) as error:
                problem = f"is damaged: {error}"
                raise InputError(self.name, f"row group {group}", problem) from None
            for row, values in found:
                yield start + row, values
            start += batch.num_rows

    def _convert(
        self,
        batch: Any,
        columns: Sequence[str],
        where: Mapping[str, Collection[str]],
        matching: tuple[str, str] | None,
    ) -> Iterable[tuple[int, tuple[Any, ...]]]:
        """Return (row of the batch, values) of the rows that pass."""
        rows: Sequence[int] = range(batch.num_rows)
        mask = self._mask(batch, where, matching)
        if mask is not None:
            kept = self._pa.compute.indices_nonzero(mask)
            rows = kept.to_pylist()
            batch = batch.take(kept)
        parts = [self._plain(batch.column(column)) for column in columns]
        return zip(rows, zip(*parts, strict=True), strict=True)

    def _mask(
        self,
        batch: Any,
        where: Mapping[str, Collection[str]],
        matching: tuple[str, str] | None,
    ) -> Any:
        compute, mask = self._pa.compute, None
        for column, values in where.items():
            part = compute.is_in(
                self._text(batch.column(column)),
                value_set=self._pa.array(sorted(values), self._pa.string()),
            )
            mask = part if mask is None else compute.and_(mask, part)
        if matching is not None:
            part = compute.match_substring_regex(self._text(batch.column(matching[0])), matching[1])
            mask = part if mask is None else compute.and_(mask, part)
        return mask

    def _text(self, column: Any) -> Any:
        if self._pa.types.is_fixed_size_binary(column.type):
            column = column.cast(self._pa.binary())
        return column.cast(self._pa.string())

    def _plain(self, column: Any) -> list[Any]:
        types, kind = self._pa.types, column.type
        if types.is_timestamp(kind):
            # Without a zone it is UTC; either way the integer is.
            column = column.cast(self._pa.timestamp("ns", kind.tz)).cast(self._pa.int64())
        elif types.is_decimal(kind):
            column = column.cast(self._pa.string())
        elif types.is_dictionary(kind) or types.is_fixed_size_binary(kind) or types.is_binary(kind):
            column = self._text(column)
        values: list[Any] = column.to_pylist()
        return values

    def _may_hold(self, group: int, where: Mapping[str, Collection[str]]) -> bool:
        facts = self._file.metadata.row_group(group)
        for index in range(facts.num_columns):
            column = facts.column(index)
            values = where.get(column.path_in_schema)
            told = column.statistics if values is not None else None
            if values is None or told is None or not told.has_min_max:
                continue
            low, high = _as_text(told.min), _as_text(told.max)
            if low is None or high is None:
                continue
            if not any(low <= value <= high for value in values):
                return False
        return True


def _as_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else None
