"""Counters: against a plain reference over a small log; without a leak; whatever the files, windows and buffers are."""

import math
import shutil
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tfstable.data.columns import raw_columns
from tfstable.data.log import DayLog, read
from tfstable.errors import InputError
from tfstable.inputs.counters import DayCounts, summands, table
from tfstable.inputs.preprocessor import Preprocessor, combined, crossed, hash_value
from tfstable.inputs.reader import ExampleReader
from tfstable.inputs.statistics import fit
from tfstable.specs import BinaryTask, CounterFeature, HashFeature, RegressionTask

DAYS = tuple(date(2025, 1, day) for day in (1, 2, 3, 6, 7, 8))  # With a gap.
ROWS = 60
COUNTED = {
    "user": CounterFeature(kind="counter", by=("user_id",), of=("click",), buckets=2**20),
    "pair": CounterFeature(
        kind="counter", by=("user_id", "tab"), of=("seconds", "click"), half_life_days=2, smoothing=3, buckets=2**20
    ),
    "late": CounterFeature(
        kind="counter", by=("tab",), of=("click", "seconds"), half_life_days=0.5, delay_days=1, buckets=2**20
    ),
}
FEATURES = {"city": HashFeature(kind="hash", buckets=50, column="tab"), **COUNTED}
TASKS = {
    "click": BinaryTask(kind="binary"),
    "seconds": RegressionTask(kind="regression", transform="log1p"),
}


def rows_of(day: date) -> list[dict]:
    rng = np.random.default_rng(day.day)
    return [
        {
            "user_id": None if rng.random() < 0.1 else int(rng.integers(8)),
            "tab": rng.choice(["a", "b", None]),
            "click": None if rng.random() < 0.2 else int(rng.random() < 0.4),
            "seconds": None if rng.random() < 0.2 else float(rng.integers(100)),
            "weight": None if rng.random() < 0.1 else float(rng.integers(1, 4)),
        }
        for _ in range(ROWS)
    ]


SCHEMA = pa.schema(
    {"user_id": pa.int64(), "tab": pa.string(), "click": pa.int8(), "seconds": pa.float64(), "weight": pa.float32()}
)


def write_day(log: Path, day: date, rows: list[dict], files: int = 1, row_group: int = 1000):
    folder = log / f"date={day}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        pq.write_table(
            pa.Table.from_pylist([rows[i] for i in part], SCHEMA),
            folder / f"{number}.parquet",
            row_group_size=row_group,
        )


@pytest.fixture
def log(tmp_path) -> Path:
    for day in DAYS:
        write_day(tmp_path / "log", day, rows_of(day))
    return tmp_path / "log"


def reader_of(path: Path, features=FEATURES) -> ExampleReader:
    log = DayLog(path, missing_day="skip")
    columns = raw_columns(features, {p: schema for day in log.days for p, schema in log.schemas(day).items()})
    batches = read(log.units(log.days[0]), dict.fromkeys([*columns, "click", "seconds"]))
    statistics = fit(features, TASKS, columns, (pa.Table.from_batches([batch]) for batch in batches))
    return ExampleReader(log, Preprocessor(features, statistics), statistics, TASKS, "weight")


def inputs(reader: ExampleReader, days=DAYS, buffer_rows: int = 10_000, as_of: date | None = None) -> dict:
    """The counters of every row of some days, in the log's order."""
    batches = reader.batches(days, 20, buffer_rows, as_of=as_of)
    unpacked = [reader.layout.unpack(batch)[0] for batch in batches.one_pass(None)]
    names = [name for name in unpacked[0] if name != "city"]
    return {name: np.concatenate([features[name] for features in unpacked])[: batches.rows] for name in names}


def reference(counter: CounterFeature, days: dict[date, list[dict]], row: dict, day: date) -> list[float]:
    """What one row sees, row by row in plain Python."""
    rows_seen, of_key, of_all = 0.0, defaultdict(lambda: [0.0, 0.0]), defaultdict(lambda: [0.0, 0.0])
    newest = day - timedelta(1 + counter.delay_days)
    for earlier, rows in days.items():
        if earlier > newest:
            continue
        decay = 1.0 if counter.half_life_days is None else 0.5 ** ((newest - earlier).days / counter.half_life_days)
        for other in rows:
            same = all(other[column] == row[column] for column in counter.by)
            rows_seen += decay * same
            for task in counter.of:
                if other[task] is not None:
                    y = math.log1p(other[task]) if task == "seconds" else other[task]
                    for sums in [of_all[task]] + [of_key[task]] * same:
                        sums[0] += decay * y * (other["weight"] or 0)
                        sums[1] += decay * (other["weight"] or 0)
    seen, s = [], counter.smoothing
    for task in counter.of:
        (y, n), (all_y, all_n) = of_key[task], of_all[task]
        if task == "seconds":
            base = all_y / all_n if all_n else 0.0
            seen.append((y + s * base) / (n + s) - base)
        else:
            base = (all_y + 0.5) / (all_n + 1)
            p = (y + s * base) / (n + s)
            seen.append(math.log(p / (1 - p)) - math.log(base / (1 - base)))
    return [*seen, math.log1p(rows_seen)]


