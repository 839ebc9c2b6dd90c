"""The files of a log: units, schemas and rows, alike for Parquet, CSV and Feather."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfstable.data import csv_files
from tfstable.data.types import CODED_TEXT, field_type
from tfstable.errors import InputError

FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".feather": "feather", ".arrow": "feather"}
# Arrow's errors for damaged files.
BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)
READ_ROWS = 65_536  # Rows per record batch: reading holds these in addition to the buffer.
READ_BYTES = 1 << 20  # Bytes per read of a Parquet column's pages.


@dataclass(frozen=True)
class Unit:
    """The smallest piece of a log that is read on its own: a Parquet row group, or a whole CSV or Feather file."""

    path: Path
    row_group: int | None
    rows: int


def file_units(path: Path) -> list[Unit]:
    """Returns the units of a file. For Parquet it reads only metadata."""
    try:
        if is_csv(path):
            return [Unit(path, None, csv_files.count_rows(path))]
        if file_format(path) == "feather":
            return [Unit(path, None, sum(batch.num_rows for batch in _feather_batches(path)))]
        metadata = pq.read_metadata(path)
        return [Unit(path, group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
    except BROKEN as error:
        raise unreadable(path, error) from error


def file_schema(path: Path) -> pa.Schema:
    """Returns the schema of a file; CSV types are guessed from the first rows."""
    try:
        if is_csv(path):
            return csv_files.schema(path)
        if file_format(path) == "feather":
            return pa.ipc.open_file(pa.OSFile(str(path))).schema
        return pq.read_schema(path)
    except BROKEN as error:
        raise unreadable(path, error) from error


def unit_batches(unit: Unit, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Streams the columns of `types` in the file's own types, at most `READ_ROWS` rows at a time."""
    if is_csv(unit.path):
        return _of_few_rows(csv_files.batches(unit.path, list(types)))
    if unit.row_group is None:
        return _of_few_rows(_feather_batches(unit.path, list(types)))
    # A dataset's scanner would decode the whole row group and also keep its compressed bytes; this streams both.
    coded = [column for column, dtype in types.items() if dtype == CODED_TEXT]  # Keeps the file's own dictionary.
    file = pq.ParquetFile(unit.path, buffer_size=READ_BYTES, pre_buffer=False, read_dictionary=coded)
    for column in types:
        field_type(file.schema_arrow, column, unit.path)
    return file.iter_batches(READ_ROWS, row_groups=[unit.row_group], columns=list(types))


def is_csv(path: Path) -> bool:
    """Whether a file is CSV: its column types are then only guesses from the first rows."""
    return file_format(path) == "csv"


def file_format(path: Path) -> str | None:
    """Returns the file's format, a value of `FORMATS`; None if its name is not a log file's."""
    *_, before, last = ("", "", *path.suffixes)
    if last.lower() in csv_files.COMPRESSED:
        return "csv" if FORMATS.get(before.lower()) == "csv" else None
    return FORMATS.get(last.lower())


def format_names() -> str:
    """Returns the endings of a log's files, for messages."""
    return ", ".join(FORMATS)


def first_rows(path: Path, column: str) -> pa.Array:
    """Returns the unparsed values of a column in the first rows of a CSV file."""
    try:
        first = next(csv_files.batches(path, [column]), None)
    except BROKEN as error:
        raise unreadable(path, error) from error
    return pa.array([], pa.binary()) if first is None else first[column]


def extremes(path: Path, column: str) -> list[int | float]:
    """Returns the minima and maxima of a column, or of its lists' values, as far as the file's metadata holds them."""
    if file_format(path) != "parquet":
        return []
    try:
        metadata = pq.read_metadata(path)
    except BROKEN as error:
        raise unreadable(path, error) from error
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
    return [value for value in values if not isinstance(value, bytes)]  # float16's are bytes.


def unreadable(path: Path, error: Exception) -> InputError:
    """Returns an error that names a damaged file and quotes Arrow's reason."""
    reason = " ".join(str(error).replace(str(path), path.name).split())
    return InputError(f"{path}: cannot be read ({reason[:240]}); write the file again")


def _feather_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Streams columns of a Feather file, by default only the first; a dataset would fail on duplicate names."""
    names = [0]
    if columns is not None:
        schema = file_schema(path)
        for column in columns:
            field_type(schema, column, path)
        names = [schema.names.index(column) for column in columns]
    reader = pa.ipc.open_file(pa.OSFile(str(path)), options=pa.ipc.IpcReadOptions(included_fields=names))
    return (reader.get_batch(number) for number in range(reader.num_record_batches))


def _of_few_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from (batch.slice(first, READ_ROWS) for first in range(0, batch.num_rows, READ_ROWS))
