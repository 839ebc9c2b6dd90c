"""From a log to model inputs: formats agree, values are checked, tf.data gets what the trainer needs."""

import threading
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfstable.data.columns import RawColumn, raw_columns
from tfstable.data.log import DayLog, read
from tfstable.data.shuffle import FullShuffle
from tfstable.errors import InputError
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader
from tfstable.inputs.statistics import Statistics, fit
from tfstable.specs import (
    MISSING_INT,
    BinaryTask,
    HashFeature,
    NumericFeature,
    QuantileFeature,
    RegressionTask,
    VocabularyFeature,
)

DAYS = (date(2025, 1, 1), date(2025, 1, 2))
ROWS = 50  # A day.
FEATURES = {
    "user": HashFeature(kind="hash", buckets=1000, column="user_id"),
    "tag": VocabularyFeature(kind="vocabulary", delimiter=",", max_values=2),
    "city": VocabularyFeature(kind="vocabulary"),
    "age": NumericFeature(kind="numeric", log1p=True),
    "age_q": QuantileFeature(kind="quantile", column="age", buckets=4),
    "level": HashFeature(kind="hash", buckets=100),  # Eleven integers: preprocessed value by value.
    "level_n": NumericFeature(kind="numeric", column="level", log1p=True),
}
TASKS = {
    "click": BinaryTask(kind="binary"),
    "time": RegressionTask(kind="regression", label="seconds", transform="log1p"),
}


def table(seed: int) -> dict:
    """A day's rows, with nulls everywhere; the second day's columns look unlike the first day's to a CSV reader."""
    rng = np.random.default_rng(seed)
    missing = rng.random(ROWS) < 0.2
    whole = seed == 0
    ages = rng.integers(1, 90, ROWS).astype(float) + (0 if whole else 0.5)
    tags = [str(t) if whole else f"{t},{t + 1},3" for t in rng.integers(1, 9, ROWS)]
    return {
        "user_id": pa.array(rng.integers(0, 10**12, ROWS), mask=None if whole else missing),
        "tag": pa.array(tags, mask=rng.random(ROWS) < 0.1),
        "city": pa.array(rng.choice(["Rome", "Oslo", "été"], ROWS), mask=rng.random(ROWS) < 0.1),
        "age": pa.array(ages.astype(np.int64) if whole else ages, mask=rng.random(ROWS) < 0.1),
        "click": pa.array(rng.random(ROWS) < 0.5 if whole else (rng.random(ROWS) < 0.5).astype(np.int8), mask=missing),
        "seconds": pa.array(rng.exponential(10, ROWS).round(2), mask=missing),
        "weight": pa.array(np.where(missing, 2.0, 1.0), mask=rng.random(ROWS) < 0.1),
        "level": pa.array(rng.integers(-2, 9, ROWS), mask=missing),
    }


class Opened(NamedTuple):
    """A log, what was fitted on it, and a reader of it."""

    log: DayLog
    preprocessor: Preprocessor
    statistics: Statistics
    reader: ExampleReader


def open_log(path: Path) -> Opened:
    log = DayLog(path)
    columns = raw_columns(FEATURES, {p: schema for day in log.days for p, schema in log.schemas(day).items()})
    units = [unit for day in log.days for unit in log.units(day)]
    batches = read(units, dict.fromkeys([*columns, "click", "seconds"]))
    statistics = fit(FEATURES, TASKS, columns, (pa.Table.from_batches([batch]) for batch in batches))
    preprocessor = Preprocessor(FEATURES, statistics)
    return Opened(log, preprocessor, statistics, ExampleReader(log, preprocessor, statistics, TASKS, "weight"))


@pytest.fixture(scope="module")
def logs(tmp_path_factory, write) -> dict[str, Opened]:
    """One log in each format."""
    path = tmp_path_factory.mktemp("logs")
    for suffix in ("parquet", "csv", "feather"):
        for number, day in enumerate(DAYS):
            write(path / suffix / f"date={day}" / f"part-0.{suffix}", table(number))
    return {suffix: open_log(path / suffix) for suffix in ("parquet", "csv", "feather")}


@pytest.fixture(scope="module")
def reader(logs) -> ExampleReader:
    return logs["parquet"].reader


def flat(reader, packed) -> dict[str, np.ndarray]:
    features, labels, weight = reader.layout.unpack(packed)
    return {**features, **{f"label {k}": v for k, v in labels.items()}, "weight": weight}


