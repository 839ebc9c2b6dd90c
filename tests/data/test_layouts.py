"""Columns as pandas, polars, Spark and pyarrow write them: one value, many types, the same inputs of the model."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pytest

from tests.data.layouts import columns_of, dictionary, inputs, log_of, write
from tests.data.logs import DAY, hashed
from tfstable.data.arrays import numbers, raw_batches
from tfstable.data.columns import RawColumn, check_schemas, group_type
from tfstable.data.columns import raw_columns as found_columns
from tfstable.data.log import DayLog, common_types, read
from tfstable.errors import InputError
from tfstable.specs import MISSING_INT, NumericFeature, QuantileFeature, VocabularyFeature

TEXT, IDS, FLOATS = ["b", None, "é", "b"], [7, None, 2**40 + 1, 7], [1.5, None, -3.0, 1.5]


def coded_views() -> pa.DictionaryArray:
    """polars' Categorical."""
    return pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1, 0], pa.uint32()), pa.array(["b", "é"], pa.string_view())
    )


def null_in_the_dictionary() -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 0], pa.int8()), pa.array(["b", None, "é"]))


TEXTS = {
    "string": pa.array(TEXT),
    "large_string": pa.array(TEXT, pa.large_string()),
    "string_view": pa.array(TEXT, pa.string_view()),
    "binary": pa.array([x and x.encode() for x in TEXT]),
    "large_binary": pa.array([x and x.encode() for x in TEXT], pa.large_binary()),
    "binary_view": pa.array([x and x.encode() for x in TEXT], pa.binary_view()),
    **{f"dictionary {t}": dictionary(pa.array(TEXT), t) for t in (pa.int8(), pa.uint8(), pa.uint32(), pa.int64())},
    "dictionary of large_string": dictionary(pa.array(TEXT, pa.large_string()), pa.uint32()),
    "dictionary of binary": dictionary(pa.array([x and x.encode() for x in TEXT]), pa.int16()),
    "dictionary of string_view": coded_views(),
    "dictionary with a null": null_in_the_dictionary(),
    "pandas category": pa.array(pd.Categorical(TEXT)),
    "pandas string": pa.array(pd.Series(TEXT, dtype="string")),
    "run ends": pc.run_end_encode(pa.array(TEXT)),
}
INTEGERS = {
    "int64": pa.array(IDS),
    "uint64": pa.array(IDS, pa.uint64()),
    "float64": pa.array(IDS, pa.float64()),
    "NaN": pa.array([7, np.nan, 2**40 + 1, 7]),
    "decimal128": pa.array(IDS, pa.decimal128(20, 0)),
    "decimal256": pa.array(IDS, pa.decimal256(40, 0)),
    "decimal with a scale": pa.array(IDS, pa.decimal128(38, 4)),
    "dictionary": dictionary(pa.array(IDS), pa.uint16()),
    "dictionary of float64": dictionary(pa.array(IDS, pa.float64()), pa.int8()),
    "pandas Int64": pa.array(pd.Series(IDS, dtype="Int64")),
    "run ends": pc.run_end_encode(pa.array(IDS)),
}
SMALL = [1, None, 0, 1]
LABELS = {
    **{str(t): pa.array(SMALL, t) for t in (pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), pa.uint64())},
    "float16": pa.array(SMALL, pa.float32()).cast(pa.float16()),
    "bool": pa.array([True, None, False, True]),
    "float32": pa.array(SMALL, pa.float32()),
    "decimal128": pa.array(SMALL, pa.decimal128(10, 2)),
    "dictionary": dictionary(pa.array(SMALL), pa.uint32()),
    "pandas boolean": pa.array(pd.Series([True, None, False, True], dtype="boolean")),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array(SMALL, pa.int8())),
}
FLOAT_TYPES = [pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2)]
if int(pa.__version__.partition(".")[0]) >= 19:  # The first release with these types.
    FLOAT_TYPES.append(pa.decimal32(5, 2))
    INTEGERS["decimal64"] = pa.array(IDS, pa.decimal64(18, 0))
    LABELS["decimal32"] = pa.array(SMALL, pa.decimal32(5, 1))
    LABELS["decimal64"] = pa.array(SMALL, pa.decimal64(9, 2))
