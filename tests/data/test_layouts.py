"""Columns as pandas, polars, Spark and pyarrow write them: one value, many types, the same inputs of the model."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tfstable.data.arrays import distinct, numbers, raw_batches
from tfstable.data.columns import RawColumn, arrow_types, check_schemas, group_type
from tfstable.data.columns import raw_columns as found_columns
from tfstable.data.log import DayLog, common_types, read
from tfstable.errors import InputError
from tfstable.specs import MISSING_INT, HashFeature, NumericFeature, QuantileFeature, VocabularyFeature

DAY = date(2025, 1, 1)
TEXT, IDS, FLOATS = ["b", None, "é", "b"], [7, None, 2**40 + 1, 7], [1.5, None, -3.0, 1.5]


def hashed(**keys) -> HashFeature:
    return HashFeature(kind="hash", buckets=10, **keys)


def dictionary(values: pa.Array, index: pa.DataType) -> pa.DictionaryArray:
    coded = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices.cast(index), coded.dictionary)


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


def write(path: Path, columns: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    pq.write_table(table, path) if path.suffix == ".parquet" else pyarrow.feather.write_feather(table, str(path))
    return path


def log_of(tmp_path: Path, array: pa.Array, suffix: str) -> DayLog:
    """A log whose column x is `array`; skips what pyarrow cannot write."""
    try:
        write(tmp_path / f"date={DAY}" / f"a.{suffix}", {"x": array})
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        pytest.skip("pyarrow writes no such file")
    return DayLog(tmp_path)


def columns_of(log: DayLog, feature) -> dict[str, RawColumn]:
    columns = found_columns({"x": feature}, log.schemas(DAY))
    check_schemas(log, DAY, columns)
    return columns


def inputs(log: DayLog, feature) -> tuple[RawColumn, list]:
    """Column x as a served request has it, which training reads alike."""
    columns = columns_of(log, feature)
    (raw,) = raw_batches(log.units(DAY), columns)
    for batch in read(log.units(DAY), arrow_types(columns, coded_text=True)):
        if columns["x"].dtype == "string":
            values, places = distinct(pa.Table.from_batches([batch])["x"], "x", columns["x"])
            assert values[places].tolist() == raw["x"].tolist()
    return columns["x"], raw["x"].tolist()


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


TIMES = {
    "date32": pa.array([1, None], pa.date32()),
    "date64": pa.array([86_400_000, None], pa.date64()),
    "timestamp": pa.array([1, None], pa.timestamp("us", "UTC")),
    "time": pa.array([1, None], pa.time64("us")),
    "duration": pa.array([1, None], pa.duration("s")),
    "dictionary": dictionary(pa.array([1, None], pa.date32()), pa.int8()),
    "list": pa.array([[1], None], pa.list_(pa.timestamp("s"))),
}


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("feature", [hashed(), VocabularyFeature(kind="vocabulary"), NumericFeature(kind="numeric")])
def test_times_are_refused_with_what_to_write_instead(time, feature, tmp_path):
    log = log_of(tmp_path, TIMES[time], "parquet")
    with pytest.raises(
        InputError, match=r"a\.parquet: column x has type .*; write numbers, such as the hour, the week"
    ):
        columns_of(log, feature)
    with pytest.raises(InputError, match=r"a\.parquet: column x has type .*, expected numbers \(a label or weight\)"):
        check_schemas(log, DAY, {}, ["x"])


def test_int96_times_of_spark_are_refused(tmp_path):
    path = tmp_path / f"date={DAY}" / "a.parquet"
    path.parent.mkdir()
    table = pa.table({"x": pa.array([1, None], pa.timestamp("ns"))})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    with pytest.raises(InputError, match=r"column x has type timestamp\[ns\].*write numbers"):
        columns_of(DayLog(tmp_path), hashed())


# --- Ids that are no longer what they were.

LOST = {  # An id that the type rounds, what of it is left.
    "float64": (pa.array([5.0, None, float(2**53 + 1)]), f"{2**53} is in a double column"),
    "negative": (pa.array([5.0, None, -(2.0**60) - 1]), f"{2**60} is in a double column"),
    "float32": (pa.array(np.array([5, 2**24 + 1], np.float32)), f"{2**24} is in a float column"),
    "float16": (pa.array(np.array([5, 2**11 + 1], np.float16)), f"{2**11} is in a halffloat column"),
    "list": (pa.array([[5.0, 2.0**60], None]), f"{2**60} is in a double column"),
    "large_list": (
        pa.array([[5.0, 2.0**24], None], pa.large_list(pa.float32())),
        f"{2**24} is in a float column",
    ),
    "dictionary": (dictionary(pa.array([5, 2**53], pa.float64()), pa.int8()), f"{2**53} is in a double column"),
    "uint64": (pa.array([5, None, 2**63 + 5], pa.uint64()), f"{2**63 + 5} is beyond int64; write such ids as text"),
    "list of uint64": (pa.array([[2**63 + 5]], pa.list_(pa.uint64())), f"{2**63 + 5} is beyond int64"),
    "decimal": (pa.array([Decimal(2**70)], pa.decimal128(38, 0)), f"{2**70} is beyond int64"),
    "infinity": (pa.array([5.0, np.inf]), "inf is not an integer"),
}


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("case", LOST)
@pytest.mark.parametrize("feature", [hashed(), VocabularyFeature(kind="vocabulary")], ids=["hash", "vocabulary"])
def test_ids_that_a_column_rounds_are_an_error(case, suffix, feature, tmp_path):
    array, expected = LOST[case]
    log = log_of(tmp_path, array, suffix)
    columns = found_columns({"x": feature}, log.schemas(DAY))
    with pytest.raises(InputError) as error:
        list(read(log.units(DAY), arrow_types(columns)))
    assert str(error.value).startswith(f"{log.path / f'date={DAY}' / f'a.{suffix}'}: column x: {expected}")
    if suffix == "parquet" and case != "float16":
        with pytest.raises(InputError, match="column x: "):
            check_schemas(log, DAY, columns)  # Its metadata has the least and the greatest value.


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_users_that_a_column_rounds_are_an_error(suffix, tmp_path):
    log = log_of(tmp_path, LOST["float64"][0], suffix)
    with pytest.raises(InputError, match=r"column x: .* is in a double column"):
        list(read(log.units(DAY), {"x": group_type(log.schemas(DAY), "x")}))
    if suffix == "parquet":
        with pytest.raises(InputError, match=r"column x: .* is in a double column"):
            check_schemas(log, DAY, {}, [], ["x"])


def test_numbers_may_be_rounded(tmp_path):
    log = log_of(tmp_path, LOST["float64"][0], "parquet")
    for feature in (NumericFeature(kind="numeric"), QuantileFeature(kind="quantile")):
        assert inputs(log, feature)[1][2] == 2.0**53


def test_ids_up_to_the_limit_pass(tmp_path):
    log = log_of(tmp_path, pa.array([2**53 - 1, None, -(2**53) + 1], pa.float64()), "parquet")
    assert inputs(log, hashed())[1] == [2**53 - 1, MISSING_INT, -(2**53) + 1]


def test_kept_ids_of_which_one_file_has_floats(tmp_path):
    day = tmp_path / f"date={DAY}"
    write(day / "a.parquet", {"x": [2**53 + 1]})
    write(day / "b.parquet", {"x": [1.0, None]})
    paths = [day / "a.parquet", day / "b.parquet"]
    with pytest.raises(InputError, match=rf"a\.parquet: column x: {2**53 + 1} would be rounded"):
        list(read(DayLog(tmp_path).units(DAY), common_types(paths, ["x"])))


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize(
    "array",
    [
        pa.array([b"caf\xe9"]),
        pa.array([b"caf\xe9"], pa.binary_view()),
        pa.array([b"caf\xe9"]).dictionary_encode(),
        pa.array([[b"caf\xe9"]]),
        pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers()),  # A file that calls it text.
        pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers()).dictionary_encode(),
    ],
    ids=["binary", "view", "dictionary", "list", "string", "dictionary of string"],
)
def test_text_in_latin_1_is_named(array, suffix, tmp_path):
    log = log_of(tmp_path, array, suffix)
    for coded in (False, True):
        with pytest.raises(InputError, match=rf"a\.{suffix}: column x: not UTF-8 text; write it as UTF-8"):
            list(read(log.units(DAY), arrow_types(columns_of(log, hashed()), coded_text=coded)))


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_a_column_that_is_there_twice(suffix, tmp_path):
    path = tmp_path / f"date={DAY}" / f"a.{suffix}"
    path.parent.mkdir()
    table = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["x", "x", "y"])
    if suffix == "csv":
        path.write_text("x,x,y\n1,2,3\n")
    else:
        pq.write_table(table, path) if suffix == "parquet" else pyarrow.feather.write_feather(table, str(path))
    log = DayLog(tmp_path)
    twice = rf"a\.{suffix}: column x occurs 2 times; rename or drop all but one"
    for action in (
        lambda: columns_of(log, hashed()),
        lambda: check_schemas(log, DAY, {}, ["x"]),
        lambda: list(read(log.units(DAY), {"x": pa.int64()})),
        lambda: list(read(log.units(DAY), {"x": None})),
    ):
        with pytest.raises(InputError, match=twice):
            action()
    assert [batch["y"].to_pylist() for batch in read(log.units(DAY), {"y": pa.int64()})] == [[3]]  # Nobody reads x.


@pytest.mark.parametrize(
    ("array", "feature", "type_"),
    [
        (pa.array([1]), hashed(), "string"),
        (pa.array(["1"]), hashed(), "int"),
        (pa.array([["1"]]), hashed(), "int"),
        (pa.array([1.5]), NumericFeature(kind="numeric"), "int"),
    ],
)
def test_a_type_that_a_file_contradicts(array, feature, type_, tmp_path):
    log = log_of(tmp_path, array, "parquet")
    with pytest.raises(
        InputError, match=rf"a\.parquet: column x has type .*, but features\.x\.type is {type_}; drop the"
    ):
        columns_of(log, feature.model_copy(update={"type": type_}))


def test_types_that_files_agree_with(tmp_path):
    log = log_of(tmp_path, pa.array([1, None]), "parquet")
    assert columns_of(log, NumericFeature(kind="numeric", type="float"))["x"].dtype == "float32"
    assert columns_of(log, NumericFeature(kind="numeric", type="int"))["x"].dtype == "int64"
