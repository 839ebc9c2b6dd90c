"""Raw columns: every type that arrow knows to the three that training and the signature share."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tfstable.data.arrays import distinct, distinct_integers, numbers, raw_batches, to_numpy
from tfstable.data.columns import RawColumn, arrow_types, check_schemas, raw_columns
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.specs import MISSING_INT, HashFeature, NumericFeature, QuantileFeature, VocabularyFeature

DAY = date(2025, 1, 1)
NUMERIC, QUANTILE = NumericFeature(kind="numeric"), QuantileFeature(kind="quantile")
VOCABULARY = VocabularyFeature(kind="vocabulary")


def hashed(**keys) -> HashFeature:
    return HashFeature(kind="hash", buckets=10, **keys)


def raw(features: dict, *schemas: dict, suffix: str = "parquet") -> dict[str, RawColumn]:
    """The raw columns of a log whose files have these schemas."""
    paths = {Path(f"{number}.{suffix}"): pa.schema(list(types.items())) for number, types in enumerate(schemas)}
    return raw_columns(features, paths)


@pytest.mark.parametrize(
    ("arrow_type", "feature", "dtype"),
    [
        (pa.int8(), hashed(), "int64"),
        (pa.uint32(), VOCABULARY, "int64"),
        (pa.bool_(), hashed(), "int64"),
        (pa.float64(), hashed(), "int64"),  # Ids that pandas widened for their nulls.
        (pa.decimal128(20, 0), hashed(), "int64"),
        (pa.string(), VOCABULARY, "string"),
        (pa.large_string(), hashed(), "string"),
        (pa.dictionary(pa.int32(), pa.string()), hashed(), "string"),
        (pa.dictionary(pa.int8(), pa.int64()), hashed(), "int64"),
        (pa.int64(), NUMERIC, "int64"),
        (pa.bool_(), NUMERIC, "int64"),
        (pa.float16(), NUMERIC, "float32"),
        (pa.float64(), QUANTILE, "float32"),
        (pa.decimal128(10, 2), NUMERIC, "float32"),
    ],
)
def test_the_raw_type_of_every_arrow_type(arrow_type, feature, dtype):
    assert raw({"x": feature}, {"x": arrow_type}) == {"x": RawColumn(dtype=dtype)}


@pytest.mark.parametrize(
    ("arrow_type", "feature"),
    [
        (pa.string(), NUMERIC),
        (pa.string(), QUANTILE),
        (pa.list_(pa.float32()), NUMERIC),
        (pa.timestamp("s"), hashed()),
        (pa.date32(), VOCABULARY),
        (pa.struct([("a", pa.int64())]), hashed()),
        (pa.list_(pa.string()), hashed(delimiter=",")),
    ],
)
def test_a_type_that_a_feature_cannot_take_is_named(arrow_type, feature):
    with pytest.raises(InputError, match=r"^0\.parquet: column x has type .*, which features\.f \(\w+\) cannot take"):
        raw({"f": feature.model_copy(update={"column": "x"})}, {"x": arrow_type})


def test_lists_have_the_width_of_their_longest_feature():
    features = {"a": hashed(column="tags", max_values=3), "b": hashed(column="tags", max_values=5)}
    assert raw(features, {"tags": pa.list_(pa.int32())}) == {"tags": RawColumn(dtype="int64", width=5)}
    features = {"tags": VocabularyFeature(kind="vocabulary", max_values=2)}
    assert raw(features, {"tags": pa.large_list(pa.string())}) == {"tags": RawColumn(dtype="string", width=2)}
    assert raw({"gap": QUANTILE}, {"gap": pa.list_(pa.int32())}) == {"gap": RawColumn(dtype="int64", width=8)}


def test_a_column_that_is_an_id_and_a_number_is_an_integer():
    for first, second in ((hashed(column="x"), NUMERIC), (NUMERIC, hashed(column="x"))):
        assert raw({"x": first, "y": second.model_copy(update={"column": "x"})}, {"x": pa.float64()}) == {
            "x": RawColumn(dtype="int64")
        }


def test_a_missing_column_is_named_with_the_file_that_lacks_it():
    with pytest.raises(InputError, match=r"^1\.parquet: no column x; the file has y"):
        raw({"x": NUMERIC}, {"x": pa.int64()}, {"y": pa.int64()})


@pytest.mark.parametrize(
    ("types", "feature", "dtype"),
    [
        ((pa.null(), pa.int64()), hashed(), "int64"),  # A first file of nulls says nothing.
        ((pa.null(), pa.string()), VOCABULARY, "string"),
        ((pa.int64(), pa.float64()), NUMERIC, "float32"),  # Fractions may come; int64 could not hold them.
        ((pa.int64(), pa.float64()), hashed(), "int64"),
        ((pa.bool_(), pa.int64()), NUMERIC, "int64"),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_all_files_have_a_say(types, feature, dtype, suffix):
    for order in (types, types[::-1]):
        assert raw({"x": feature}, *({"x": t} for t in order), suffix=suffix) == {"x": RawColumn(dtype=dtype)}


def test_lists_of_which_one_file_has_only_empty_ones():
    types = [{"x": pa.list_(pa.null())}, {"x": pa.list_(pa.int64())}]
    assert raw({"x": hashed()}, *types) == {"x": RawColumn(dtype="int64", width=8)}


def test_where_parquet_files_contradict_each_other_the_first_one_counts():
    # The others are named by check_schemas.
    unlike = [pa.string(), pa.int64(), pa.list_(pa.int64()), pa.timestamp("s")]
    for other in unlike:
        assert raw({"x": hashed()}, {"x": pa.int32()}, {"x": other}, {"x": pa.float32()})["x"] == RawColumn(
            dtype="int64"
        )
        assert raw({"x": hashed()}, {"x": pa.string()}, {"x": other})["x"] == RawColumn(dtype="string")
    assert raw({"x": hashed()}, {"x": pa.int64()}, {"x": pa.string()}, suffix="csv")["x"] == RawColumn(dtype="string")


def test_a_column_of_nulls_alone_is_an_error():
    with pytest.raises(InputError, match=r"column x is null in every row of the log; drop features\.x"):
        raw({"x": NUMERIC}, {"x": pa.null()}, {"x": pa.null()})


def test_csv_that_looks_like_numbers_is_text_where_it_is_split():
    tags = {"tags": hashed(delimiter=",")}
    assert raw(tags, {"tags": pa.int64()}, suffix="csv") == {"tags": RawColumn(dtype="string")}
    assert raw(tags, {"tags": pa.int64()}, {"tags": pa.string()}, suffix="csv") == {"tags": RawColumn(dtype="string")}
    with pytest.raises(InputError, match=r"column tags has type int64; features\.tags\.delimiter needs text"):
        raw(tags, {"tags": pa.int64()})  # Parquet means what it says.


# --- Checking files against what was found.


def check(tmp_path, write, table, columns=None, labels=(), name="a.parquet"):
    write(tmp_path / f"date={DAY}" / name, table)
    check_schemas(DayLog(tmp_path), DAY, columns or {}, list(labels))


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (pa.array([1, None], pa.int32()), RawColumn(dtype="int64")),
        (pa.array([1.0]), RawColumn(dtype="int64")),
        (pa.array([True]), RawColumn(dtype="float32")),
        (pa.nulls(2), RawColumn(dtype="string")),
        (pa.array(["a"]).dictionary_encode(), RawColumn(dtype="string")),
        (pa.array([[1]], pa.large_list(pa.int64())), RawColumn(dtype="int64", width=3)),
        (pa.array([[]], pa.list_(pa.null())), RawColumn(dtype="string", width=3)),
    ],
)
def test_files_that_fit(values, column, tmp_path, write):
    check(tmp_path, write, {"x": values}, {"x": column})


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        (pa.array(["a"]), RawColumn(dtype="int64"), "expected int64"),
        (pa.array([1]), RawColumn(dtype="string"), "expected string"),
        (pa.array([0], pa.timestamp("s")), RawColumn(dtype="int64"), "expected int64"),
        (pa.array([[1]]), RawColumn(dtype="int64"), "expected int64"),
        (pa.array([1]), RawColumn(dtype="int64", width=3), "expected list of int64"),
        (pa.array([["a"]]), RawColumn(dtype="int64", width=3), "expected list of int64"),
    ],
)
def test_files_that_do_not_fit(values, column, expected, tmp_path, write):
    with pytest.raises(InputError, match=rf"a\.parquet: column x has type .*, {expected}; write it so"):
        check(tmp_path, write, {"x": values}, {"x": column})


def test_csv_numbers_can_be_read_as_text_but_not_the_reverse(tmp_path, write):
    check(tmp_path, write, "x\n12\n", {"x": RawColumn(dtype="string")}, name="a.csv")
    with pytest.raises(InputError, match=r"column x has type string, expected int64"):
        check(tmp_path, write, "x\nabc\n", {"x": RawColumn(dtype="int64")}, name="a.csv")


def test_labels_and_weights_must_be_numbers(tmp_path, write):
    check(tmp_path, write, {"y": [True], "w": pa.array([1], pa.uint8()), "n": pa.nulls(1)}, labels=["y", "w", "n"])
    with pytest.raises(InputError, match=r"a\.parquet: column y has type string, expected numbers"):
        check(tmp_path, write, {"y": ["yes"]}, labels=["y"])
    with pytest.raises(InputError, match=r"a\.parquet: no column y; the file has x"):
        check(tmp_path, write, {"x": [1]}, labels=["y"])


# --- Values.


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        ([1, None, -(2**62)], RawColumn(dtype="int64"), [1, MISSING_INT, -(2**62)]),
        ([True, None, False], RawColumn(dtype="int64"), [1, MISSING_INT, 0]),
        ([5.0, None, float("nan")], RawColumn(dtype="int64"), [5, MISSING_INT, MISSING_INT]),
        ([1.5, None], RawColumn(dtype="float32"), [1.5, float("nan")]),
        ([2**24 + 1, None], RawColumn(dtype="float32"), [2.0**24, float("nan")]),
        (["é", None, ""], RawColumn(dtype="string"), ["é", "", ""]),
    ],
)
def test_values_and_nulls(values, column, expected):
    got = to_numpy(pa.chunked_array([values[:1], values[1:]], pa.array(values).type), "x", column)
    assert got.dtype == (object if column.dtype == "string" else column.dtype)
    np.testing.assert_array_equal(got, np.array(expected, got.dtype))


@pytest.mark.parametrize("list_type", [pa.list_, pa.large_list])
def test_lists_become_rows_of_a_fixed_width(list_type):
    values = [[1, 2, 3, 4], None, [], [5], [None, 6], [7, 8]]
    array = pa.chunked_array([pa.array(part, list_type(pa.int32())) for part in (values[:3], values[3:])])
    m = MISSING_INT
    expected = [[1, 2, 3], [m, m, m], [m, m, m], [5, m, m], [m, 6, m], [7, 8, m]]
    column = RawColumn(dtype="int64", width=3, keep="first")
    np.testing.assert_array_equal(to_numpy(array, "x", column), expected)
    np.testing.assert_array_equal(to_numpy(array.slice(3), "x", column), expected[3:])  # A slice starts at its own row.
    words = pa.chunked_array([pa.array([["a", None], None, ["b", "c", "d"]])])
    got = to_numpy(words, "x", RawColumn(dtype="string", width=2, keep="first"))
    assert got.tolist() == [["a", ""], ["", ""], ["b", "c"]]
    expected[0] = [2, 3, 4]
    np.testing.assert_array_equal(to_numpy(array, "x", RawColumn(dtype="int64", width=3)), expected)
    assert to_numpy(words, "x", RawColumn(dtype="string", width=2)).tolist() == [["a", ""], ["", ""], ["c", "d"]]


def test_a_column_is_kept_from_one_end():
    features = {"a": hashed(column="tags"), "b": hashed(column="tags", keep="first")}
    with pytest.raises(InputError, match=r"^features\.b\.keep is first, but another feature of .* keeps the last"):
        raw(features, {"tags": pa.list_(pa.int32())})


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (["b", "a", None, "b", ""], RawColumn(dtype="string")),
        ([None, None], RawColumn(dtype="string")),
        ([["b", "a", "c"], None, [], ["a", None], ["b"]], RawColumn(dtype="string", width=2)),
    ],
)
def test_distinct_values_and_their_places_make_the_rows_again(values, column):
    dtype = pa.string() if column.width is None else pa.list_(pa.string())
    array = pa.chunked_array([values[:1], values[1:]], dtype)
    coded = [array, array.slice(1)]
    if column.width is None:
        coded.append(array.dictionary_encode())
    for form in coded:
        distinct_values, places = distinct(form, "x", column)
        assert distinct_values[-1] == ""
        assert len(set(distinct_values[:-1])) == len(distinct_values) - 1
        np.testing.assert_array_equal(distinct_values[places], to_numpy(form, "x", column))


@pytest.mark.parametrize(
    ("x", "values"),
    [
        ([5, 3, 3, 4, 5, 3, 5, 4, 5, 5, 5, 3], [3, 4, 5, MISSING_INT]),
        ([-1, MISSING_INT, 0, 0, -1, -1, MISSING_INT, 0], [-1, 0, MISSING_INT]),
        ([2**62] * 4, [2**62, MISSING_INT]),
        ([MISSING_INT] * 3, [MISSING_INT]),
        ([], [MISSING_INT]),
    ],
)
def test_integers_that_lie_close_together_and_their_places_make_the_rows_again(x, values):
    x = np.array(x, np.int64)
    found, places = distinct_integers(x)
    assert (found.dtype, found.tolist()) == (np.int64, values)
    np.testing.assert_array_equal(found[places], x)


@pytest.mark.parametrize("x", [[0, 1, 2, 3], [0] * 8 + [2], [-(2**62), 2**62] * 10])
def test_integers_of_a_range_that_is_not_much_shorter_than_the_column_stay_as_they_are(x):
    assert distinct_integers(np.array(x, np.int64)) is None


def test_a_fraction_among_ids_names_the_column():
    with pytest.raises(
        InputError, match=r"column user_id: Float value 0\.5 is a fraction, .* kind: quantile or kind: numeric"
    ):
        to_numpy(pa.chunked_array([[1.0, 0.5]]), "user_id", RawColumn(dtype="int64"))


def test_labels_become_float32_with_nan_for_null():
    for values in ([1, None, 0], [True, None, False], [1.0, None, 0.0]):
        got = numbers(pa.chunked_array([values]))
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, np.array([1, np.nan, 0], np.float32))


def test_raw_batches_are_the_columns_of_the_log_in_its_order(tmp_path, write):
    write(tmp_path / f"date={DAY}" / "a.parquet", {"u": [3, None], "t": [["a"], ["b", "c"]], "other": [0, 0]})
    write(tmp_path / f"date={DAY}" / "b.parquet", {"u": [4.0], "t": pa.array([None], pa.list_(pa.string()))})
    columns = {"u": RawColumn(dtype="int64"), "t": RawColumn(dtype="string", width=2)}
    first, second = raw_batches(DayLog(tmp_path).units(DAY), columns)
    assert first["u"].tolist() == [3, MISSING_INT]
    assert second["u"].tolist() == [4]
    assert first["t"].tolist() == [["a", ""], ["b", "c"]]
    assert second["t"].tolist() == [["", ""]]
    assert arrow_types(columns) == {"u": pa.int64(), "t": pa.list_(pa.string())}
