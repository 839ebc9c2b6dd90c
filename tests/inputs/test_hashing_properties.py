"""Rows of hashed ids: NumPy, the graph of an export and the reader of training agree on any integer and text."""

import numpy as np
import pyarrow as pa
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from tests import reference
from tfstable.data.arrays import distinct, distinct_integers
from tfstable.data.columns import RawColumn
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.statistics import Statistics
from tfstable.specs import MISSING_INT, HashFeature

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=20) | st.text(min_size=30, max_size=90)  # Without surrogates, which UTF-8 has not.
BUCKETS = st.integers(1, 2**31 - 1)


def in_graph(values: np.ndarray, dtype: str, buckets: int) -> list[int]:
    features = {"x": HashFeature(kind="hash", buckets=buckets)}
    preprocessor = Preprocessor(features, Statistics(columns={"x": RawColumn(dtype=dtype)}))
    return preprocessor({"x": tf.constant(values, dtype)})["x"].numpy().tolist()


@given(st.lists(INT64, max_size=20), BUCKETS)
@example([MISSING_INT, MISSING_INT + 1, -1, 0, 1, 2**63 - 1], 2**31 - 1)
def test_integers(ids, buckets):
    ids = np.array(ids, np.int64)
    expected = [0 if x == MISSING_INT else 1 + reference.hashed_integer(int(x)) % buckets for x in ids]
    assert in_graph(ids, "int64", buckets) == expected


@given(st.lists(TEXT, max_size=10), BUCKETS)
@example(["", "\x00", "\x00\x00", "é", "é", "日本", "\U0001f600" * 16], 1000)
def test_text(words, buckets):
    expected = [0 if word == "" else 1 + reference.farm_fingerprint(word.encode()) % buckets for word in words]
    assert in_graph(np.array(words, object), "string", buckets) == expected


@given(st.lists(st.none() | TEXT, min_size=1, max_size=10))
def test_of_text_that_is_read_once_a_value_every_row_is_the_same(words):
    values, places = distinct(pa.chunked_array([pa.array(words, pa.string())]), "x", RawColumn(dtype="string"))
    assert len(set(values.tolist())) == len(values) - ("" in words)
    assert values[places].tolist() == [word or "" for word in words]


@given(st.lists(st.just(MISSING_INT) | st.integers(-5, 5) | INT64, max_size=60))
@example([2**63 - 1] * 4)
def test_of_integers_that_are_read_once_a_value_every_row_is_the_same(ids):
    x = np.array(ids, np.int64)
    known = [value for value in ids if value != MISSING_INT]
    narrow = not known or max(known) - min(known) < len(ids) // 4
    found = distinct_integers(x.copy())
    assert (found is not None) == narrow
    if found:
        values, places = found
        assert values.dtype == np.int64
        assert values[places].tolist() == ids
