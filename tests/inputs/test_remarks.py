"""What is remarked of columns of which the first window says nothing, or too little."""

import math

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.inputs.fitting import FLOAT, INT, NAN, TEXT, fitted, vocabulary
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.statistics import table_rows
from tfstable.serving.packing import PackedPreprocessor
from tfstable.specs import MISSING_INT, NumericFeature, QuantileFeature


@pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e9, 1e-30])
def test_a_constant_column_is_held_at_0_and_told_of(value):
    feature = NumericFeature(kind="numeric")
    found = fitted({"x": feature}, {"x": FLOAT}, {"x": [value] * 1000})
    assert found.moments["x"] == (pytest.approx(float(np.float32(value))), 0.0)
    later = tf.constant([value, 12345.0, -1e30, NAN, math.inf], tf.float32)
    assert Preprocessor({"x": feature}, found)({"x": later})["x"].numpy().tolist() == [0.0] * 5
    (remark,) = found.remarks
    shown = f"{np.float32(value):g}"
    assert remark.startswith(f"features.x: column x has only the value {shown} in the first window, so it is held at 0")
    assert "features.x.moments: [mean, deviation]" in remark


def test_numbers_that_float32_cannot_tell_apart_are_told_of():
    x = 1e9 + np.random.default_rng(0).random(100)
    found = fitted({"x": NumericFeature(kind="numeric")}, {"x": FLOAT}, {"x": x})
    expected = (
        "features.x: column x varies by 0.3 around 1e+09 in the first window, too little for float32; "
        "subtract an offset or rescale it in the log"
    )
    assert found.remarks == [expected]
    found = fitted({"x": QuantileFeature(kind="quantile")}, {"x": FLOAT}, {"x": x})
    assert found.remarks == [expected]
    assert fitted({"x": NumericFeature(kind="numeric")}, {"x": FLOAT}, {"x": 1e-45 * x}).remarks
    assert not fitted({"x": NumericFeature(kind="numeric")}, {"x": FLOAT}, {"x": [0.1 + 0.2, 0.3] * 9 + [5]}).remarks


@pytest.mark.parametrize("nulls", [pa.nulls(4), pa.nulls(4, pa.float64()), pa.array([NAN] * 4), [math.inf] * 4])
def test_a_number_without_a_value_is_held_at_0_and_told_of(nulls):
    for missing, mean in ((None, 0.0), (3.0, 3.0)):
        feature = NumericFeature(kind="numeric", missing=missing)
        found = fitted({"x": feature}, {"x": FLOAT}, {"x": nulls})
        assert found.moments["x"] == (mean, 0.0)
        assert Preprocessor({"x": feature}, found)({"x": tf.constant([1e3, NAN])})["x"].numpy().tolist() == [0, 0]
        assert found.remarks == [
            "features.x: column x has no value in the first window, so it is held at 0 for the whole run; if other "
            "values come later, set features.x.moments: [mean, deviation]"
        ]
    quantile = fitted({"x": QuantileFeature(kind="quantile")}, {"x": FLOAT}, {"x": nulls})
    assert quantile.boundaries["x"] == []
    assert quantile.remarks == [
        "features.x: column x has no value in the first window, so all its values share one bucket for the whole run; "
        "if other values come later, set features.x.boundaries: [...]"
    ]


@pytest.mark.parametrize(
    ("values", "column", "later"),
    [(["", None, None], TEXT, ["a", ""]), (pa.nulls(3), TEXT, ["a", ""]), (pa.nulls(3), INT, [5, MISSING_INT])],
)
def test_a_vocabulary_without_a_value_has_row_0_alone_and_is_told_of(values, column, later):
    features = {"x": vocabulary()}
    found = fitted(features, {"x": column}, {"x": values})
    assert found.vocabularies == {"x": []}
    assert table_rows("x", features["x"], found) == 1
    for preprocessor in (Preprocessor(features, found), PackedPreprocessor(features, found)):
        assert preprocessor({"x": tf.constant(later, column.dtype)})["x"].numpy().tolist() == [0, 0]
    assert found.remarks == [
        "features.x: column x has no value in the first window, so every value counts as unknown for the whole run; "
        "if other values come later, set features.x.kind: hash"
    ]