@pytest.mark.parametrize("name", COUNTED)
def test_a_row_sees_the_days_before_its_own(name, log):
    found, days = inputs(reader_of(log))[name], {day: rows_of(day) for day in DAYS}
    expected = [reference(COUNTED[name], days, row, day) for day, rows in days.items() for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert not found[:ROWS].any()  # Before the first day there is nothing.
    assert np.abs(found[-ROWS:]).min(axis=0).max() > 0


def test_flipped_labels_of_a_day_change_no_input_of_that_day_or_before(log, tmp_path):
    changed = DAYS[3]
    shutil.copytree(log, tmp_path / "flipped")
    flipped = [
        {**row, "click": None if row["click"] is None else 1 - row["click"], "seconds": 1e4, "weight": 50.0}
        for row in rows_of(changed)
    ]
    write_day(tmp_path / "flipped", changed, flipped)
    before, after = inputs(reader_of(log)), inputs(reader_of(tmp_path / "flipped"))
    end = ROWS * (DAYS.index(changed) + 1)
    for name, values in before.items():
        assert values[:end].tobytes() == after[name][:end].tobytes()
        later = end + ROWS * COUNTED[name].delay_days  # There is no gap after it.
        assert (values[end:later] == after[name][end:later]).all()
        assert (values[later:] != after[name][later:]).any()


def test_files_row_groups_windows_and_buffers_change_no_bit(log, tmp_path):
    whole = inputs(reader_of(log))
    for number, day in enumerate(DAYS):
        write_day(tmp_path / "cut", day, rows_of(day), files=1 + number % 3, row_group=7)
    cut = reader_of(tmp_path / "cut")
    for days in (DAYS[4:], DAYS[1:4], DAYS):  # Backwards in time, too.
        parts = inputs(cut, days, buffer_rows=20)
        first = ROWS * DAYS.index(days[0])
        for name, values in whole.items():
            assert values[first : first + ROWS * len(days)].tobytes() == parts[name].tobytes()


def test_what_is_forgotten_is_counted_again_from_sums_that_were_kept(log):
    whole = inputs(reader_of(log))
    reader = reader_of(log)
    inputs(reader, DAYS[:4])
    kept = reader.counted.forget(DAYS[3])
    again = reader_of(log)
    again.counted.earlier = lambda day: kept if kept.day <= day else None
    for name, values in whole.items():
        for other in (reader, again):
            assert values[3 * ROWS :].tobytes() == inputs(other, DAYS[3:])[name].tobytes()
            assert values[ROWS : 2 * ROWS].tobytes() == inputs(other, DAYS[1:2])[name].tobytes()  # Before what is kept.


def test_rows_may_see_what_those_of_another_day_would(log):
    reader = reader_of(log)
    rows = {name: values[ROWS:] for name, values in inputs(reader, DAYS[:2], as_of=DAYS[-1] + timedelta(1)).items()}
    days = {day: rows_of(day) for day in DAYS}
    for name, values in rows.items():
        expected = [reference(COUNTED[name], days, row, DAYS[-1] + timedelta(1)) for row in rows_of(DAYS[1])]
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)


def test_one_example_of_great_weight_leaves_finite_numbers():
    counter = COUNTED["user"]
    counts = DayCounts(counter)
    counts.add(np.array([0, 1, 1]), summands(TASKS["click"], np.array([1.0, 0.0, 1.0]), np.array([1e30, 1.0, 1.0])))
    values = table(counter, TASKS, counts.sums()).values
    assert np.isfinite(values).all()
    assert not values[0].any()  # Of other keys.


def test_a_key_of_several_columns_is_the_crossed_id_of_its_columns():
    tab, user = tf.constant(["a", "b", "c"]), tf.constant([2, 1, 3], tf.int64)
    bucket = combined([hash_value(tab), hash_value(user)])
    assert (bucket.numpy() == crossed([tab, user]).numpy()).all()
    one_user = combined([hash_value(tab), hash_value(user[:1])])  # As in `rank`: one row of the user's columns.
    assert (one_user.numpy() == crossed([tab, tf.constant([2, 2, 2], tf.int64)]).numpy()).all()


def test_a_label_that_is_none_is_refused_on_any_day_that_counts(log):
    write_day(log, DAYS[1], [{**row, "click": 7} for row in rows_of(DAYS[1])])
    reader = reader_of(log)
    with pytest.raises(InputError, match=r"tasks\.click: column click holds 7; .*2025-01-02"):
        inputs(reader, DAYS[4:5])


def test_a_column_of_lists_is_no_key(tmp_path):
    folder = tmp_path / "log" / "date=2025-01-01"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"tab": [["a"], ["b"]], "click": [0, 1], "seconds": [1.0, 2.0]}), folder / "0.parquet")
    log = DayLog(tmp_path / "log")
    with pytest.raises(InputError, match=r"column tab has type list.*features\.late \(counter\) cannot take"):
        raw_columns({"late": COUNTED["late"]}, log.schemas(log.days[0]))