@pytest.mark.parametrize("buffer_rows", [16, 1000])
def test_formats_give_the_same_batches(logs, buffer_rows):
    streams = [list(log.reader.batches(DAYS, 16, buffer_rows).one_pass((0, 1))) for log in logs.values()]
    assert [len(stream) for stream in streams] == [7, 7, 7]  # ceil(100 / 16)
    for batches in zip(*streams, strict=True):
        first, *others = [flat(log.reader, batch) for log, batch in zip(logs.values(), batches, strict=True)]
        for other in others:
            for name, values in first.items():
                np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_batches_hold_inputs_labels_and_weights(reader):
    (packed,) = reader.batches(DAYS, 100, 1000).one_pass(None)
    features, labels, weight = reader.layout.unpack(packed)
    assert {name: (v.dtype.name, v.shape) for name, v in features.items()} == {
        "user": ("int32", (100,)),
        "tag": ("int32", (100, 2)),
        "city": ("int32", (100,)),
        "age": ("float32", (100,)),
        "age_q": ("int32", (100,)),
        "level": ("int32", (100,)),
        "level_n": ("float32", (100,)),
    }
    seconds = table(0)["seconds"].to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(labels["time"][:ROWS], seconds.astype(np.float32))  # NaN where null.
    clicks = [v for seed in (0, 1) for v in table(seed)["click"].to_pylist()]
    assert [None if np.isnan(v) else v for v in labels["click"]] == clicks
    weights = [v for seed in (0, 1) for v in table(seed)["weight"].to_pylist()]
    assert weight.tolist() == [v or 0.0 for v in weights]  # A null weighs 0.


def test_without_a_weight_column_every_example_weighs_one(logs):
    log, preprocessor, statistics, _ = logs["parquet"]
    unweighted = ExampleReader(log, preprocessor, statistics, TASKS)
    (batch,) = unweighted.batches(DAYS[:1], 64, 1000).one_pass(None)
    assert batch["weight"].tolist() == [1.0] * 50 + [0.0] * 14


def test_training_and_the_signature_see_the_same_inputs(logs):
    log = logs["csv"]
    (packed,) = log.reader.batches(DAYS, 100, 1000).one_pass(None)
    features, _, _ = log.reader.layout.unpack(packed)
    signature = log.preprocessor.signature()
    assert {name: spec.dtype for name, spec in signature.items()} == {
        "user_id": tf.int64,
        "tag": tf.string,
        "city": tf.string,
        "age": tf.float32,  # Integers on the first day, halves on the second.
        "level": tf.int64,
    }
    raw = {}
    for name, spec in signature.items():  # As a client would send the rows.
        values = [value for day in (0, 1) for value in table(day)[name].to_pylist()]
        null = {tf.int64: MISSING_INT, tf.float32: np.nan, tf.string: ""}[spec.dtype]
        raw[name] = tf.constant([null if value is None else value for value in values], spec.dtype)
    serve = tf.function(log.preprocessor, input_signature=[signature])
    for name, value in serve(raw).items():
        np.testing.assert_array_equal(value, features[name], err_msg=name)


# --- tf.data.


