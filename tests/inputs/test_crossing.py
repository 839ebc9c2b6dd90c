"""Crossed ids, `columns: [user_id, tab]`: one function in training and in an export, missing where a part is."""

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfstable.data.columns import RawColumn, check_schemas, raw_columns
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.inputs.preprocessor import Preprocessor, crossed
from tfstable.inputs.reader import ExampleReader
from tfstable.inputs.statistics import Statistics
from tfstable.serving.packing import PackedPreprocessor
from tfstable.specs import MISSING_INT, BinaryTask, HashFeature

DAY = date(2025, 1, 1)
IDS = st.integers(-(2**63) + 1, 2**63 - 1)
FEATURES = {
    "user_id": HashFeature(kind="hash", buckets=1000),
    "tab": HashFeature(kind="hash", buckets=1000),
    "user_tab": HashFeature(kind="hash", columns=["user_id", "tab"], buckets=100_000),
    "user_tab_hour": HashFeature(kind="hash", columns=["user_id", "tab", "hour"], buckets=100_000),
}


def mixed(x: int) -> int:
    """As an int64 whose products wrap and whose shifts carry the sign."""
    x = signed(x * 0x9E3779B97F4A7C15)
    x = signed((x ^ (x >> 32)) * 0xBF58476D1CE4E5B9)
    return x ^ (x >> 29)


def signed(x: int) -> int:
    return (x + 2**63) % 2**64 - 2**63


def reference(*ids: int) -> int:
    combined = 0
    for each in ids:
        combined = mixed(signed(combined + mixed(each) + 0x9E3779B97F4A7C15))
    return combined & (2**63 - 1)


@given(st.lists(st.tuples(IDS, IDS, IDS), min_size=1, max_size=20))
def test_it_is_the_documented_function(rows):
    columns = [tf.constant(column, tf.int64) for column in zip(*rows, strict=True)]
    assert crossed(columns).numpy().tolist() == [reference(*row) for row in rows]


def test_text_enters_by_its_hash_and_missing_parts_leave_nothing():
    words, ids = tf.constant(["a", "", "a", ""]), tf.constant([1, 1, MISSING_INT, MISSING_INT], tf.int64)
    found = crossed([words, ids]).numpy()
    farm = int(tf.strings.to_hash_bucket_fast("a", 2**63 - 1))
    assert found.tolist() == [reference(farm, 1), MISSING_INT, MISSING_INT, MISSING_INT]
    assert found[0] == 6530917744510312312  # For good: it decides which row of a table is whose.


def test_pairs_of_small_integers_do_not_meet():
    a, b = np.meshgrid(np.arange(1000), np.arange(100))
    found = crossed([tf.constant(a.ravel()), tf.constant(b.ravel())]).numpy()
    assert len(np.unique(found)) == 100_000
    loads = np.bincount(found % 1000, minlength=1000)  # 100 each, and 10 their deviation.
    assert 9 < loads.std() < 11


@pytest.fixture(scope="module")
def log(tmp_path_factory, write) -> DayLog:
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("log")
    columns = {
        "user_id": pa.array(rng.integers(0, 9, 60), mask=rng.random(60) < 0.2),  # Few: preprocessed value by value.
        "tab": pa.array(rng.choice(["a", "b", "c"], 60), mask=rng.random(60) < 0.2),
        "hour": pa.array(rng.integers(0, 24, 60).astype(float), mask=rng.random(60) < 0.2),
        "click": rng.integers(0, 2, 60),
        "tags": [["x"]] * 60,
    }
    write(path / f"date={DAY}" / "part-0.parquet", columns)
    return DayLog(path)


def test_training_and_serving_agree_row_by_row(log):
    columns = raw_columns(FEATURES, log.schemas(DAY))
    assert columns == {
        "user_id": RawColumn(dtype="int64"),
        "tab": RawColumn(dtype="string"),
        "hour": RawColumn(dtype="int64"),
    }
    check_schemas(log, DAY, columns)
    statistics = Statistics(columns=columns)
    reader = ExampleReader(log, Preprocessor(FEATURES, statistics), statistics, {"click": BinaryTask(kind="binary")})
    (packed,) = reader.batches((DAY,), 60, 100).one_pass(None)
    trained = reader.layout.unpack(packed)[0]
    table = next(iter(log.schemas(DAY)))
    rows = pq.read_table(table)
    raw = {
        "user_id": tf.constant(rows["user_id"].fill_null(MISSING_INT).to_numpy()),
        "tab": tf.constant(rows["tab"].fill_null("").to_pylist()),
        "hour": tf.constant(rows["hour"].cast(pa.int64()).fill_null(MISSING_INT).to_numpy()),
    }
    served = PackedPreprocessor(FEATURES, statistics)(raw)
    for name, values in served.items():
        np.testing.assert_array_equal(trained[name], values, err_msg=name)
    missing = rows["user_id"].is_null().to_numpy() | rows["tab"].is_null().to_numpy()
    np.testing.assert_array_equal(trained["user_tab"] == 0, missing)
    pairs = list(zip(rows["user_id"].to_pylist(), rows["tab"].to_pylist(), strict=True))
    known = {pair: row for pair, row in zip(pairs, trained["user_tab"].tolist(), strict=True) if None not in pair}
    assert len(set(known.values())) == len(known) == len({p for p in pairs if None not in p})
    one_user = PackedPreprocessor(FEATURES, statistics, ["user_id"])({**raw, "user_id": tf.constant([4], tf.int64)})
    expected = [0 if tab is None else known[4, tab] for tab in rows["tab"].to_pylist()]
    assert one_user["user_tab"].numpy().tolist() == expected


def test_a_column_of_lists_is_refused(log):
    features = {"x": HashFeature(kind="hash", columns=["user_id", "tags"], buckets=9)}
    with pytest.raises(InputError, match=r"column tags has type list.*features\.x\.columns cannot take; name columns"):
        raw_columns(features, log.schemas(DAY))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"columns": ["a", "b"], "column": "c"}, "columns takes no column"),
        ({"columns": ["a", "b"], "delimiter": ","}, "columns takes no delimiter"),
        ({"columns": ["a", "b"], "type": "int"}, "columns takes no type"),
        ({"columns": ["a", "a"]}, "columns names a twice"),
        ({"columns": ["a"]}, "at least 2 items"),
    ],
)
def test_keys_that_do_not_go_together(arguments, said):
    with pytest.raises(ValueError, match=said):
        HashFeature(kind="hash", buckets=9, **arguments)
