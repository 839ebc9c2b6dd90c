"""What is found before training: the log against the config, by metadata alone."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tfstable.data.columns import RawColumn
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from trainers.config import Config, load
from trainers.training.check import check_log, open_log, tables

CONFIG = """
data: {path: LOG, weight: weight}
features:
  user_id: {kind: hash, buckets: 100, dim: 4}
  tags: {kind: hash, buckets: 50, table: tag, dim: 4}
  first_tag: {kind: hash, buckets: 50, table: tag, dim: 4, column: main_tag}
  city: {kind: vocabulary, max_size: 20, dim: 2}
  age: {kind: numeric}
  age_q: {kind: quantile, column: age, buckets: 8, dim: 3}
tasks:
  click: {kind: binary, truth: p_click}
  time: {kind: regression, label: seconds}
trainer: {window_days: 2}
evaluation: {gauc_column: user_id}
"""
FIRST = date(2025, 1, 1)


def rows(**columns) -> dict:
    return {
        "user_id": [1, 2, None],
        "tags": [[1, 2], None, []],
        "main_tag": [1, 2, 3],
        "city": ["Oslo", None, "Rome"],
        "age": [31, 40, None],
        "click": [1, 0, None],
        "p_click": [0.5, 0.1, 0.2],
        "seconds": [1.5, None, 3.0],
        "weight": [1.0, 1.0, 2.0],
        **columns,
    }


def day(log: Path, number: int) -> Path:
    return log / f"date={FIRST + timedelta(number)}" / "part-0.parquet"


@pytest.fixture
def log(tmp_path, write) -> Path:
    """Four days."""
    for number in range(4):
        write(day(tmp_path / "log", number), rows())
    return tmp_path / "log"


@pytest.fixture
def config(tmp_path) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return load(path)


def without(name: str) -> dict:
    return {column: values for column, values in rows().items() if column != name}


def test_a_log_that_fits(log, config):
    assert check_log(config, DayLog(log)) == {
        "user_id": RawColumn(dtype="int64"),
        "tags": RawColumn(dtype="int64", width=8),
        "main_tag": RawColumn(dtype="int64"),
        "city": RawColumn(dtype="string"),
        "age": RawColumn(dtype="int64"),
    }


def test_types_that_differ_from_day_to_day_fit(log, config, write):
    write(
        day(log, 1),
        rows(
            user_id=pa.array([1.0, None, 3.0]),
            age=pa.array([0.5, None, 2.0]),
            tags=pa.array([[], [], []], pa.list_(pa.null())),
            city=pa.nulls(3),
            click=pa.array([True, False, None]),
            seconds=pa.nulls(3),
        ),
    )
    columns = check_log(config, DayLog(log))
    assert columns["user_id"].dtype == "int64"
    assert columns["age"].dtype == "float32"


def test_sizes_of_tables(config):
    # Hash: a row for missing; vocabulary: one for unknown; 8 quantiles and one for missing. Numbers have none.
    assert tables(config) == {"user_id": (101, 4), "tag": (51, 4), "city": (21, 2), "age_q": (9, 3)}


DAMAGE = {  # What is done to the log, and the line about it, in which DAY stands for the third day's file.
    "missing feature column": (lambda log, write: write(day(log, 2), without("city")), "DAY: no column city; the file"),
    "missing label": (lambda log, write: write(day(log, 2), without("seconds")), "DAY: no column seconds"),
    "missing weight": (lambda log, write: write(day(log, 2), without("weight")), "DAY: no column weight"),
    "missing truth": (lambda log, write: write(day(log, 2), without("p_click")), "DAY: no column p_click"),
    "missing column of GAUC": (lambda log, write: write(day(log, 2), without("user_id")), "DAY: no column user_id"),
    "text for ids": (
        lambda log, write: write(day(log, 2), rows(user_id=["a", "b", "c"])),
        "DAY: column user_id has type string, expected int64; write it with that type",
    ),
    "text for a number": (
        lambda log, write: write(day(log, 2), rows(age=["a", "b", "c"])),
        "DAY: column age has type string, expected int64; write it with that type",
    ),
    "text for a label": (
        lambda log, write: write(day(log, 2), rows(click=["yes", "no", "no"])),
        "DAY: column click has type string, expected numbers (a label or weight); write it with that type",
    ),
    "text for a weight": (
        lambda log, write: write(day(log, 2), rows(weight=["1", "1", "2"])),
        "DAY: column weight has type string, expected numbers",
    ),
    "one value for a list": (
        lambda log, write: write(day(log, 2), rows(tags=[1, 2, 3])),
        "DAY: column tags has type int64, expected list of int64",
    ),
    "times": (
        lambda log, write: write(day(log, 2), rows(user_id=pa.array([0, 1, 2], pa.timestamp("ms")))),
        "DAY: column user_id has type timestamp[ms], expected int64",
    ),
    "text for a number, every day": (
        lambda log, write: [write(day(log, n), rows(age=["a", "b", "c"])) for n in range(4)],
        "column age has type string, which features.age (numeric) cannot take; change its kind or the column",
    ),
    "column of nulls": (
        lambda log, write: [write(day(log, n), rows(city=pa.nulls(3))) for n in range(4)],
        "column city is null in every row of the log; drop features.city",
    ),
    "truncated file": (lambda log, write: truncate(day(log, 2)), "DAY: cannot be read ("),
    "file of something else": (lambda log, write: day(log, 2).write_text("hello" * 100), "DAY: cannot be read ("),
    "file of nothing": (lambda log, write: day(log, 2).write_bytes(b""), "DAY: cannot be read ("),
    "file that is a directory": (
        lambda log, write: (day(log, 2).unlink(), day(log, 2).mkdir()),
        "DAY: cannot be read (",
    ),
    "day without a file": (lambda log, write: day(log, 2).unlink(), "date=2025-01-03: the day is empty"),
    "day without a row": (
        lambda log, write: write(day(log, 2), pa.table(rows()).slice(0, 0)),
        "date=2025-01-03: the day is empty; remove the directory or write its rows",
    ),
    "gap": (
        lambda log, write: shutil.rmtree(day(log, 2).parent),
        "log: no day between 2025-01-02 and 2025-01-04; add the missing days, or set data.missing_day: skip",
    ),
    "fewer days than the window": (
        lambda log, write: [shutil.rmtree(day(log, n).parent) for n in (1, 2, 3)],
        "log: 1 days, fewer than trainer.window_days (2); add days, or --set trainer.window_days=1",
    ),
    "directory that is no day": (lambda log, write: (log / "date=today").mkdir(), "date=today: not a day"),
    "no log": (lambda log, write: shutil.rmtree(log), "log: no such log directory; set data.path"),
    "empty log": (lambda log, write: (shutil.rmtree(log), log.mkdir()), "log: no day partitions"),
}


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(("damage", "expected"), DAMAGE.values(), ids=DAMAGE)
def test_a_log_that_does_not_fit(damage, expected, log, config, write):
    damage(log, write)
    with pytest.raises(InputError) as error:
        check_log(config, DayLog(log))
    message = str(error.value)
    assert "\n" not in message
    assert expected.replace("DAY", str(day(log, 2))) in message


def test_a_log_of_another_run_is_checked_against_its_columns(log, config):
    columns = check_log(config, DayLog(log))
    with pytest.raises(InputError, match=r"column city has type string, expected int64"):
        check_log(config, DayLog(log), columns | {"city": RawColumn(dtype="int64")})


def test_a_log_is_simulated_where_there_is_none_and_only_there(tmp_path, config):
    simulated = config.model_copy(
        update={
            "data": config.data.model_validate(
                {"path": tmp_path / "new", "simulate": {"days": 2, "rows_per_day": 50, "first_day": "2025-03-01"}}
            )
        }
    )
    log = open_log(simulated, lambda *_: None)
    assert [(day, log.rows(day)) for day in log.days] == [(date(2025, 3, 1), 50), (date(2025, 3, 2), 50)]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "new").rglob("*.parquet")}
    open_log(simulated, lambda *_: None)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "new").rglob("*.parquet")} == before
    with pytest.raises(InputError, match="no such log directory"):
        open_log(config, lambda *_: None)


def test_values_are_not_read(log, config, write):
    # A wrong value needs the rows; the metadata of a log of any size is read in a moment.
    write(day(log, 2), rows(click=[2, 3, 4], age=[np.inf, 1.0, 2.0]))
    check_log(config, DayLog(log))
