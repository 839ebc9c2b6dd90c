"""What is fitted on the first window, against NumPy and by hand: vocabularies, quantiles, base rates."""

import math

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.inputs.fitting import FLOAT, INT, TEXT, fitted, vocabulary
from tfstable.data.columns import RawColumn
from tfstable.errors import InputError
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.statistics import Statistics, fit, is_several_valued, table_rows
from tfstable.specs import BinaryTask, HashFeature, NumericFeature, QuantileFeature, RegressionTask, VocabularyFeature


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
