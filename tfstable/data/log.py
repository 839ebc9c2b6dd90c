"""A log: a directory of day partitions, `LOG/date=2022-04-25/part-0.parquet`, one row an example."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from tfstable.data.types import CODED_TEXT, cast, field_type, widest
from tfstable.errors import InputError

FORMATS = {".parquet": "parquet", ".csv": "csv", ".feather": "feather", ".arrow": "feather"}
LOCAL = pyarrow.fs.LocalFileSystem()
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

    Attributes:
        days: The days, in order; those without a file count too and are errors when they are read.

    Raises:
        InputError: If there is no log at `path`, or a gap that `missing_day` does not allow.
    """

    def __init__(self, path: Path, missing_day: str = "error"):
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{path}: no such log directory; set data.path, or make a log with `tfstable simulate`")
        self.days = sorted(_day(child) for child in self.path.iterdir() if child.name.startswith("date="))
        if not self.days:
            raise InputError(f"{path}: no day partitions; a log holds directories named date=YYYY-MM-DD")
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
            self._schemas[day] = {path: _physical_schema(_fragment(path), path) for path in self._files(day)}
        return self._schemas[day]

    def _directory(self, day: date) -> Path:
        return self.path / f"date={day}"

    def _files(self, day: date) -> list[Path]:
        if not self._directory(day).is_dir():
            raise InputError(f"{self.path}: no day {day}; the log has {self.days[0]} to {self.days[-1]}")
        paths = sorted(path for path in self._directory(day).iterdir() if not path.name.startswith((".", "_")))
        if unknown := [path for path in paths if path.suffix not in FORMATS]:
            raise InputError(f"{unknown[0]}: not a log file; a day holds {', '.join(FORMATS)} files")
        if not paths:
            raise InputError(f"{self._directory(day)}: the day is empty; remove the directory or write its rows")
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
        InputError: If a file cannot be read, or a value does not fit the type that is wanted.
    """
    types = {**columns, **common_types({unit.path for unit in units}, [c for c, t in columns.items() if t is None])}
    schema = pa.schema(list(types.items()))
    for unit in units:
        if start >= unit.rows:
            start -= unit.rows
            continue
        try:
            for batch in _batches(unit, types):
                if start < batch.num_rows:
                    rows = batch.slice(start)
                    rows = pa.record_batch(
                        [_cast(rows, c, dtype, unit.path) for c, dtype in types.items()], schema=schema
                    )
                    if check is not None:
                        check(unit.path, rows)
                    yield rows
                start = max(0, start - batch.num_rows)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise _unreadable(unit.path, error) from error


def file_units(path: Path) -> list[Unit]:
    """Returns the units of a file. Of Parquet only the metadata is read."""
    fragment = _fragment(path)
    try:
        if isinstance(fragment, ds.ParquetFileFragment):
            return [Unit(path, group.id, group.num_rows) for group in fragment.row_groups]
        return [Unit(path, None, fragment.count_rows())]
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def common_types(paths: Iterable[Path], columns: Sequence[str]) -> dict[str, pa.DataType]:
    """Returns for each column one type that the files at `paths` can all be read as.

    See `types.widest` for files that disagree.

    Raises:
        InputError: If a file cannot be read or lacks a column.
    """
    found: dict[str, list[pa.DataType]] = {column: [] for column in columns}
    for path in sorted(paths) if columns else ():
        schema = _physical_schema(_fragment(path), path)
        for column in columns:
            found[column].append(field_type(schema, column, path))
    return {column: widest(types) for column, types in found.items()}


def is_csv(path: Path) -> bool:
    """Whether the types of a file's columns are no more than what its first rows look like."""
    return FORMATS[path.suffix] == "csv"


def _batches(unit: Unit, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    if unit.row_group is None:
        scanner = _fragment(unit.path, types).scanner(columns=list(types), batch_size=READ_ROWS, batch_readahead=1)
        return scanner.to_batches()
    # A scanner would decode the row group whole, and keep its compressed bytes beside it; this streams both.
    coded = [column for column, dtype in types.items() if dtype == CODED_TEXT]  # As most files hold it: not undone.
    file = pq.ParquetFile(unit.path, buffer_size=READ_BYTES, pre_buffer=False, read_dictionary=coded)
    return file.iter_batches(READ_ROWS, row_groups=[unit.row_group], columns=list(types))


def _cast(rows: pa.RecordBatch, column: str, dtype: pa.DataType, path: Path) -> pa.Array:
    field_type(rows.schema, column, path)
    try:
        return cast(rows[column], dtype)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}: column {column}: {str(error)[:160]}; write it as {dtype}") from error


def _fragment(path: Path, columns: dict[str, pa.DataType | None] | None = None) -> ds.Fragment:
    if is_csv(path):
        types = _csv_types(path, columns) if columns else {}
        options = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True)
        return ds.CsvFileFormat(convert_options=options).make_fragment(str(path), LOCAL)
    return {"parquet": ds.ParquetFileFormat, "feather": ds.IpcFileFormat}[FORMATS[path.suffix]]().make_fragment(
        str(path), LOCAL
    )


def _csv_types(path: Path, columns: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """What to parse the columns of a CSV file as: the types wanted, but for what arrow then takes for malformed."""
    schema = _physical_schema(_fragment(path), path)
    types = {column: pa.string() if wanted == CODED_TEXT else wanted for column, wanted in columns.items()}
    for column, wanted in types.items():
        written = field_type(schema, column, path)
        if pa.types.is_boolean(written) and not pa.types.is_string(wanted):
            types[column] = written  # "True" is not 1 to its parser of numbers,
        elif pa.types.is_floating(written) and pa.types.is_integer(wanted):
            types[column] = pa.float64()  # nor "3.0" an integer: pandas writes ids so, once one is missing.
    return types


def _physical_schema(fragment: ds.Fragment, path: Path) -> pa.Schema:
    try:
        return fragment.physical_schema
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).replace(str(path), path.name).split())
    return InputError(f"{path}: cannot be read ({reason[:240]}); write the file again")


def _day(directory: Path) -> date:
    try:
        day = date.fromisoformat(directory.name.removeprefix("date="))
    except ValueError:
        day = None
    if directory.name != f"date={day}":  # Python also takes 20220425 for a day, which no path would lead back to.
        raise InputError(f"{directory}: not a day; name day directories date=YYYY-MM-DD")
    return day