def test_a_dataset_has_static_shapes_and_parts_in_order(reader):
    whole = list(reader.batches(DAYS, 16, 1000).one_pass((3,)))
    dataset = reader.dataset(reader.batches(DAYS, 16, 1000).one_pass((3,)), 16, parts=2)
    features, labels, weight = dataset.element_spec
    assert features["tag"] == tf.TensorSpec([8, 2], tf.int32)
    assert labels["time"] == tf.TensorSpec([8], tf.float32)
    assert weight == tf.TensorSpec([8], tf.float32)
    elements = list(dataset.as_numpy_iterator())
    assert len(elements) == 14
    for number, (features, labels, weight) in enumerate(elements):
        part = slice(8 * (number % 2), 8 * (number % 2) + 8)
        expected_features, expected_labels, expected_weight = reader.layout.unpack(whole[number // 2])
        for name, value in features.items():
            np.testing.assert_array_equal(value, expected_features[name][part], err_msg=name)
        np.testing.assert_array_equal(labels["click"], expected_labels["click"][part])
        np.testing.assert_array_equal(weight, expected_weight[part])


def test_numbers_alone_are_inputs_too(logs):
    log = logs["parquet"].log
    features = {"age": NumericFeature(kind="numeric")}
    statistics = Statistics(columns={"age": RawColumn(dtype="float32")}, moments={"age": (0.0, 1.0)})
    reader = ExampleReader(log, Preprocessor(features, statistics), statistics, TASKS, "weight")
    elements = list(reader.dataset(reader.batches(DAYS, 16, 1000).one_pass(None), 16).as_numpy_iterator())
    assert len(elements) == 7
    expected = logs["parquet"].reader
    (whole,) = expected.batches(DAYS, 100, 1000).one_pass(None)
    np.testing.assert_array_equal(elements[0][1]["click"], expected.layout.unpack(whole)[1]["click"][:16])
    assert list(elements[0][0]) == ["age"]
    assert elements[0][0]["age"].shape == (16,)


def test_a_dataset_that_is_left_early_leaves_no_reading_thread(reader):
    def reading():
        return [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]

    before = reading()
    iterator = iter(reader.dataset(reader.batches(DAYS, 8, 16).forever((0,)), 8))
    next(iterator)
    assert len(reading()) > len(before)
    del iterator
    assert reading() == before


# --- Values that are found wrong only when they are read, days after the statistics were fitted.


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("click", [2] * ROWS, r"tasks\.click: column click holds 2; a binary label is 0, 1 or null"),
        ("seconds", [-1.0] * ROWS, r"tasks\.time: column seconds holds -1; log1p needs finite labels above -1"),
        ("seconds", [np.inf] * ROWS, r"tasks\.time: column seconds holds inf"),
        ("click", [0] * 47 + [-1] * 3, r"holds -1; .*2025-01-03/part-0\.parquet: 3 of its 50 rows\)"),
        ("seconds", [1.0] * 48 + [1e300] * 2, r"holds 1e\+300; .*2025-01-03/part-0\.parquet: 2 of its 50 rows\)"),
        ("weight", [-1.0] * ROWS, r"data\.weight: column weight holds -1; a weight is finite and at least 0, or null"),
        ("weight", [np.inf] * ROWS, r"holds inf; .*2025-01-03/part-0\.parquet: 50 of its 50 rows\)"),
        ("weight", np.array([1.0] * 49 + [np.nan]), r"holds nan; .*part-0\.parquet: 1 of its 50 rows\)"),
        ("user_id", [0.5] * ROWS, r"part-0\.parquet: column user_id: Float value 0\.5"),
    ],
)
def test_bad_values_of_a_later_day(column, values, message, logs, tmp_path, write):
    days = (*DAYS, DAYS[1] + timedelta(1))
    for number, day in enumerate(days):
        rows = table(number % 2) | ({column: values} if day == days[-1] else {})
        write(tmp_path / f"date={day}" / "part-0.parquet", rows)
    _, preprocessor, statistics, _ = logs["parquet"]
    reader = ExampleReader(DayLog(tmp_path), preprocessor, statistics, TASKS, "weight")
    assert len(list(reader.batches(DAYS, 16, 16).one_pass(None))) == 7
    with pytest.raises(InputError, match=message):
        list(reader.batches(days, 16, 16).one_pass(None))
    # Out of tf.data it comes as the same error, after the batches before it.
    dataset, got = reader.dataset(reader.batches(days, 16, 16).one_pass(None), 16), []
    with pytest.raises(InputError, match=message), reader.input_errors():
        got.extend(iter(dataset))
    assert len(got) == 6  # The next 16 rows, 96 to 111, hold the first bad one: 100.


def test_histories_keep_their_newest_values_whichever_way_they_are_preprocessed(tmp_path, write):
    lists = {
        "seen": pa.array([["a", "b", "c", "d"], None, [], ["b"]] * 4),
        "video": pa.array([[7, 8, 9], [8], [], None] * 4),
        "gap": pa.array([[1.0, None, 300.0, np.inf], [2.0], None, []] * 4, pa.list_(pa.float32())),
    }
    write(tmp_path / "date=2025-01-01" / "part-0.parquet", {**lists, "click": pa.array([0, 1] * 8)})
    features = {
        "two": HashFeature(kind="hash", buckets=1000, column="seen", max_values=2),
        "three": HashFeature(kind="hash", buckets=1000, column="seen", max_values=3),
        "video": HashFeature(kind="hash", buckets=1000, max_values=2),
        "gap": QuantileFeature(kind="quantile", buckets=3, max_values=3),
    }
    tasks = {"click": BinaryTask(kind="binary")}
    log = DayLog(tmp_path)
    units = log.units(log.days[0])
    columns = raw_columns(features, {p: schema for day in log.days for p, schema in log.schemas(day).items()})
    whole = pa.Table.from_batches(list(read(units, dict.fromkeys([*columns, "click"]))))
    statistics = fit(features, tasks, columns, [whole.slice(0, 7), whole.slice(7)])
    assert statistics.boundaries["gap"] == [1.5, 151.0]  # Of all the lists' finite values.
    reader = ExampleReader(log, Preprocessor(features, statistics), statistics, tasks)
    (batch,) = reader.batches(log.days, 16, 1000, shuffle=FullShuffle()).one_pass((0, 1))
    rows, _, _ = reader.layout.unpack(batch)
    got = {name: sorted({tuple(row) for row in value.tolist()}) for name, value in rows.items()}
    assert got["gap"] == sorted([(-1, 3, 0), (2, -1, -1), (-1, -1, -1)])
    four = next(row for row in got["three"] if -1 not in row)
    assert (*four[1:],) in got["two"]
    assert len(got["two"]) == len(got["three"]) == 3
    assert len(got["video"]) == 3
    assert [str(found) for found in reader.checks.infinite()] == [
        f"{tmp_path}/date=2025-01-01/part-0.parquet: column gap has values that are infinite as float32; they count as "
        "missing (rows: 4)"
    ]
