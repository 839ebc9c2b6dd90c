"""A log: a directory of day partitions, `LOG/date=2022-04-25/part-0.parquet`, one row an example."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfstable.data import csv_files
from tfstable.data.types import CODED_TEXT, NOT_UTF_8, cast, field_type, fits, plain, widest
from tfstable.errors import InputError

FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".feather": "feather", ".arrow": "feather"}
BROKEN = (
    pa.ArrowException,
    OSError,
    UnicodeDecodeError,
)  # What arrow raises for files that are not what they should be.
READ_ROWS = 65_536  # Rows of one record batch: what is held beyond the buffer while reading.
READ_BYTES = 1 << 20  # Of a column's pages in a Parquet file, at a time.


@dataclass(frozen=True)
class Unit:
    """The smallest piece of a log that is read on its own: a Parquet row group, or a whole CSV or Feather file."""

    path: Path
    row_group: int | None
    rows: int


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
            self._schemas[day] = {path: _schema(path) for path in self._files(day)}
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
                raise InputError(f"{path}: cannot be read ({what}); a day holds {_formats()} files alone")
            if _format(path) is None:
                raise InputError(f"{path}: not a log file; a day holds {_formats()} files")
        if not paths:
            raise InputError(f"{directory}: the day is empty; remove the directory or write its rows")
        return paths


def read(
    units: Sequence[Unit],
    columns: dict[str, pa.DataType | None],
    start: int = 0,
    check: Callable[[Path, pa.RecordBatch], None] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Streams rows of `units`, one after the other, leaving out the first `start`.

    Args:
        units: Pieces of a log, in the order in which they are wanted.
        columns: Columns to read, each with the type that it is wanted in (None: one that all its files fit into).
        start: Rows to leave out. Whole units before it are not read.
        check: Called with the path and the rows of each batch before it is yielded; what it raises is raised.

    Yields:
        Record batches of at most `READ_ROWS` rows, all of one schema; memory holds a few of them, whatever the size of
        the units.

    Raises:
        InputError: If a file cannot be read or has other rows by now than when its units were made, or a value does not
            fit the type that is wanted.
    """
    types = {**columns, **common_types({unit.path for unit in units}, [c for c, t in columns.items() if t is None])}
    schema = pa.schema(list(types.items()))
    for unit in units:
        if start >= unit.rows:
            start -= unit.rows
            continue
        rows = 0
        try:
            for batch in _batches(unit, types):
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
                    yield part
                start = max(0, start - batch.num_rows)
        except BROKEN as error:
            raise _unreadable(unit.path, error) from error
        if rows != unit.rows:
            raise InputError(f"{unit.path}: was written anew since the start; start again, the same command goes on")


def file_units(path: Path) -> list[Unit]:
    """Returns the units of a file. Of Parquet only the metadata is read."""
    try:
        if is_csv(path):
            return [Unit(path, None, csv_files.count_rows(path))]
        if _format(path) == "feather":
            return [Unit(path, None, sum(batch.num_rows for batch in _feather_batches(path)))]
        metadata = pq.read_metadata(path)
        return [Unit(path, group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
    except BROKEN as error:
        raise _unreadable(path, error) from error


def common_types(paths: Iterable[Path], columns: Sequence[str]) -> dict[str, pa.DataType]:
    """Returns for each column one type that the files at `paths` can all be read as.

    See `types.widest` for files that disagree.

    Raises:
        InputError: If a file cannot be read or lacks a column.
    """
    found: dict[str, list[pa.DataType]] = {column: [] for column in columns}
    for path in sorted(paths) if columns else ():
        schema = _schema(path)
        for column in columns:
            found[column].append(field_type(schema, column, path))
    common = {column: widest(types) for column, types in found.items()}
    # What the first rows of CSV files leave open may be anything.
    return {c: pa.string() if pa.types.is_null(t) and any(map(is_csv, paths)) else t for c, t in common.items()}


def is_csv(path: Path) -> bool:
    """Whether the types of a file's columns are no more than what its first rows look like."""
    return _format(path) == "csv"


def first_rows(path: Path, column: str) -> pa.Array:
    """Returns what the first rows of a CSV file have in a column, as it stands."""
    try:
        first = next(csv_files.batches(path, [column]), None)
    except BROKEN as error:
        raise _unreadable(path, error) from error
    return pa.array([], pa.binary()) if first is None else first[column]


def extremes(path: Path, column: str) -> list[int | float]:
    """Returns the least and greatest values of a column, or of its lists' values, where a file's metadata has them."""
    if _format(path) != "parquet":
        return []
    try:
        metadata = pq.read_metadata(path)
    except BROKEN as error:
        raise _unreadable(path, error) from error
    chunks = (
        metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(metadata.num_columns)
    )
    found = [
        chunk.statistics
        for chunk in chunks
        if (chunk.path_in_schema == column or chunk.path_in_schema.startswith(f"{column}.list."))
        and chunk.statistics is not None
        and chunk.statistics.has_min_max
    ]
    values = [value for statistics in found for value in (statistics.min, statistics.max)]
    return [value for value in values if not isinstance(value, bytes)]  # As of float16.


def _formats() -> str:
    return ", ".join(FORMATS)


def _format(path: Path) -> str | None:
    *_, before, last = ("", "", *path.suffixes)
    if last.lower() in csv_files.COMPRESSED:
        return "csv" if FORMATS.get(before.lower()) == "csv" else None
    return FORMATS.get(last.lower())


def _batches(unit: Unit, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    if is_csv(unit.path):
        return _of_few_rows(csv_files.batches(unit.path, list(types)))
    if unit.row_group is None:
        return _of_few_rows(_feather_batches(unit.path, list(types)))
    # A dataset's scanner would decode the row group whole, and keep its compressed bytes beside it; this streams both.
    coded = [column for column, dtype in types.items() if dtype == CODED_TEXT]  # As most files hold it: not undone.
    file = pq.ParquetFile(unit.path, buffer_size=READ_BYTES, pre_buffer=False, read_dictionary=coded)
    for column in types:
        field_type(file.schema_arrow, column, unit.path)
    return file.iter_batches(READ_ROWS, row_groups=[unit.row_group], columns=list(types))


def _feather_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Streams columns of a Feather file, by default the first alone; a dataset would stumble over double names."""
    names = [0]
    if columns is not None:
        schema = _schema(path)
        for column in columns:
            field_type(schema, column, path)
        names = [schema.names.index(column) for column in columns]
    reader = pa.ipc.open_file(pa.OSFile(str(path)), options=pa.ipc.IpcReadOptions(included_fields=names))
    return (reader.get_batch(number) for number in range(reader.num_record_batches))


def _of_few_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from (batch.slice(first, READ_ROWS) for first in range(0, batch.num_rows, READ_ROWS))


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
        raise InputError(f"{path}: column {column}: {' '.join(str(error).split())[:300]}") from error


def _schema(path: Path) -> pa.Schema:
    try:
        if is_csv(path):
            return csv_files.schema(path)
        if _format(path) == "feather":
            return pa.ipc.open_file(pa.OSFile(str(path))).schema
        return pq.read_schema(path)
    except BROKEN as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).replace(str(path), path.name).split())
    return InputError(f"{path}: cannot be read ({reason[:240]}); write the file again")


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
