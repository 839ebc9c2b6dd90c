"""What is fitted on the first window, against NumPy and by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.errors import InputError
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.statistics import Statistics, fit, is_several_valued, table_rows
from tfstable.serving.packing import PackedPreprocessor
from tfstable.specs import (
    MISSING_INT,
    BinaryTask,
    HashFeature,
    NumericFeature,
    QuantileFeature,
    RegressionTask,
    VocabularyFeature,
)

CLICK = {"click": BinaryTask(kind="binary")}
NAN = float("nan")
INT, FLOAT, TEXT = RawColumn(dtype="int64"), RawColumn(dtype="float32"), RawColumn(dtype="string")


def vocabulary(**keys) -> VocabularyFeature:
    return VocabularyFeature(kind="vocabulary", **keys)


def fitted(features: dict, columns: dict[str, RawColumn], *pieces: dict) -> Statistics:
    """Fits pieces of a window, with a label that is not what the test is about."""
    return fit(features, CLICK, columns, (pa.table({**p, "click": [0, *[1] * (len(p["x"]) - 1)]}) for p in pieces))


def words(feature: VocabularyFeature, *pieces, column: RawColumn = TEXT) -> list:
    return fitted({"x": feature}, {"x": column}, *({"x": piece} for piece in pieces)).vocabularies["x"]


# --- Vocabularies.


def test_the_most_frequent_value_comes_first_and_ties_in_order():
    assert words(vocabulary(), ["b", "c", "a"], ["c", "a", "d"]) == ["a", "c", "b", "d"]  # a 2, c 2, b 1, d 1.
    assert words(vocabulary(), [3, 10, 10, 2], column=INT) == [10, 2, 3]


def test_max_size_keeps_the_most_frequent_and_min_count_drops_the_rare():
    pieces = ["a"] * 3 + ["b"] * 2 + ["c"], ["c", "d"]  # a 3, b 2, c 2, d 1.
    assert words(vocabulary(max_size=2), *pieces) == ["a", "b"]
    assert words(vocabulary(min_count=2), *pieces) == ["a", "b", "c"]
    assert words(vocabulary(min_count=3, max_size=2), *pieces) == ["a"]


def test_nulls_and_empty_strings_are_no_values():
    assert words(vocabulary(), ["", None, "a"]) == ["a"]
    assert words(vocabulary(), [None, 4], column=INT) == [4]
    assert words(vocabulary(), pa.array([float("nan"), 4.0, None]), column=INT) == [4]


def test_values_within_lists_and_delimited_strings_count_each():
    assert words(vocabulary(delimiter=","), ["a,b", "b", None, "", "c,,b"]) == ["b", "a", "c"]
    several = RawColumn(dtype="int64", width=2)
    # Of the first list 9 is beyond the width, but how often a value occurs has nothing to do with what is kept.
    assert words(vocabulary(max_values=2), [[5, 6, 9], None, [], [6, None]], column=several) == [6, 5, 9]
    lists = pa.array([["a"], ["b", "a"]], pa.large_list(pa.large_string()))
    assert words(vocabulary(), lists, column=RawColumn(dtype="string", width=2)) == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        (pa.array(["a", "b", "b"]).dictionary_encode(), TEXT, ["b", "a"]),
        (pa.array(["a", "b", "b"], pa.large_string()), TEXT, ["b", "a"]),
        (pa.array([1.0, 2.0, 2.0]), INT, [2, 1]),
        (pa.array([True, False, True]), INT, [1, 0]),
        (pa.array([1, 2, 2], pa.uint8()), INT, [2, 1]),
    ],
)
def test_types_of_values(values, column, expected):
    assert words(vocabulary(), values, column=column) == expected


def test_a_shared_vocabulary_counts_all_its_features():
    features = {"x": vocabulary(table="city"), "y": vocabulary(table="city")}
    pieces = {"x": ["a", "b"], "y": ["c", "c"]}, {"x": ["b"], "y": ["c"]}
    found = fitted(features, {"x": TEXT, "y": TEXT}, *pieces)
    assert found.vocabularies == {"city": ["c", "b", "a"]}  # c 3, b 2, a 1.
    assert table_rows("x", features["x"], found) == table_rows("y", features["y"], found) == 4


def test_a_vocabulary_of_text_and_numbers_is_refused():
    features = {"x": vocabulary(table="id"), "y": vocabulary(table="id")}
    with pytest.raises(InputError, match=r"features\.y: shares the vocabulary of features\.x, but one column is int64"):
        fitted(features, {"x": TEXT, "y": INT}, {"x": ["a", "b"], "y": [1, 2]})


def test_a_vocabulary_of_rare_values_alone_is_refused():
    with pytest.raises(InputError, match=r"no value of column x occurs 3 times .* lower features\.x\.min_count"):
        words(vocabulary(min_count=3), ["a", "a", "b"])


def test_a_fraction_among_ids_is_refused():
    with pytest.raises(InputError, match=r"column x: Float value 1\.5"):
        words(vocabulary(), [1.0, 1.5], column=INT)


# --- Numbers.


def moments(feature: NumericFeature, *pieces) -> tuple[float, float]:
    return fitted({"x": feature}, {"x": FLOAT}, *({"x": piece} for piece in pieces)).moments["x"]


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


# --- Features that the first window says nothing of.


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


# --- Quantiles.


def boundaries(values, buckets=4, *more) -> list[float]:
    feature = QuantileFeature(kind="quantile", buckets=buckets)
    return fitted({"x": feature}, {"x": FLOAT}, *({"x": v} for v in (values, *more))).boundaries["x"]


def test_quantiles_split_a_column_evenly():
    x = np.random.default_rng(0).permutation(1000).astype(np.float32)
    inner = boundaries(x, 4)
    assert inner == [249.5, 499.5, 749.5]
    assert boundaries(x[:400], 4, x[400:]) == inner
    counts = np.bincount(np.searchsorted(inner, x, side="right"))
    assert counts.tolist() == [250, 250, 250, 250]


def test_missing_and_infinite_values_have_no_bucket():
    assert boundaries([None, None, float("nan")]) == []
    assert boundaries([None, 1.0, None, 2.0], 2) == [1.5]
    assert boundaries([1.0, 2.0, 3.0, math.inf, 1e300, -math.inf], 4) == [1.5, 2.5]


def test_table_rows_cover_every_bucket():
    feature = QuantileFeature(kind="quantile", buckets=4)
    x = np.arange(100, dtype=np.float32)
    found = fitted({"x": feature}, {"x": FLOAT}, {"x": x})
    rows = Preprocessor({"x": feature}, found)({"x": tf.constant([*x, np.nan, np.inf, -np.inf])})["x"].numpy()
    assert set(rows) == set(range(table_rows("x", feature, found)))  # Row 0 for missing, 1 to 4 for the quarters.
    assert rows[100:].tolist() == [0, 0, 0]


# --- Tasks.


def rates(task, labels) -> float:
    return fit({}, {"y": task}, {}, [pa.table({"y": labels})]).base_rates["y"]


def test_base_rates_are_means_over_known_labels():
    assert rates(BinaryTask(kind="binary"), [1, 0, None, 0, 0]) == 1.5 / 5  # As if half of another one were positive.
    assert rates(BinaryTask(kind="binary"), [True, False, None]) == 0.5
    assert rates(BinaryTask(kind="binary"), [0] * 999) == 0.5 / 1000
    assert rates(BinaryTask(kind="binary"), [1] * 999) == 999.5 / 1000
    assert rates(RegressionTask(kind="regression"), [1.0, 4.0, float("nan")]) == 2.5
    got = rates(RegressionTask(kind="regression", transform="log1p"), [math.e - 1, math.e**3 - 1])
    assert got == pytest.approx(2.0, rel=1e-6)  # log(1 + y) is 1 and 3.


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        (BinaryTask(kind="binary"), [0, 1, 2], r"tasks\.y: column y holds 2; a binary label is 0, 1 or null"),
        (BinaryTask(kind="binary"), [0.0, 0.5], r"column y holds 0\.5"),
        (BinaryTask(kind="binary"), [0.0, math.inf], r"column y holds inf"),
        (BinaryTask(kind="binary"), [None, None], r"tasks\.y: column y has no label in the first window"),
        (RegressionTask(kind="regression"), [1.0, -math.inf], r"column y holds -inf; a label is finite or null"),
        (RegressionTask(kind="regression", transform="log1p"), [-1.0], r"column y holds -1; log1p needs .* above -1"),
        (RegressionTask(kind="regression", transform="log1p"), [math.inf], r"column y holds inf; log1p needs finite"),
    ],
)
def test_labels_that_are_none(task, labels, message):
    labels = pa.array(labels, pa.float64() if labels[0] is None else None)
    with pytest.raises(InputError, match=message):
        rates(task, labels)


# --- The whole.


def test_statistics_survive_json_with_text_that_looks_like_numbers():
    features = {"x": vocabulary(), "n": vocabulary(), "q": QuantileFeature(kind="quantile", buckets=2)}
    columns = {"x": TEXT, "n": INT, "q": FLOAT}
    found = fitted(features, columns, {"x": ["12", "7"], "n": [12, 7], "q": [0.1, 0.2]})
    again = Statistics.model_validate_json(found.model_dump_json())
    assert again == found
    assert again.vocabularies == {"x": ["12", "7"], "n": [7, 12]}
    assert again.boundaries["q"] == [(np.float64(np.float32(0.1)) + np.float64(np.float32(0.2))) / 2]
    assert Statistics.model_validate(found.model_dump(mode="json")) == found


def test_which_features_have_several_values():
    found = Statistics(columns={"a": RawColumn(dtype="int64", width=3), "b": TEXT, "c": FLOAT})
    assert is_several_valued("a", HashFeature(kind="hash", buckets=2), found)
    assert is_several_valued("z", HashFeature(kind="hash", buckets=2, column="a"), found)
    assert is_several_valued("b", vocabulary(delimiter="|"), found)
    assert not is_several_valued("b", vocabulary(), found)
    assert not is_several_valued("c", NumericFeature(kind="numeric"), found)
