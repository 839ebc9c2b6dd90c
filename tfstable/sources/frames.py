"""Writes a data frame as a log, for data that fits in memory."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.day_writer import ROW_GROUP, day_writer
from tfstable.errors import InputError


def write_log(frame: Any, out: Path | str, day: str = "date") -> list[date]:
    """Writes a data frame as a log, one partition per day; rows keep their order within a day.

    New days are added, so a later frame extends the log. The partition's name holds the day; the files have no column
    for it.

    Args:
        frame: A pandas or polars data frame, or an Arrow table: one row per example.
        out: Directory of the log; created if missing.
        day: Column of the days: dates, timestamps, or text such as 2025-01-31. No nulls.

    Returns:
        The days written, in order.

    Raises:
        InputError: If `day` is not a column of days, or the log already holds a day. Nothing is written then.
    """
    table = frame if isinstance(frame, pa.Table) else frame.to_arrow() if hasattr(frame, "to_arrow") else None
    table = pa.Table.from_pandas(frame, preserve_index=False) if table is None else table
    if day not in table.column_names:
        raise InputError(f"{day}: not a column of the data frame; name the column of days: day=...")
    days = _days(table[day], day)
    found = sorted(pc.unique(days).to_pylist())
    for each in found:
        if (Path(out) / f"date={each}").exists():
            raise InputError(f"{Path(out) / f'date={each}'}: the log already holds this day; leave its rows out")
    rest = table.drop_columns([day])
    for each in found:
        rows = rest.filter(pc.equal(days, pa.scalar(each, pa.date32())))
        with day_writer(Path(out), each, rows.schema) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP)
    return found


def _days(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The days of a column of dates, timestamps or text, as date32."""
    if column.null_count:
        raise InputError(f"{name}: {column.null_count} rows of the data frame have no day; fill them in, or drop them")
    if isinstance(first := column[0].as_py() if len(column) else None, str):
        try:
            return pa.chunked_array([pa.array([date.fromisoformat(text) for text in column.to_pylist()], pa.date32())])
        except ValueError:
            raise InputError(f"{name}: {first!r} or another value is not a day like 2025-01-31") from None
    if not isinstance(first, date | datetime):
        raise InputError(f"{name}: a column of {column.type}; expected dates, timestamps or text like 2025-01-31")
    return column.cast(pa.date32()) if not pa.types.is_timestamp(column.type) else _of_time(column)


def _of_time(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The days of timestamps, in their own time zone."""
    local = pc.local_timestamp(column) if column.type.tz else column
    return pc.floor_temporal(local, unit="day").cast(pa.date32())
