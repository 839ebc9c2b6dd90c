"""The narrow columns of a day that make histories, on the way to an engine, and the lists on the way back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfstable.data.log import DayLog, common_types, read
from tfstable.data.types import is_number
from tfstable.errors import InputError

READ_ROWS = 16_384  # Of a result, at a time: lists are wide.


@dataclass(frozen=True)
class Columns:
    """The columns of a log that histories are made of, each with one type for all days."""

    key: tuple[str, pa.DataType]
    values: dict[str, pa.DataType]
    where: tuple[str, pa.DataType] | None
    time: tuple[str, pa.DataType] | None

    @property
    def events(self) -> pa.Schema:
        """The table of events: key, day, perhaps time, and the values as v0, v1 ..., which clash with no other name."""
        time = {"time": self.time[1]} if self.time else {}
        values = {f"v{number}": dtype for number, dtype in enumerate(self.values.values())}
        return pa.schema({"key": self.key[1], "day": pa.int64()} | time | values)

    @property
    def order(self) -> tuple[str, ...]:
        """The columns of `events` that order them."""
        time = ("time",) if self.time else ()
        return (*time, "day", *(f"v{number}" for number in range(len(self.values))))

    @property
    def rows(self) -> pa.Schema:
        """The table of rows: row, key, perhaps time."""
        return pa.schema({"row": pa.int64(), "key": self.key[1]} | ({"time": self.time[1]} if self.time else {}))


def columns_of(log: DayLog, by: str, of: Sequence[str], where: str | None, time: str | None) -> Columns:
    """Returns the columns with the types that values of all days fit into.

    Raises:
        InputError: If a column is missing, or of a type that cannot be what it is for.
    """
    paths = [path for day in log.days for path in log.schemas(day)]
    wanted = [by, *of, *([where] if where else []), *([time] if time else [])]
    found = common_types(paths, list(dict.fromkeys(wanted)))

    def checked(column: str, option: str, text: bool, numbers: bool) -> pa.DataType:
        dtype = found[column]
        if pa.types.is_null(dtype):  # Nothing but nulls: of any type.
            return pa.int64()
        if text and pa.types.is_string(dtype):
            return dtype
        if pa.types.is_boolean(dtype) or pa.types.is_integer(dtype):
            return pa.int64()
        if numbers and pa.types.is_floating(dtype):
            return pa.float32() if dtype.bit_width <= 32 else pa.float64()
        if option == "--by" and is_number(dtype):
            return pa.int64()  # Ids as pandas writes them beside nulls.
        kinds = ["integers", *(["numbers"] if numbers else []), *(["text"] if text else [])]
        raise InputError(f"{option} {column}: a column of {dtype} in {log.path}; write it as {' or '.join(kinds)}")

    return Columns(
        (by, checked(by, "--by", text=True, numbers=False)),
        {column: checked(column, "--of", text=True, numbers=True) for column in of},
        (where, checked(where, "--where", text=False, numbers=True)) if where else None,
        (time, checked(time, "--time", text=False, numbers=True)) if time else None,
    )


def stage_rows(log: DayLog, day: date, columns: Columns, path: Path, most: int) -> list[Path]:
    """Writes the rows of a day that have a key as Parquet files for an engine, about `most` rows each.

    Returns:
        The files, in the order of the rows; at least one.
    """
    paths, first, written = [path.with_suffix(".0.parquet")], 0, 0
    writer = pq.ParquetWriter(paths[0], columns.rows)
    try:
        for batch, key, has_key, times in _keyed(log, day, columns, {}):
            if written >= most:
                writer.close()
                paths.append(path.with_suffix(f".{len(paths)}.parquet"))
                writer, written = pq.ParquetWriter(paths[-1], columns.rows), 0
            numbers = pa.array(np.arange(first, first + len(batch)))
            rows = pa.table({"row": numbers, "key": key} | times, schema=columns.rows).filter(has_key)
            writer.write_table(rows)
            first, written = first + len(batch), written + len(rows)
    finally:
        writer.close()
    return paths


def stage_events(log: DayLog, day: date, columns: Columns, path: Path) -> None:
    """Writes the events of a day as Parquet for an engine: rows with a key where `where` is neither null nor 0."""
    wanted = columns.values | dict([columns.where] if columns.where else [])
    with pq.ParquetWriter(path, columns.events) as writer:
        for batch, key, has_key, times in _keyed(log, day, columns, wanted):
            happened = has_key if columns.where is None else pc.and_(has_key, _true(batch[columns.where[0]]))
            values = {f"v{number}": batch[name] for number, name in enumerate(columns.values)}
            days = pa.repeat(pa.scalar(day.toordinal(), pa.int64()), len(batch))
            table = pa.table({"key": key, "day": days} | times | values, schema=columns.events)
            writer.write_table(table.filter(happened))


def _keyed(
    log: DayLog, day: date, columns: Columns, wanted: dict[str, pa.DataType]
) -> Iterator[tuple[pa.RecordBatch, pa.Array, pa.Array, dict[str, pa.Array]]]:
    """Streams the columns of a day with each batch's keys, where there is one, and its times."""
    types: dict[str, pa.DataType | None] = {**wanted, columns.key[0]: columns.key[1]}
    types |= dict([columns.time] if columns.time else [])
    for batch in read(log.units(day), types):
        key = batch[columns.key[0]]
        has_key = pc.is_valid(key)
        if pa.types.is_string(key.type):
            has_key = pc.and_(has_key, pc.fill_null(pc.not_equal(key, ""), False))  # Empty text is a null to models.
        times = {"time": _time(batch[columns.time[0]], columns.time[0], log, day)} if columns.time else {}
        yield batch, key, has_key, times