LISTS = {
    "list": pa.list_(pa.int64()),
    "large_list": pa.large_list(pa.int64()),
    "list_view": pa.list_view(pa.int64()),
    "large_list_view": pa.large_list_view(pa.int64()),
    "of float64": pa.large_list(pa.float64()),
    "of uint64": pa.list_(pa.uint64()),
}


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("layout", TEXTS)
def test_text(layout, suffix, tmp_path):
    log = log_of(tmp_path, TEXTS[layout], suffix)
    for feature in (hashed(), VocabularyFeature(kind="vocabulary"), hashed(delimiter="|"), hashed(type="string")):
        assert inputs(log, feature) == (RawColumn(dtype="string"), ["b", "", "é", "b"])
    assert group_type(log.schemas(DAY), "x") == pa.string()
    kept = common_types([unit.path for unit in log.units(DAY)], ["x"])
    assert [x for batch in read(log.units(DAY), kept) for x in batch["x"].to_pylist()] == TEXT


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("layout", INTEGERS)
def test_integers(layout, suffix, tmp_path):
    log = log_of(tmp_path, INTEGERS[layout], suffix)
    for feature in (hashed(), VocabularyFeature(kind="vocabulary"), hashed(type="int")):
        assert inputs(log, feature) == (RawColumn(dtype="int64"), [7, MISSING_INT, 2**40 + 1, 7])
    dtype = group_type(log.schemas(DAY), "x")
    assert [x for batch in read(log.units(DAY), {"x": dtype}) for x in batch["x"].to_pylist()] == IDS


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("layout", LABELS)
def test_labels_weights_and_numbers(layout, suffix, tmp_path):
    log = log_of(tmp_path, LABELS[layout], suffix)
    check_schemas(log, DAY, {}, ["x"])
    (batch,) = read(log.units(DAY), {"x": pa.float32()})
    np.testing.assert_array_equal(numbers(batch["x"]), np.array([1, np.nan, 0, 1], np.float32))
    for feature in (NumericFeature(kind="numeric"), QuantileFeature(kind="quantile"), hashed()):
        column, got = inputs(log, feature)
        assert [None if x == MISSING_INT or x != x else x for x in got] == SMALL, column


@pytest.mark.parametrize("dtype", FLOAT_TYPES)
def test_fractions(dtype, tmp_path):
    decimals = pa.array([x and Decimal(str(x)) for x in FLOATS], dtype) if pa.types.is_decimal(dtype) else None
    log = log_of(tmp_path, decimals or pa.array(FLOATS).cast(dtype), "parquet")
    column, got = inputs(log, NumericFeature(kind="numeric"))
    np.testing.assert_array_equal(got, np.array(FLOATS, np.float32))
    assert column == RawColumn(dtype="float32")
    price = r"a\.parquet: column x: Float value (-3|1\.50?) is a fraction, .* use kind: quantile or kind: numeric"
    for feature in (hashed(), VocabularyFeature(kind="vocabulary")):
        columns = found_columns({"x": feature}, log.schemas(DAY))
        with pytest.raises(InputError, match=price):
            list(raw_batches(log.units(DAY), columns))


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("layout", LISTS)
def test_lists(layout, suffix, tmp_path):
    array = pa.array([[1, 2], None, [], [3, None]], LISTS[layout])
    assert inputs(log_of(tmp_path, array, suffix), hashed(max_values=3)) == (
        RawColumn(dtype="int64", width=3),
        [[1, 2, MISSING_INT], [MISSING_INT] * 3, [MISSING_INT] * 3, [3, MISSING_INT, MISSING_INT]],
    )


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("dtype", [pa.list_(pa.string_view()), pa.large_list(pa.large_string()), pa.list_(pa.binary())])
def test_lists_of_text(dtype, suffix, tmp_path):
    log = log_of(tmp_path, pa.array([["a", "b"], None, ["c", None]], dtype), suffix)
    assert inputs(log, hashed(max_values=2)) == (RawColumn(dtype="string", width=2), [["a", "b"], ["", ""], ["c", ""]])


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_lists_of_a_fixed_size(suffix, tmp_path):
    array = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2))
    m = MISSING_INT
    assert inputs(log_of(tmp_path, array, suffix), hashed(max_values=3))[1] == [[1, 2, m], [m, m, m], [3, 4, m]]


def test_lists_of_floats_with_nan(tmp_path):
    log = log_of(tmp_path, pa.array([[1.0, np.nan], [2.0]]), "parquet")
    assert inputs(log, hashed(max_values=2))[1] == [[1, MISSING_INT], [2, MISSING_INT]]


def test_files_of_a_day_may_lay_a_column_out_differently(tmp_path):
    for number, array in enumerate(TEXTS.values()):
        try:
            write(tmp_path / f"date={DAY}" / f"{number:02}.parquet", {"x": array, "y": [1, 0, 0, 0]})
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            continue
    log = DayLog(tmp_path)
    columns = columns_of(log, hashed())
    files = [raw["x"].tolist() for raw in raw_batches(log.units(DAY), columns)]
    assert len(files) > 8
    assert all(got == ["b", "", "é", "b"] for got in files)


def test_what_spark_leaves_in_a_directory(tmp_path):
    day = tmp_path / f"date={DAY}"
    write(day / "part-00000-6ae1-c000.snappy.parquet", {"x": pa.array([b"a"])})
    write(day / "part-00001-6ae1.c000.snappy.parquet", {"x": pa.array([b"b"])})
    (day / "part-00002-6ae1.c000.csv.gz").write_bytes(pa.compress(b"x,y\nc,1\n", codec="gzip", asbytes=True))
    for hidden in ("_SUCCESS", "._SUCCESS.crc", ".part-00000-6ae1-c000.snappy.parquet.crc", "_committed_12"):
        (day / hidden).write_bytes(b"")
    (day / "_temporary").mkdir()
    (tmp_path / "_SUCCESS").write_bytes(b"")
    log = DayLog(tmp_path)
    assert [raw["x"].tolist() for raw in raw_batches(log.units(DAY), columns_of(log, hashed()))] == [
        ["a"],
        ["b"],
        ["c"],
    ]
