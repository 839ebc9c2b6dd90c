"""A log: a directory of day partitions, `LOG/date=2022-04-25/part-0.parquet`, one row per example."""

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
        missing_day: How to treat a gap in the days: "error", or "skip" to treat the days around it as consecutive.
        until: Last day to use; None for all.
        since: First day to use; None for all.

    Attributes:
        days: The days, in order. A day without files counts too; reading it is an error.
        held_out: The days after `until`.
        earlier: The days before `since`. They can be read: counters count them.

    Raises:
        InputError: If `path` holds no log, no day is left between `since` and `until`, or `missing_day` forbids a gap.

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

    def __init__(self, path: Path, missing_day: str = "error", until: date | None = None, since: date | None = None):
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
        self.earlier = [day for day in self.days if since is not None and day < since]
        if len(self.earlier) == len(self.days):
            raise InputError(
                f"data.since: {since} is after the last day of {path}, {self.days[-1]}; set an earlier day"
            )
        for before, after in zip(self.days, self.days[1:], strict=False):
            if missing_day == "error" and after - before != timedelta(days=1):
                raise InputError(
                    f"{path}: no day between {before} and {after}; add the missing days, or set data.missing_day: skip"
                )
        self.days = self.days[len(self.earlier) :]
        self._units: dict[date, list[Unit]] = {}
        self._schemas: dict[date, dict[Path, pa.Schema]] = {}

    @property
    def counted(self) -> list[date]:
        """The days that counters count: `earlier`, then `days`."""
        return self.earlier + self.days

    def units(self, day: date) -> list[Unit]:
        """Returns the units of `day` in the order of its files. For Parquet it reads only metadata."""
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
        if day not in self.counted:
            raise InputError(f"{self.path}: no day {day}; the log has {self.days[0]} to {self.days[-1]}")
        try:
            paths = sorted(path for path in directory.iterdir() if not path.name.startswith((".", "_")))
        except OSError as error:
            raise InputError(f"{directory}: cannot be read ({error.strerror}); a day is a directory of files") from None
        for path in paths:
            if not path.is_file():  # Opening a pipe would wait for ever.
                what = (
                    "a directory"
                    if path.is_dir()
                    else "a link to nothing"
                    if path.is_symlink()
                    else "not a regular file"
                )
                raise InputError(f"{path}: cannot be read ({what}); a day holds only {format_names()} files")
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
    """Streams the rows of `units`, one unit after the other, without the first `start` rows.

    Args:
        units: Pieces of a log, in reading order.
        columns: Columns to read, each with the type to return (None: a type that all its files fit into). DAY is the
            day of the rows.
        start: Rows to skip. Units that lie wholly before it are not read.
        check: Called with the path and the rows of each batch before it is yielded; its errors pass through.

    Yields:
        Record batches of at most `READ_ROWS` rows, all of one schema. Memory holds a few batches, for units of any
        size.

    Raises:
        InputError: If a file cannot be read or was rewritten since its units were made, or a value does not fit its
            column's type.
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
            raise InputError(f"{unit.path}: was rewritten since the start; rerun the same command to resume")


def common_types(paths: Iterable[Path], columns: Sequence[str]) -> dict[str, pa.DataType]:
    """Returns one type per column that all files at `paths` can be read as.

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
    # A column that is empty in the first rows of all CSV files may hold anything.
    return {c: pa.string() if pa.types.is_null(t) and any(map(is_csv, paths)) else t for c, t in common.items()}


def _cast(rows: pa.RecordBatch, column: str, dtype: pa.DataType, wanted: bool, path: Path) -> pa.Array:
    """A column as `dtype`: a type that the caller wants (`wanted`), or one that the values of all files fit into."""
    found = field_type(rows.schema, column, path)
    if wanted and not is_csv(path) and not fits(found, dtype):
        raise InputError(f"{path}: column {column} has type {found}, expected {plain(dtype)}; write it with that type")
    array = rows[column]
    try:
        array.validate(full=True)  # Parquet and Feather check neither that text is UTF-8 nor that offsets are in range.
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
    ):  # Python also parses 20220425, but `_directory` would look for 2022-04-25.
        raise InputError(f"{directory}: not a day; name day directories date=YYYY-MM-DD")
    return day
