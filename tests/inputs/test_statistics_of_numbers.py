"""The moments of a number in the first window, against NumPy and by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.inputs.fitting import FLOAT, INT, fitted, moments
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.specs import MISSING_INT, NumericFeature, QuantileFeature


def test_moments_over_pieces_against_numpy():
    x = np.random.default_rng(0).exponential(100, 1000).astype(np.float32)
    transforms = {
        (False, None): x,
        (True, None): np.log1p(x),
        (False, (5.0, 50.0)): np.clip(x, 5, 50),
        (True, (1.0, 4.0)): np.clip(np.log1p(x), 1, 4),
    }
    for (log1p, clip), expected in transforms.items():
        got = moments(NumericFeature(kind="numeric", log1p=log1p, clip=clip), x[:300], x[300:])
        np.testing.assert_allclose(got, (expected.mean(dtype=np.float64), expected.std(dtype=np.float64)), rtol=1e-6)


def test_moments_are_of_the_known_values():
    rng = np.random.default_rng(0)
    years = np.where(rng.random(1000) < 0.05, np.nan, rng.normal(1985, 10, 1000)).astype(np.float32)
    known = years[~np.isnan(years)].astype(np.float64)
    for values in (years, pa.array(years, mask=np.isnan(years)), years.astype(np.float64)):
        assert moments(NumericFeature(kind="numeric"), values) == pytest.approx((known.mean(), known.std()), rel=1e-12)
    for standardise in (True, False):  # What a null becomes is fitted in any case.
        mean, _ = moments(NumericFeature(kind="numeric", standardise=standardise), years)
        assert mean == pytest.approx(known.mean())


@pytest.mark.parametrize("dtype", [pa.int16(), pa.uint8(), pa.decimal128(5, 1), pa.float64(), pa.int64()])
def test_nulls_of_every_type_are_left_out(dtype):
    column = FLOAT if pa.types.is_floating(dtype) or pa.types.is_decimal(dtype) else INT
    found = fitted({"x": NumericFeature(kind="numeric")}, {"x": column}, {"x": pa.array([1, None, 5], dtype)})
    assert found.moments["x"] == (3.0, 2.0)
    found = fitted({"x": QuantileFeature(kind="quantile")}, {"x": column}, {"x": pa.array([1, None, 5], dtype)})
    assert found.boundaries["x"] == [3.0]


def test_the_smallest_integer_is_missing_and_truth_is_a_number():
    values = pa.array([MISSING_INT, 2, 4])
    assert fitted({"x": NumericFeature(kind="numeric")}, {"x": INT}, {"x": values}).moments["x"] == (3.0, 1.0)
    values = pa.array([True, False, None])
    assert fitted({"x": NumericFeature(kind="numeric")}, {"x": INT}, {"x": values}).moments["x"] == (0.5, 0.5)


def test_missing_numbers_count_as_what_stands_in_for_them():
    # 4 and 4 stand in for the null and the NaN: (4 + 4 + 1 + 7) / 4 = 4; (0 + 0 + 9 + 9) / 4 = 4.5.
    got = moments(NumericFeature(kind="numeric", missing=4.0), [None, float("nan"), 1.0, 7.0])
    assert got == (4.0, pytest.approx(math.sqrt(4.5)))


@pytest.mark.parametrize("scale", [5e-7, 1e-30, 1e30])
def test_what_varies_relative_to_its_size_is_no_constant(scale):
    x = scale * np.random.default_rng(0).random(1000)
    found = fitted({"x": NumericFeature(kind="numeric")}, {"x": FLOAT}, {"x": x})
    assert found.moments["x"] == pytest.approx((x.mean(), x.std()), rel=1e-6)
    got = Preprocessor({"x": NumericFeature(kind="numeric")}, found)({"x": tf.constant(x, tf.float32)})["x"].numpy()
    np.testing.assert_allclose(got, (x - x.mean()) / x.std(), rtol=1e-4, atol=1e-5)
    assert not found.remarks


def test_times_in_milliseconds_keep_what_varies():
    times = 1_735_689_600_000 + np.random.default_rng(0).integers(0, 1000, 500)  # One second: 131 are one float32.
    features = {
        "x": NumericFeature(kind="numeric"),
        "q": QuantileFeature(kind="quantile", column="x", buckets=10),
    }
    found = fitted(features, {"x": INT}, {"x": times})
    got = Preprocessor(features, found)({"x": tf.constant(times)})
    exact = times - times.mean()
    np.testing.assert_allclose(got["x"], exact / exact.std(), atol=1e-5)
    assert np.bincount(got["q"].numpy())[1:].min() >= 45
    assert not found.remarks


def test_integers_beyond_float32_are_rounded_not_refused():
    mean, _ = moments(NumericFeature(kind="numeric"), [2**24 + 1, 2**40])
    assert mean == (2.0**24 + 2.0**40) / 2


def test_standardised_values_have_mean_0_and_deviation_1():
    feature = NumericFeature(kind="numeric", log1p=True)
    x = np.random.default_rng(1).exponential(100, 5000).astype(np.float32)
    found = fitted({"x": feature}, {"x": FLOAT}, {"x": x})
    got = Preprocessor({"x": feature}, found)({"x": tf.constant(x)})["x"].numpy()
    assert abs(got.mean()) < 1e-4
    assert abs(got.std() - 1) < 1e-4


def test_infinite_numbers_are_missing_unless_clipped():
    for infinite in (math.inf, -math.inf, 1e300, None):
        assert moments(NumericFeature(kind="numeric"), [1.0, 4.0, infinite]) == (2.5, 1.5)
        assert moments(NumericFeature(kind="numeric", missing=1.0), [1.0, infinite, 4.0]) == (2.0, math.sqrt(2))
    assert moments(NumericFeature(kind="numeric", clip=(0, 3)), [1.0, math.inf]) == (2.0, 1.0)
