"""A log: a directory of day partitions, `LOG/date=2022-04-25/part-0.parquet`, one row an example."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.log_files import (
    BROKEN,
    Unit,
    file_format,
    file_schema,
    file_units,
    format_names,
    is_csv,
    unit_batches,
    unreadable,
)
from tfstable.data.types import NOT_UTF_8, cast, field_type, fits, plain, widest
from tfstable.errors import InputError

DAY = "//day"  # Column of `read` that no file has: the day of each row, as an int32 ordinal.


class DayLog:
    """The days of a log and their rows, read through pyarrow.

    Args:
        path: Directory that holds `date=YYYY-MM-DD` directories of Parquet, CSV or Feather files.
        missing_day: What a gap in the days is: "error", or "skip" to take the days on both sides as consecutive.
        until: Last day of it that counts; None for all.

    Attributes:
        days: The days, in order; those without a file count too and are errors when they are read.
        held_out: The days after `until`.

    Raises:
        InputError: If there is no log at `path`, or a gap that `missing_day` does not allow.

    Examples:
        >>> import tempfile
        >>> from tfstable.data.log import DayLog
        >>> from tfstable.sources.frames import write_log
        >>> clicks = pa.table({"date": ["2025-01-01", "2025-01-02", "2025-01-02"], "click": [0, 1, 0]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     days = write_log(clicks, folder)
        ...     log = DayLog(folder)
        ...     [(str(day), log.rows(day)) for day in log.days]
        [('2025-01-01', 1), ('2025-01-02', 2)]
    """

    def __init__(self, path: Path, missing_day: str = "error", until: date | None = None):
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{path}: no such log directory; set data.path, or make a log with `tfstable simulate`")
        self.days = sorted(_day(child) for child in self.path.iterdir() if child.name.startswith("date="))
        if not self.days:
            raise InputError(f"{path}: no day partitions; a log holds directories named date=YYYY-MM-DD")
        self.held_out = [day for day in self.days if until is not None and day > until]
        if len(self.held_out) == len(self.days):
            raise InputError(f"data.until: {until} is before the first day of {path}, {self.days[0]}; set a later day")
        self.days = self.days[: len(self.days) - len(self.held_out)]
        for before, after in zip(self.days, self.days[1:], strict=False):
            if missing_day == "error" and after - before != timedelta(days=1):
                raise InputError(
                    f"{path}: no day between {before} and {after}; add the missing days, or set data.missing_day: skip"
                )
        self._units: dict[date, list[Unit]] = {}
        self._schemas: dict[date, dict[Path, pa.Schema]] = {}

    def units(self, day: date) -> list[Unit]:
        """Returns the units of `day` in the order of its files. Of Parquet only the metadata is read."""
        if day not in self._units:
            units = [unit for path in self._files(day) for unit in file_units(path)]
            if not sum(unit.rows for unit in units):
                raise InputError(f"{self._directory(day)}: the day is empty; remove the directory or write its rows")
            self._units[day] = units
        return self._units[day]

    def rows(self, day: date) -> int:
        """Returns the number of examples of `day`."""
        return sum(unit.rows for unit in self.units(day))

    def schemas(self, day: date) -> dict[Path, pa.Schema]:
        """Returns the schema of each file of `day`."""
        if day not in self._schemas:
            self._schemas[day] = {path: file_schema(path) for path in self._files(day)}
        return self._schemas[day]

    def _directory(self, day: date) -> Path:
        return self.path / f"date={day}"

    def _files(self, day: date) -> list[Path]:
        directory = self._directory(day)
        if day not in self.days:
            raise InputError(f"{self.path}: no day {day}; the log has {self.days[0]} to {self.days[-1]}")
        try:
            paths = sorted(path for path in directory.iterdir() if not path.name.startswith((".", "_")))
        except OSError as error:
            raise InputError(f"{directory}: cannot be read ({error.strerror}); a day is a directory of files") from None
        for path in paths:
            if not path.is_file():  # Opening a pipe would wait for ever.
                what = (
                    "a directory" if path.is_dir() else "a link to nothing" if path.is_symlink() else "no regular file"
                )
                raise InputError(f"{path}: cannot be read ({what}); a day holds {format_names()} files alone")
            if file_format(path) is None:
                raise InputError(f"{path}: not a log file; a day holds {format_names()} files")
        if not paths:
            raise InputError(f"{directory}: the day is empty; remove the directory or write its rows")
        return paths


def read(
    units: Sequence[Unit],
    columns: Mapping[str, pa.DataType | None],
    start: int = 0,
    check: Callable[[Path, pa.RecordBatch], None] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Streams rows of `units`, one after the other, leaving out the first `start`.

    Args:
        units: Pieces of a log, in the order in which they are wanted.
        columns: Columns to read, each with the type that it is wanted in (None: one that all its files fit into). DAY
            is the day of the rows.
        start: Rows to leave out. Whole units before it are not read.
        check: Called with the path and the rows of each batch before it is yielded; what it raises is raised.

    Yields:
        Record batches of at most `READ_ROWS` rows, all of one schema; memory holds a few of them, whatever the size of
        the units.

    Raises:
        InputError: If a file cannot be read or has other rows by now than when its units were made, or a value does not
            fit the type that is wanted.
    """
    columns = dict(columns)
    day_type = columns.pop(DAY, None)
    types = {**columns, **common_types({unit.path for unit in units}, [c for c, t in columns.items() if t is None])}
    schema = pa.schema(list(types.items()))
    for unit in units:
        if start >= unit.rows:
            start -= unit.rows
            continue
        rows = 0
        try:
            for batch in unit_batches(unit, types):
                rows += batch.num_rows
                if rows > unit.rows:
                    break
                if start < batch.num_rows:
                    part = batch.slice(start)
                    part = pa.record_batch(
                        [_cast(part, c, dtype, columns[c] is not None, unit.path) for c, dtype in types.items()],
                        schema=schema,
                    )
                    if check is not None:
                        check(unit.path, part)
                    if day_type is not None:
                        days = np.full(part.num_rows, _day(unit.path.parent).toordinal(), np.int32)
                        part = part.append_column(DAY, pa.array(days))
                    yield part
                start = max(0, start - batch.num_rows)
        except BROKEN as error:
            raise unreadable(unit.path, error) from error
        if rows != unit.rows:
            raise InputError(f"{unit.path}: was written anew since the start; start again, the same command goes on")


def common_types(paths: Iterable[Path], columns: Sequence[str]) -> dict[str, pa.DataType]:
    """Returns for each column one type that the files at `paths` can all be read as.

    See `types.widest` for files that disagree.

    Raises:
        InputError: If a file cannot be read or lacks a column.
    """
    found: dict[str, list[pa.DataType]] = {column: [] for column in columns}
    for path in sorted(paths) if columns else ():
        schema = file_schema(path)
        for column in columns:
            found[column].append(field_type(schema, column, path))
    common = {column: widest(types) for column, types in found.items()}
    # What the first rows of CSV files leave open may be anything.
    return {c: pa.string() if pa.types.is_null(t) and any(map(is_csv, paths)) else t for c, t in common.items()}


def _cast(rows: pa.RecordBatch, column: str, dtype: pa.DataType, wanted: bool, path: Path) -> pa.Array:
    """A column as `dtype`, which is either `wanted`, or what values of all files fit into."""
    found = field_type(rows.schema, column, path)
    if wanted and not is_csv(path) and not fits(found, dtype):
        raise InputError(f"{path}: column {column} has type {found}, expected {plain(dtype)}; write it so")
    array = rows[column]
    try:
        array.validate(full=True)  # Neither Parquet nor Feather sees to it that text is UTF-8 and offsets are in range.
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        raise InputError(f"{path}: column {column}: {NOT_UTF_8}") from error
    try:
        return cast(array, dtype)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if wanted and pa.types.is_fixed_size_list(dtype) and (found_row := _row_of_other_width(path, column, dtype)):
            row, length = found_row
            raise InputError(
                f"{path}: column {column}: row {row} (the first is 0) has a vector of width {length}, expected "
                f"{dtype.list_size}; write a null where there is no vector"
            ) from error
        raise InputError(f"{path}: column {column}: {' '.join(str(error).split())[:300]}") from error


def _row_of_other_width(path: Path, column: str, dtype: pa.FixedSizeListType) -> tuple[int, int] | None:
    """Number and width of a file's first row whose vector has not the width of `dtype`."""
    before = 0
    for unit in file_units(path):
        for batch in unit_batches(unit, {column: dtype}):
            for row, length in enumerate(pc.list_value_length(batch[column]).to_pylist()):
                if length not in (None, dtype.list_size):
                    return before + row, length
            before += batch.num_rows
    return None


def _day(directory: Path) -> date:
    try:
        day = date.fromisoformat(directory.name.removeprefix("date="))
    except ValueError:
        day = None
    if (
        day is None or directory.name != f"date={day}"
    ):  # Python also takes 20220425 for a day, which no path would lead back to.
        raise InputError(f"{directory}: not a day; name day directories date=YYYY-MM-DD")
    return day