def test_a_vocabulary_of_one_value_is_told_of():
    (remark,) = fitted({"x": vocabulary()}, {"x": TEXT}, {"x": ["a", "a", None]}).remarks
    assert remark.startswith("features.x: column x has only the value 'a' in the first window, so every other value")
    shared = {"x": vocabulary(table="t"), "y": vocabulary(table="t")}
    (remark,) = fitted(shared, {"x": INT, "y": INT}, {"x": [7, 7], "y": pa.nulls(2, pa.int64())}).remarks
    assert remark.startswith("features.x: columns x, y have only the value 7 in the first window")
    assert fitted(shared, {"x": INT, "y": INT}, {"x": [7, 7], "y": [8, 8]}).remarks == []
    assert fitted({"x": vocabulary(max_size=1)}, {"x": INT}, {"x": [7, 7, 8]}).remarks == []  # It was asked for.


def test_a_number_that_only_its_nulls_tell_apart_is_told_of():
    (remark,) = fitted({"x": NumericFeature(kind="numeric")}, {"x": FLOAT}, {"x": [1.0, None, 1.0]}).remarks
    assert remark.endswith("or features.x.missing if a null carries information")
    found = fitted({"x": NumericFeature(kind="numeric", missing=0.0)}, {"x": FLOAT}, {"x": [1.0, None, 1.0]})
    assert not found.remarks
    assert found.moments["x"] == pytest.approx((2 / 3, math.sqrt(2) / 3))


def test_a_number_whose_scale_a_few_values_make_is_told_of():
    x = [0.0] * 99_999 + [5.0]  # (5 - mean) / deviation is sqrt(n - 1).
    (remark,) = fitted({"x": NumericFeature(kind="numeric")}, {"x": FLOAT}, {"x": x}).remarks
    assert remark.startswith(
        "features.x: column x reaches 316 standard deviations from its mean in the first window; set"
    )
    assert not fitted({"x": NumericFeature(kind="numeric")}, {"x": FLOAT}, {"x": x[-9_000:]}).remarks


def test_a_number_that_a_clip_makes_constant_is_told_of_as_such():
    feature = NumericFeature(kind="numeric", log1p=True, clip=(5.0, 6.0))
    (remark,) = fitted({"x": feature}, {"x": FLOAT}, {"x": [1.0, 2.0]}).remarks
    assert "column x does not vary in the first window, after log1p and clip, so it is held at 0" in remark


def test_moments_and_boundaries_that_are_given_are_not_fitted():
    features = {
        "x": NumericFeature(kind="numeric", moments=(10.0, 2.0)),
        "q": QuantileFeature(kind="quantile", column="x", boundaries=(1.0, 5.0)),
    }
    found = fitted(features, {"x": FLOAT}, {"x": pa.nulls(3)})
    assert (found.moments, found.boundaries, found.remarks) == ({"x": (10.0, 2.0)}, {"q": [1.0, 5.0]}, [])
    got = Preprocessor(features, found)({"x": tf.constant([14.0, NAN, 1.0, 0.5])})
    assert got["x"].numpy().tolist() == [2.0, 0.0, -4.5, -4.75]
    assert got["q"].numpy().tolist() == [3, 0, 2, 1]


def test_few_buckets_are_told_of():
    def remarks(values, buckets=8):
        feature = QuantileFeature(kind="quantile", buckets=buckets)
        return fitted({"x": feature}, {"x": FLOAT}, {"x": values}).remarks

    assert remarks([1.0, 2.0, 3.0]) == [
        "features.x: only 3 of 8 buckets are used, because column x has only 3 distinct values in the first window"
    ]
    assert remarks([1.0, 2.0, 3.0, 4.0]) == []  # Half.
    assert remarks([1.0, 2.0], 3) == []
