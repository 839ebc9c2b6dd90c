"""Packed preprocessing is bit for bit the preprocessing of training."""

import numpy as np
import pytest
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.statistics import Statistics
from tfstable.serving.packing import SEARCHED, PackedPreprocessor
from tfstable.specs import MISSING_INT, HashFeature, NumericFeature, QuantileFeature, VectorFeature, VocabularyFeature

NAN, INF, LARGEST = float("nan"), float("inf"), 2**63 - 1
FEATURES = {
    "small": HashFeature(kind="hash", column="id", buckets=3),
    "large": HashFeature(kind="hash", column="id", buckets=10**9),
    "word": HashFeature(kind="hash", buckets=1000),
    "words": HashFeature(kind="hash", buckets=1000, delimiter=",", max_values=2),
    "ids": HashFeature(kind="hash", buckets=1000, max_values=3),
    "hour": VocabularyFeature(kind="vocabulary"),
    "place": VocabularyFeature(kind="vocabulary", column="id", table="places"),
    "other_place": VocabularyFeature(kind="vocabulary", column="hour", table="places"),
    "city": VocabularyFeature(kind="vocabulary"),
    "many": VocabularyFeature(kind="vocabulary", column="id"),
    "age": NumericFeature(kind="numeric", missing=3.0),
    "age_clipped": NumericFeature(kind="numeric", column="age", clip=(-1.0, 50.0)),
    "age_log": NumericFeature(kind="numeric", column="age", log1p=True, standardise=False),
    "hour_log": NumericFeature(kind="numeric", column="hour", log1p=True, clip=(0.0, 3.0)),
    "hour_number": NumericFeature(kind="numeric", column="hour"),
    "age_q": QuantileFeature(kind="quantile", column="age"),
    "hour_q": QuantileFeature(kind="quantile", column="hour"),
    "constant_q": QuantileFeature(kind="quantile", column="age"),
    "cover": VectorFeature(kind="vector", width=2),
}
STATISTICS = Statistics(
    columns={
        "id": RawColumn(dtype="int64"),
        "word": RawColumn(dtype="string"),
        "words": RawColumn(dtype="string"),
        "ids": RawColumn(dtype="int64", width=4),
        "hour": RawColumn(dtype="int64"),
        "city": RawColumn(dtype="string"),
        "age": RawColumn(dtype="float32"),
        "cover": RawColumn(dtype="float32", width=2, vector=True),
    },
    vocabularies={
        "hour": [20, 3, 0, -5, LARGEST],
        "places": [7, 20],
        "city": ["Rome", "Oslo"],
        "many": list(range(0, 2 * SEARCHED + 4, 2)),
    },
    moments=dict.fromkeys(("age", "age_clipped", "hour_log", "hour_number"), (2.0, 7.0)),
    boundaries={"age_q": [1.0, 30.0, 50.0], "hour_q": [3.0], "constant_q": []},
)
RAW = {
    "id": np.int64([0, 7, 20, -1, MISSING_INT, LARGEST, 2052, 123456789012345]),
    "word": np.array(["", "a", "b", "ü", "a,b", "x" * 100, "0", "1"], object),
    "words": np.array(["", "a", "a,b", "a,b,c", ",", "ü,", "1,2", "x"], object),
    "ids": np.int64([[1, 2, 3, 4]] * 7 + [[5, MISSING_INT, MISSING_INT, MISSING_INT]]),
    "hour": np.int64([20, 3, 0, -5, LARGEST, MISSING_INT, 1, LARGEST - 1]),
    "city": np.array(["Rome", "Oslo", "", "Nowhere", "rome", "Rome", "Oslo", "Rome"], object),
    "age": np.float32([0, -3.5, 30, 29.999998, 50, 1e30, NAN, 7]),
    "cover": np.float32([[1, 2], [NAN, 2], [INF, 1], [0, 0], [1e-42, 1], [1, -INF], [NAN, NAN], [3, 4]]),
}
USER = ("id", "city", "hour")


def both(raw, user_columns=()):
    tensors = {name: tf.constant(value) for name, value in raw.items()}
    packed = PackedPreprocessor(FEATURES, STATISTICS, user_columns)
    # Both as graphs: those multiply by the reciprocal where eager operations divide.
    return [
        tf.function(preprocess, input_signature=[packed.signature()])(tensors)
        for preprocess in (Preprocessor(FEATURES, STATISTICS), packed)
    ]


@pytest.mark.parametrize("user_columns", [(), USER])
def test_packed_values_are_those_of_training(user_columns):
    expected, got = both(RAW, user_columns)
    assert list(got) == list(expected) == list(FEATURES)
    for name, value in expected.items():
        assert value.dtype == got[name].dtype, name
        np.testing.assert_array_equal(got[name].numpy(), value.numpy(), err_msg=name)
    assert got["hour"].numpy().tolist() == [1, 2, 3, 4, 5, 0, 0, 0]
    assert got["age_q"].numpy().tolist() == [1, 1, 3, 2, 4, 4, 0, 2]


def test_user_columns_have_their_own_number_of_rows():
    expected, got = both({name: value[:1] if name in USER else value for name, value in RAW.items()}, USER)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name].numpy(), value.numpy(), err_msg=name)


def test_an_infinite_number_is_missing_unless_it_is_clipped():
    rows = {name: value[:3] for name, value in RAW.items()}
    expected, got = both({**rows, "age": np.float32([INF, -INF, NAN])})
    for name in ("age", "age_log", "age_q", "constant_q"):
        assert (got[name].numpy() == got[name].numpy()[2]).all()
        np.testing.assert_array_equal(got[name].numpy(), expected[name].numpy())
    np.testing.assert_array_equal(got["age_clipped"].numpy(), np.float32([(50 - 2) / 7, (-1 - 2) / 7, 0]))
    np.testing.assert_array_equal(got["age_clipped"].numpy(), expected["age_clipped"].numpy())


def test_no_rows_are_no_error():
    _, got = both({name: value[:0] for name, value in RAW.items()})
    assert {value.shape[0] for value in got.values()} == {0}


def test_operations_do_not_grow_with_the_columns():
    def operations(count):
        features = {f"x{i}": HashFeature(kind="hash", buckets=10 + i) for i in range(count)}
        packed = PackedPreprocessor(features, Statistics(columns={n: RawColumn(dtype="int64") for n in features}))
        graph = tf.function(packed).get_concrete_function(packed.signature()).graph
        return len([op for op in graph.get_operations() if op.type not in ("Placeholder", "Identity")])

    assert operations(40) == operations(2)
