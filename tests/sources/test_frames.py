"""A log from a data frame: pandas, polars and Arrow give the same files; bad days are refused before any is written."""

from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.sources.frames import write_log

COLUMNS = {
    "date": [date(2025, 1, 2), date(2025, 1, 1), date(2025, 1, 2)],
    "user": ["a", "b", "ü"],
    "tags": [["x"], [], ["y", "z"]],
    "age": [1.5, None, 3.0],
    "click": [1, 0, 1],
}
MADE = {
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "arrow": lambda: pa.table(COLUMNS),
    "text": lambda: pa.table(COLUMNS | {"date": [str(day) for day in COLUMNS["date"]]}),
    "timestamps": lambda: pd.DataFrame(
        COLUMNS | {"date": [datetime(d.year, d.month, d.day, 23, 59) for d in COLUMNS["date"]]}
    ),
}


@pytest.mark.parametrize("kind", MADE)
def test_every_row_is_in_its_day_in_order(kind, tmp_path):
    assert write_log(MADE[kind](), tmp_path / "log") == [date(2025, 1, 1), date(2025, 1, 2)]
    log = DayLog(tmp_path / "log")
    assert [log.rows(day) for day in log.days] == [1, 2]
    second = pq.ParquetFile(tmp_path / "log" / "date=2025-01-02" / "part-0.parquet").read()
    assert second.column_names == ["user", "tags", "age", "click"]
    assert second["user"].to_pylist() == ["a", "ü"]
    assert [list(tags) for tags in second["tags"].to_pylist()] == [["x"], ["y", "z"]]
    assert second["age"].to_pylist() == [1.5, 3.0]


def test_a_day_is_one_of_the_timestamps_own_time_zone(tmp_path):
    late = datetime(2025, 1, 1, 23, 30, tzinfo=UTC)  # The second of January in Berlin.
    frame = pl.DataFrame({"at": [late], "click": [1]}).with_columns(pl.col("at").dt.convert_time_zone("Europe/Berlin"))
    assert write_log(frame, tmp_path / "log", day="at") == [date(2025, 1, 2)]


def test_a_new_frame_extends_the_log(tmp_path):
    write_log(pd.DataFrame(COLUMNS), tmp_path / "log")
    write_log(pd.DataFrame({"date": [date(2025, 1, 3)], "click": [1]}), tmp_path / "log")
    assert len(DayLog(tmp_path / "log").days) == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"click": [1]}, "date: not a column of the data frame"),
        ({"date": [None, "2025-01-01"]}, "date: 1 rows of the data frame have no day"),
        ({"date": ["2025-01-01", "yesterday"]}, "is not a day like 2025-01-31"),
        ({"date": [20250101]}, "date: a column of int64"),
        ({"date": ["2025-01-03", "2025-01-02"], "user": ["a", "b"]}, "date=2025-01-02: the log already holds this day"),
    ],
)
def test_bad_days_are_refused_before_anything_is_written(columns, message, tmp_path):
    write_log(pd.DataFrame(COLUMNS), tmp_path / "log")
    before = sorted(Path(tmp_path).rglob("*"))
    with pytest.raises(InputError, match=message):
        write_log(pd.DataFrame(columns), tmp_path / "log")
    assert sorted(Path(tmp_path).rglob("*")) == before
