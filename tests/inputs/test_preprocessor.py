"""Preprocessing against plain Python, a value at a time."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.statistics import Statistics, table_rows
from tfstable.specs import MISSING_INT, HashFeature, NumericFeature, QuantileFeature, VocabularyFeature

INT64 = tf.int64
NAN = float("nan")


def preprocess(feature, values, *, dtype="int64", width=None, **statistics) -> np.ndarray:
    """The model inputs of one feature `x` for a column of values."""
    columns = {"x": RawColumn(dtype=dtype, width=width)}
    preprocessor = Preprocessor({"x": feature}, Statistics(columns=columns, **statistics))
    graph = tf.function(preprocessor, input_signature=[preprocessor.signature()])
    return graph({"x": tf.constant(values, dtype)})["x"].numpy()


def hashed(values, dtype="int64", width=None, buckets=1_000_003, **keys) -> np.ndarray:
    return preprocess(HashFeature(kind="hash", buckets=buckets, **keys), values, dtype=dtype, width=width)


# --- Hashing.


def mix(x: int) -> int:
    """The hash of an integer: 64-bit arithmetic that wraps, shifts that keep the sign."""

    def signed(z: int) -> int:
        z &= 2**64 - 1
        return z - 2**64 if z >> 63 else z

    z = signed(x * 0x9E3779B97F4A7C15)
    z ^= z >> 32
    z = signed(z * 0xBF58476D1CE4E5B9)
    z ^= z >> 29
    return z & (2**63 - 1)


def test_integers_hash_as_plain_arithmetic_says():
    values = [0, 1, 2, -1, 10**12, 2**63 - 1, -(2**63) + 1, *np.random.default_rng(0).integers(-(2**63) + 1, 2**63, 50)]
    for buckets in (1, 10, 1_000_003):
        assert hashed(values, buckets=buckets).tolist() == [1 + mix(int(x)) % buckets for x in values]


def test_hashes_never_change():
    # A trained table is worth nothing once its ids hash to other rows: these values hold for all versions.
    values = [0, 1, 2, -1, 2**63 - 1, -(2**63) + 1, 1234567890123]
    assert hashed(values).tolist() == [1, 15533, 185438, 162703, 247141, 5339, 230435]
    words = ["a", "12", "user_1", "é", "x" * 100]
    assert hashed(words, "string").tolist() == [291401, 477530, 787229, 47473, 107919]
    # TensorFlow's documentation of to_hash_bucket_fast has [0, 2, 2]; row 0 of a table is for missing values.
    assert hashed(["Hello", "TensorFlow", "2.x"], "string", buckets=3).tolist() == [1, 3, 3]


def test_a_missing_id_has_row_0_and_no_other_has():
    assert hashed([MISSING_INT, 5]).tolist()[0] == 0
    assert hashed(["", "5"], "string").tolist()[0] == 0
    assert hashed(np.arange(100_000), buckets=7).min() == 1
    assert hashed([str(i) for i in range(10_000)], "string", buckets=7).min() == 1


@pytest.mark.parametrize("buckets", [2, 97, 1024])
@pytest.mark.parametrize(
    "ids",
    [
        np.arange(50_000),
        np.arange(50_000) * 1024,
        np.arange(50_000) << 40,
        -np.arange(1, 50_001),
        1_650_000_000_000 + 1000 * np.arange(50_000),
    ],
    ids=["counted", "multiples", "high bits", "negative", "milliseconds"],
)
def test_hashes_spread_evenly(ids, buckets):
    counts = np.bincount(hashed(ids, buckets=buckets) - 1, minlength=buckets)
    assert len(counts) == buckets
    # Pearson's statistic of an even spread has mean b - 1 and standard deviation sqrt(2 (b - 1)): six of them.
    expected = len(ids) / buckets
    pearson = np.sum((counts - expected) ** 2 / expected)
    assert pearson < buckets - 1 + 6 * math.sqrt(2 * (buckets - 1))


# --- Vocabularies.


def test_vocabulary_rows_are_places_and_row_0_is_unknown_or_missing():
    feature = VocabularyFeature(kind="vocabulary")
    rows = preprocess(feature, [30, 10, 20, 99, MISSING_INT], vocabularies={"x": [10, 20, 30]})
    assert rows.tolist() == [3, 1, 2, 0, 0]
    assert rows.dtype == np.int32
    rows = preprocess(feature, ["b", "a", "B", ""], dtype="string", vocabularies={"x": ["a", "b"]})
    assert rows.tolist() == [2, 1, 0, 0]


def test_features_of_one_table_share_its_rows():
    features = {name: VocabularyFeature(kind="vocabulary", table="city") for name in ("home", "work")}
    columns = {name: RawColumn(dtype="string") for name in features}
    preprocessor = Preprocessor(features, Statistics(columns=columns, vocabularies={"city": ["Rome", "Oslo"]}))
    rows = preprocessor({"home": tf.constant(["Oslo", "Rome"]), "work": tf.constant(["Rome", "Bern"])})
    assert {name: row.numpy().tolist() for name, row in rows.items()} == {"home": [2, 1], "work": [1, 0]}


# --- Several values.


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("12", ["12"]),
        ("12,65", ["12", "65"]),
        ("1,2,3,4,5", ["1", "2", "3"]),  # Longer than max_values.
        ("1,,2", ["1", None, "2"]),
        (",", [None, None]),
    ],
)
def test_delimited_strings(text, values):
    known = {"1": 1, "2": 2, "3": 3, "12": 4}
    padded = values + [None] * (3 - len(values))
    rows = preprocess(
        VocabularyFeature(kind="vocabulary", delimiter=",", max_values=3, keep="first"),
        [text, "1,2,3"],
        dtype="string",
        vocabularies={"x": list(known)},
    )
    assert rows.shape == (2, 3)
    assert rows[0].tolist() == [-1 if value is None else known.get(value, 0) for value in padded]
    rows = hashed([text], "string", delimiter=",", max_values=3, keep="first")
    single = [-1 if value is None else int(hashed([value], "string")[0]) for value in padded]
    assert rows[0].tolist() == single


def test_delimiters_of_several_characters():
    rows = hashed(["a::b:c", "a"], "string", delimiter="::", max_values=2)
    assert rows.tolist() == [hashed(["a", "b:c"], "string").tolist(), [hashed(["a"], "string")[0], -1]]


def test_the_last_values_of_a_delimited_string_stay_in_order():
    rows = hashed(["1,2,3,4", "5", "", "1,,2,"], "string", delimiter=",", max_values=3)
    two, three, four, five = hashed(["2", "3", "4", "5"], "string")
    assert rows.tolist() == [[two, three, four], [five, -1, -1], [-1, -1, -1], [-1, two, -1]]


def test_the_last_values_of_a_list_stay_in_order():
    values = [[7, 8, 9, 6], [7, MISSING_INT, 8, MISSING_INT], [MISSING_INT] * 4, [9, MISSING_INT, MISSING_INT, 6]]
    six, seven, eight, nine = hashed([6, 7, 8, 9]).tolist()
    assert hashed(values, width=4, max_values=2).tolist() == [[nine, six], [-1, eight], [-1, -1], [-1, six]]
    assert hashed(values, width=4, max_values=5).tolist()[0] == [seven, eight, nine, six, -1]
    words = [["a", "b", "c"], ["a", "b", ""], ["", "", ""]]
    a, b, c = hashed(["a", "b", "c"], "string")
    assert hashed(words, "string", width=3, max_values=2).tolist() == [[b, c], [a, b], [-1, -1]]


@pytest.mark.parametrize(("keep", "expected"), [("last", [[3, 1], [2, -1], [-1, -1]]), ("first", [[1, 3], [2, -1]])])
def test_quantiles_of_lists(keep, expected):
    feature = QuantileFeature(kind="quantile", max_values=2, keep=keep)
    values = [[-1.0, 7.0, 0.0], [3.0, NAN, NAN], [NAN, NAN, NAN]][: len(expected)]
    rows = preprocess(feature, values, dtype="float32", width=3, boundaries={"x": [1.0, 5.0]})
    assert rows.tolist() == expected


def test_the_first_values_of_a_list_are_kept_and_padded():
    values = [[7, 8, 9], [7, MISSING_INT, MISSING_INT], [MISSING_INT] * 3, [MISSING_INT, 8, MISSING_INT]]
    seven, eight, nine = hashed([7, 8, 9]).tolist()
    rows = hashed(values, width=3, max_values=2, keep="first")
    assert rows.tolist() == [[seven, eight], [seven, -1], [-1, -1], [-1, eight]]
    # A caller of the signature may send rows as short as its longest list.
    assert hashed(values, width=3, max_values=5).tolist()[0] == [seven, eight, nine, -1, -1]
    rows = hashed([["a", ""], ["", ""]], "string", width=2, max_values=2)
    assert rows.tolist() == [[hashed(["a"], "string")[0], -1], [-1, -1]]


# --- Numbers.


def test_numbers_against_plain_python():
    values = [NAN, 0.0, 3.0, -3.0, 1e6, 0.25]
    for log1p in (False, True):
        for clip in (None, (-1.0, 2.0)):
            for missing in (None, 0.0, 5.0):
                feature = NumericFeature(kind="numeric", log1p=log1p, clip=clip, missing=missing)
                expected = []
                for x in values:
                    if math.isnan(x) and missing is None:
                        expected.append(0.0)  # The mean.
                        continue
                    x = missing if math.isnan(x) else x
                    if log1p:
                        x = math.copysign(math.log(1 + abs(x)), x)
                    if clip:
                        x = min(max(x, clip[0]), clip[1])
                    expected.append((x - 1.5) / 2)
                got = preprocess(feature, values, dtype="float32", moments={"x": (1.5, 2.0)})
                assert got.dtype == np.float32
                np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_integers_are_numbers_too():
    feature = NumericFeature(kind="numeric", missing=-1.0, standardise=False)
    assert preprocess(feature, [3, MISSING_INT, -(2**40)]).tolist() == [3.0, -1.0, -(2.0**40)]


def test_infinity_can_be_clipped():
    feature = NumericFeature(kind="numeric", clip=(-10, 10), log1p=True, standardise=False)
    assert preprocess(feature, [math.inf, -math.inf], dtype="float32").tolist() == [10, -10]


# --- Quantiles.


def test_buckets_begin_at_their_boundary():
    feature = QuantileFeature(kind="quantile", buckets=4)
    values = [NAN, -5.0, 0.99, 1.0, 2.0, 2.5, 7.0, math.inf, -math.inf]
    # Row 0 is for missing, row 1 below the first boundary, row i + 1 from boundary i on.
    expected = [0, 1, 1, 2, 3, 3, 4, 0, 0]
    assert preprocess(feature, values, dtype="float32", boundaries={"x": [1.0, 2.0, 7.0]}).tolist() == expected
    assert preprocess(feature, [MISSING_INT, 0, 1, 100], boundaries={"x": [1.0, 2.0, 7.0]}).tolist() == [0, 1, 2, 4]


def test_a_column_without_boundaries_has_two_rows():
    feature = QuantileFeature(kind="quantile")
    assert preprocess(feature, [NAN, 3.0, -3.0], dtype="float32", boundaries={"x": []}).tolist() == [0, 1, 1]
    statistics = Statistics(columns={"x": RawColumn(dtype="float32")}, boundaries={"x": []})
    assert table_rows("x", feature, statistics) == 2


# --- The whole.


def test_the_signature_takes_the_raw_columns_by_name():
    features = {
        "user": HashFeature(kind="hash", buckets=5, column="user_id"),
        "age": NumericFeature(kind="numeric", column="user_age"),
        "age_bucket": QuantileFeature(kind="quantile", column="user_age"),
        "tags": HashFeature(kind="hash", buckets=5),
    }
    columns = {
        "user_id": RawColumn(dtype="string"),
        "user_age": RawColumn(dtype="float32"),
        "tags": RawColumn(dtype="int64", width=8),
    }
    preprocessor = Preprocessor(features, Statistics(columns=columns, boundaries={"age_bucket": [30.0]}))
    assert preprocessor.signature() == {
        "user_id": tf.TensorSpec([None], tf.string, "user_id"),
        "user_age": tf.TensorSpec([None], tf.float32, "user_age"),
        "tags": tf.TensorSpec([None, None], tf.int64, "tags"),
    }
    raw = {
        "user_id": tf.constant(["u1", ""]),
        "user_age": tf.constant([31.0, NAN]),
        "tags": tf.constant([[3, 4], [MISSING_INT, MISSING_INT]], INT64),
    }
    inputs = preprocessor(raw)
    assert list(inputs) == list(features)
    assert inputs["age_bucket"].numpy().tolist() == [2, 0]
    assert inputs["age"].numpy().tolist() == [31, 0]
    assert inputs["tags"].shape == (2, 8)
    graph = tf.function(preprocessor, input_signature=[preprocessor.signature()])
    for name, value in graph(raw).items():
        np.testing.assert_array_equal(value, inputs[name])
    assert all(
        value.shape == (0, *inputs[name].shape[1:]) for name, value in graph({n: v[:0] for n, v in raw.items()}).items()
    )