def earliest(log: DayLog, day: date, time: tuple[str, pa.DataType]) -> int | float:
    """Returns the least time of a day's rows."""
    parts = read(log.units(day), {time[0]: time[1]})
    return min(pc.min(_time(batch[time[0]], time[0], log, day)).as_py() for batch in parts if len(batch))


def no_events(path: Path, columns: Columns) -> None:
    """Writes a table of no events."""
    pq.write_table(columns.events.empty_table(), path)


class Lists:
    """Streams an engine's result of a day, row by row in the order of the log.

    Args:
        paths: Parquet files of (row, events) in the order of row, or directories of such files, by name; at least one.
        schema: The list columns to make; the last is the gap.
        columns: What the events were made of.
        day: The day of the rows.
    """

    def __init__(self, paths: Iterable[Path], schema: pa.Schema, columns: Columns, day: date) -> None:
        self._batches = (batch for path in paths for batch in _result(path))
        self._schema, self._columns, self._day = schema, columns, day
        self._rest: pa.Table | None = None
        self._first = 0

    def take(self, size: int, time: pa.Array | None) -> list[pa.Array]:
        """Returns the list columns of the next `size` rows.

        Args:
            size: Number of rows.
            time: Their times, if events have one: the gap is the difference. None: it is in days.
        """
        end = self._first + size
        part = self._until(end)
        seen = np.zeros(size, np.int64)
        place = part["row"].to_numpy() - self._first  # (rows that see any event,)
        lists = part["events"].combine_chunks()
        seen[place] = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        self._first = end
        offsets = pa.array(np.concatenate([[0], np.cumsum(seen)]).astype(np.int32))
        events = lists.flatten()
        arrays = [pc.struct_field(events, f"v{number}") for number in range(len(self._columns.values))]
        if time is None:
            gap = pc.subtract(self._day.toordinal(), pc.struct_field(events, "day"))
        else:
            gap = pc.subtract(time.take(pa.array(np.repeat(np.arange(size), seen))), pc.struct_field(events, "time"))
        return [
            pa.ListArray.from_arrays(offsets, array.cast(field.type.value_type), type=field.type)
            for array, field in zip([*arrays, gap], self._schema, strict=True)
        ]

    def _until(self, end: int) -> pa.Table:
        parts = [] if self._rest is None else [self._rest]
        while not parts or not len(parts[-1]) or parts[-1]["row"][-1].as_py() < end:
            if (batch := next(self._batches, None)) is None:
                break
            parts.append(batch)
        table = pa.concat_tables(parts)
        count = int(np.searchsorted(table["row"].to_numpy(), end))
        self._rest = table.slice(count)
        return table.slice(0, count)


def _result(path: Path) -> Iterator[pa.Table]:
    files = [path] if path.is_file() else sorted(path.glob("part-*.parquet"))
    for file in files:
        parquet = pq.ParquetFile(file, pre_buffer=False)
        yield parquet.schema_arrow.empty_table()  # The type, even of no rows.
        if not parquet.num_row_groups:  # Which pyarrow below 20 cannot read.
            continue
        for batch in parquet.iter_batches(READ_ROWS):
            yield pa.Table.from_batches([batch])


def _true(column: pa.Array) -> pa.Array:
    """Where a column is neither null, NaN nor 0."""
    return pc.fill_null(pc.and_(pc.not_equal(column, 0), pc.equal(column, column)), False)


def _time(column: pa.Array, name: str, log: DayLog, day: date) -> pa.Array:
    unknown = pc.sum(pc.is_null(column, nan_is_null=True)).as_py()
    if unknown:
        raise InputError(
            f"{log.path}, {day}: column {name} is null in {unknown} rows or more, which no history has a place for; "
            "fill them in, or leave the time out"
        )
    return column
