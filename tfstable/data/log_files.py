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
# What arrow raises for files that are not what they should be.
BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)
READ_ROWS = 65_536  # Rows of one record batch: what is held beyond the buffer while reading.
READ_BYTES = 1 << 20  # Of a column's pages in a Parquet file, at a time.


@dataclass(frozen=True)
class Unit:
    """The smallest piece of a log that is read on its own: a Parquet row group, or a whole CSV or Feather file."""

    path: Path
    row_group: int | None
    rows: int


def file_units(path: Path) -> list[Unit]:
    """Returns the units of a file. Of Parquet only the metadata is read."""
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
    """Returns the schema of a file; the types of a CSV file are guessed from its first rows."""
    try:
        if is_csv(path):
            return csv_files.schema(path)
        if file_format(path) == "feather":
            return pa.ipc.open_file(pa.OSFile(str(path))).schema
        return pq.read_schema(path)
    except BROKEN as error:
        raise unreadable(path, error) from error


def unit_batches(unit: Unit, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Streams the columns of `types` as the file has them, at most `READ_ROWS` rows at a time."""
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


def is_csv(path: Path) -> bool:
    """Whether the types of a file's columns are no more than what its first rows look like."""
    return file_format(path) == "csv"


def file_format(path: Path) -> str | None:
    """Returns a value of `FORMATS`, or None if the name says that the file is no part of a log."""
    *_, before, last = ("", "", *path.suffixes)
    if last.lower() in csv_files.COMPRESSED:
        return "csv" if FORMATS.get(before.lower()) == "csv" else None
    return FORMATS.get(last.lower())


def format_names() -> str:
    """Returns the endings of a log's files, for messages."""
    return ", ".join(FORMATS)


def first_rows(path: Path, column: str) -> pa.Array:
    """Returns what the first rows of a CSV file have in a column, as it stands."""
    try:
        first = next(csv_files.batches(path, [column]), None)
    except BROKEN as error:
        raise unreadable(path, error) from error
    return pa.array([], pa.binary()) if first is None else first[column]


def extremes(path: Path, column: str) -> list[int | float]:
    """Returns the least and greatest values of a column, or of its lists' values, where a file's metadata has them."""
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
    return [value for value in values if not isinstance(value, bytes)]  # As of float16.


def unreadable(path: Path, error: Exception) -> InputError:
    """Returns the error that names a damaged file, with what arrow says of it."""
    reason = " ".join(str(error).replace(str(path), path.name).split())
    return InputError(f"{path}: cannot be read ({reason[:240]}); write the file again")


def _feather_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Streams columns of a Feather file, by default the first alone; a dataset would stumble over double names."""
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
