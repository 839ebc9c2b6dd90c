"""Histories as their definition says, row by row in plain Python, and small logs on which to try it."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfstable.sources.frames import write_log
from tfstable.sources.history import History

FIRST = date(2025, 1, 1)
Row = dict[str, Any]


def histories(rows: Sequence[Row], history: History) -> list[dict[str, list]]:
    """The list columns of each row; each row has its `date`."""
    return [_history(row, rows, history) for row in rows]


def _history(row: Row, rows: Sequence[Row], history: History) -> dict[str, list]:
    def seen(event: Row) -> bool:
        happened = history.where is None or (event[history.where] is not None and event[history.where] != 0)
        if not happened or row[history.by] in (None, "") or event[history.by] != row[history.by]:
            return False
        if history.within_day:
            return event["date"] <= row["date"] and event[history.time] < row[history.time]
        return event["date"] < row["date"] - timedelta(history.delay_days)

    def order(event: Row) -> tuple:
        values = [event[column] for column in history.of]
        known = [(value is not None, value if value is not None else 0) for value in values]
        return (event[history.time] if history.time else 0, event["date"], known)

    events = sorted(filter(seen, rows), key=order)[-history.last :]
    lists = [[event[column] for event in events] for column in history.of]
    gap = [row[history.time] - e[history.time] if history.time else (row["date"] - e["date"]).days for e in events]
    return dict(zip(history.names, [*lists, gap], strict=True))


def random_rows(seed: int) -> list[Row]:
    """Rows of a few users on a few days: nulls everywhere, equal times, days left out, times that leave their day."""
    rng = random.Random(seed)
    days = sorted(rng.sample(range(9), rng.randint(3, 6)))
    rows = []
    for day in days:
        for _ in range(rng.randint(5, 30)):
            rows.append(
                {
                    "date": FIRST + timedelta(day),
                    "user": rng.choice([None, 1, 2, 3]),
                    "session": rng.choice([None, "", "a", "B", "é"]),
                    "video_id": rng.choice([None, *range(6)]),
                    "author_id": rng.choice([None, "", "x", "Y", "ü"]),
                    "seconds": rng.choice([None, 0.5, 1.5, -2.0]),
                    "is_click": rng.choice([None, 0, 1, 1]),
                    "time": 10 * day + rng.randint(0, rng.choice([5, 25])),
                }
            )
    return rows


COLUMNS = pa.schema(
    {
        "date": pa.date32(),
        "user": pa.int64(),
        "session": pa.string(),
        "video_id": pa.int64(),
        "author_id": pa.string(),
        "seconds": pa.float32(),
        "is_click": pa.int64(),
        "time": pa.int64(),
    }
)


def write(rows: Sequence[Row], out: Path) -> None:
    write_log(pa.Table.from_pylist(list(rows), COLUMNS), out)


def read(log: Path) -> list[Row]:
    """All rows of a log, each with its `date`."""
    return [
        {"date": date.fromisoformat(file.parent.name.removeprefix("date=")), **row}
        for file in sorted(log.glob("date=*/*.parquet"))
        for row in pq.read_table(file, partitioning=None).to_pylist()
    ]
