"""Columns that are refused: times, ids that a type rounds, text that is not UTF-8, types that a config contradicts."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tests.data.layouts import columns_of, dictionary, inputs, log_of, write
from tests.data.logs import DAY, hashed
from tfstable.data.columns import arrow_types, check_schemas, group_type
from tfstable.data.columns import raw_columns as found_columns
from tfstable.data.log import DayLog, common_types, read
from tfstable.errors import InputError
from tfstable.specs import MISSING_INT, NumericFeature, QuantileFeature, VocabularyFeature

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
