"""`kind: vector`: columns of lists of floats, from the log's files to the inputs of the model and of an export."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfstable.data.columns import check_schemas, raw_columns
from tfstable.data.log import DayLog
from tfstable.data.values import ValueChecks
from tfstable.errors import InputError
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader
from tfstable.inputs.statistics import Statistics
from tfstable.serving.examples import parse, serialize
from tfstable.specs import BinaryTask, HashFeature, VectorFeature

DAY = date(2025, 1, 1)
TASKS = {"click": BinaryTask(kind="binary")}
FEATURES = {"cover": VectorFeature(kind="vector", width=2)}
ROWS = [[1.0, -2.0], None, [0.5, None], [float("nan"), 1.0], [0.0, 0.0], [float("inf"), 1.0]]
INPUTS = [[1.0, -2.0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 1]]  # Zeros and a flag where missing.
LAYOUTS = {
    "lists": pa.list_(pa.float32()),
    "doubles": pa.large_list(pa.float64()),
    "fixed size": pa.list_(pa.float32(), 2),
}


def make_log(path, write, column: pa.Array, **other) -> DayLog:
    # Parquet of pyarrow below 22 cannot hold a null among lists of a fixed size.
    suffix = "feather" if pa.types.is_fixed_size_list(column.type) and column.null_count else "parquet"
    write(path / f"date={DAY}" / f"part-0.{suffix}", {"cover": column, "click": [0] * len(column), **other})
    return DayLog(path)


def inputs(log: DayLog, features=FEATURES) -> dict[str, np.ndarray]:
    columns = raw_columns(features, log.schemas(DAY))
    check_schemas(log, DAY, columns)
    statistics = Statistics(columns=columns)
    reader = ExampleReader(log, Preprocessor(features, statistics), statistics, TASKS)
    (packed,) = reader.batches((DAY,), log.rows(DAY), 100).one_pass(None)
    return reader.layout.unpack(packed)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lists_of_any_layout_become_vectors_and_a_flag(tmp_path, write, layout):
    found = inputs(make_log(tmp_path, write, pa.array(ROWS, LAYOUTS[layout])))["cover"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, INPUTS)


def test_a_slice_of_a_column_has_its_own_rows(tmp_path, write):
    rows = pa.array([[9.0, 9.0], None, *ROWS], pa.list_(pa.float32(), 2))
    np.testing.assert_array_equal(inputs(make_log(tmp_path, write, rows[2:]))["cover"], INPUTS)


def test_a_row_of_another_width_is_named(tmp_path, write):
    rows = [[1.0, 2.0]] * 70 + [None, [1.0, 2.0, 3.0]]
    log = make_log(tmp_path, write, pa.array(rows, pa.list_(pa.float32())))
    with pytest.raises(InputError, match=r"part-0.parquet: column cover: row 71 .* width 3, expected 2; write a null"):
        inputs(log)
    log = make_log(tmp_path / "short", write, pa.array([[1.0, 2.0], []], pa.list_(pa.float32())))
    with pytest.raises(InputError, match=r"row 1 .* width 0, expected 2"):
        inputs(log)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3)), "column cover has vectors of width 3, expected 2"),
        (pa.array([1.0]), r"has type double, which features.cover \(vector\) cannot take; write lists of floats"),
        (pa.array([["a", "b"]]), r"cannot take; write lists of floats"),
    ],
)
def test_a_column_of_other_values_is_found_by_its_metadata(tmp_path, write, column, said):
    with pytest.raises(InputError, match=said):
        inputs(make_log(tmp_path, write, column))


def test_a_column_has_one_meaning(tmp_path, write):
    log = make_log(tmp_path, write, pa.array([[1, 2]]))
    ids = HashFeature(kind="hash", column="cover", buckets=9)
    wider = VectorFeature(kind="vector", column="cover", width=3)
    for other in (ids, wider):
        for features in ({**FEATURES, "other": other}, {"other": other, **FEATURES}):
            with pytest.raises(InputError, match="column cover is"):
                raw_columns(features, log.schemas(DAY))


def test_infinite_vectors_are_counted(tmp_path, write):
    log = make_log(tmp_path, write, pa.array(ROWS, pa.list_(pa.float64())))
    columns = raw_columns(FEATURES, log.schemas(DAY))
    statistics = Statistics(columns=columns)
    reader = ExampleReader(log, Preprocessor(FEATURES, statistics), statistics, TASKS)
    assert isinstance(reader.checks, ValueChecks)
    list(reader.batches((DAY,), 4, 100).one_pass(None))
    (found,) = reader.checks.infinite()
    assert (found.column, found.rows) == ("cover", 1)


def test_a_tf_example_without_the_vector_is_missing(tmp_path, write):
    log = make_log(tmp_path, write, pa.array(ROWS, pa.list_(pa.float32())))
    columns = raw_columns(FEATURES, log.schemas(DAY))
    preprocessor = Preprocessor(FEATURES, Statistics(columns=columns))
    raw = {"cover": np.float32([[1, -2], [np.nan, np.nan], [np.nan] * 2, [np.nan] * 2, [0, 0], [np.inf, 1]])}
    again = parse(tf.constant(serialize(raw)), columns)
    np.testing.assert_array_equal(again["cover"], raw["cover"])
    assert preprocessor.signature()["cover"] == tf.TensorSpec([None, 2], tf.float32, "cover")
    np.testing.assert_array_equal(preprocessor(again)["cover"], INPUTS)
