"""CSV files of a log: what their columns are taken for, and that training reads what a served request would say."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.data.csv_logs import inputs, log_of
from tests.data.logs import DAY, error, hashed
from tfstable.data.arrays import raw_batches
from tfstable.data.columns import RawColumn, check_schemas, group_type, raw_columns
from tfstable.data.log import DayLog, common_types, read
from tfstable.specs import MISSING_INT, NumericFeature, QuantileFeature, VocabularyFeature

NUMERIC, QUANTILE = NumericFeature(kind="numeric"), QuantileFeature(kind="quantile")


# --- Text stays what it is: a served request sends the same.


@pytest.mark.parametrize(
    "text",
    [
        "NA N/A null NULL NaN nan None #N/A",
        "00012 12",
        "-007",
        "true false",
        "1990-01-02",
        "08:30",
        "2025-01-01T00:00:00Z",
    ],
)
@pytest.mark.parametrize("feature", [hashed(), VocabularyFeature(kind="vocabulary"), hashed(delimiter="|")])
def test_text_is_read_as_it_stands(text, feature, tmp_path):
    if text == "NA N/A null NULL NaN nan None #N/A":
        text += " Oslo"
    assert inputs(log_of(tmp_path, text), feature) == ("string", text.split())


def test_only_an_empty_field_is_missing(tmp_path):
    path = tmp_path / f"date={DAY}" / "a.csv"
    path.parent.mkdir()
    path.write_text('x,y,n\nNA,1,\n,0,2\n"",1,3\n')
    log = DayLog(tmp_path)
    columns = raw_columns({"x": hashed(), "n": NUMERIC}, log.schemas(DAY))
    (raw,) = raw_batches(log.units(DAY), columns)
    assert raw["x"].tolist() == ["NA", "", ""]
    assert raw["n"].tolist() == [MISSING_INT, 2, 3]


def test_text_that_means_missing_in_a_column_of_numbers_is_named(tmp_path):
    log = log_of(tmp_path, "1 2", "NA 3")
    assert "x has type string, which features.x (numeric) cannot take" in error(lambda: inputs(log, NUMERIC))
    said = error(lambda: check_schemas(log, DAY, {"x": RawColumn(dtype="float32")}))
    assert said.startswith(
        f"{tmp_path}/date={DAY}/1.csv: column x has type string, expected float; NA is not a number; leave"
    )
    assert "expected numbers (a label or weight); NA is not a number" in error(
        lambda: check_schemas(log, DAY, {}, ["x"])
    )


@pytest.mark.parametrize(
    ("text", "dtype", "expected"),
    [
        ("1 -2 0", "int64", [1, -2, 0]),
        ("9007199254740993", "int64", [2**53 + 1]),
        ("3.0 4.0", "int64", [3, 4]),
        ("NaN 4.0", "int64", [MISSING_INT, 4]),
        ("18446744073709551615", "string", ["18446744073709551615"]),
        ("12ab 1e5", "string", ["12ab", "1e5"]),
    ],
)
def test_ids(text, dtype, expected, tmp_path):
    assert inputs(log_of(tmp_path, text), hashed()) == (dtype, expected)


@pytest.mark.parametrize("text", ["9007199254740992.0 3.0", "1e18 2.0", "9007199254740993 3.0"])
def test_ids_that_were_rounded_before_they_were_written(text, tmp_path):
    said = error(lambda: inputs(log_of(tmp_path, text), hashed()))
    assert said.startswith(f"{tmp_path}/date={DAY}/0.csv: column x: ")
    assert "is in a double column, which rounds integers" in said


@pytest.mark.parametrize("text", ["1.5 2.0", "-0.25"])
def test_prices_as_ids(text, tmp_path):
    said = error(lambda: inputs(log_of(tmp_path, text), hashed()))
    assert "is a fraction" in said
    assert "use kind: quantile or kind: numeric" in said


@pytest.mark.parametrize("label", ["true false", "True False", "TRUE FALSE", "1 0", "1.0 0.0", "1 false"])
def test_labels(label, tmp_path):
    log = log_of(tmp_path, label)
    check_schemas(log, DAY, {}, ["x"])
    assert [x for batch in read(log.units(DAY), {"x": pa.float32()}) for x in batch["x"].to_pylist()] == [1, 0]
    assert inputs(log, NUMERIC)[1] == [1, 0]


# --- `type` says what the guess would not.


@pytest.mark.parametrize(
    ("feature", "text", "dtype", "expected"),
    [
        (hashed(type="string"), "12 7", "string", ["12", "7"]),
        (hashed(type="string"), "3.0 1e18", "string", ["3.0", "1e18"]),
        (hashed(type="int"), "3.0 4", "int64", [3, 4]),
        (hashed(type="int"), "true false", "int64", [1, 0]),
        (NumericFeature(kind="numeric", type="float"), "08 23", "float32", [8.0, 23.0]),
        (NumericFeature(kind="numeric", type="float"), "1 2", "float32", [1.0, 2.0]),
        (QuantileFeature(kind="quantile", type="int"), "1 2", "int64", [1, 2]),
    ],
)
def test_a_stated_type(feature, text, dtype, expected, tmp_path):
    assert inputs(log_of(tmp_path, text), feature) == (dtype, expected)


@pytest.mark.parametrize("feature", [NUMERIC, QUANTILE])
def test_numbers_with_leading_zeros_need_a_type(feature, tmp_path):
    assert "set features.x.type: float if it is numbers" in error(lambda: inputs(log_of(tmp_path, "08 23"), feature))


def test_text_where_the_config_says_int(tmp_path):
    said = error(lambda: inputs(log_of(tmp_path, "12 ab"), hashed(type="int")))
    assert "0.csv: column x has type string, expected int64; ab is not a number" in said
    said = error(lambda: inputs(log_of(tmp_path, "12 007"), hashed(type="int")))
    assert "007 as an integer loses its leading zero; set type: string for ids" in said
    log = log_of(tmp_path, "12 99999999999999999999")
    assert "99999999999999999999 is beyond int64; set type: string" in error(lambda: inputs(log, hashed(type="int")))


# --- One guess for all files, and what does not keep to it.


def test_the_guess_is_of_all_files(tmp_path):
    for number, (files, dtype) in enumerate(
        [(("1 2", "007"), "string"), (("1", "2.0"), "int64"), (("true", "1"), "string"), (("1", "a"), "string")]
    ):
        for side, order in enumerate((files, files[::-1])):
            (tmp_path / f"{number}{side}").mkdir()
            log = log_of(tmp_path / f"{number}{side}", *order)
            got, values = inputs(log, hashed())
            assert got == dtype
            assert dtype == "int64" or values == " ".join(order).split()


def test_a_later_file_that_does_not_keep_to_the_guess_is_named(tmp_path):
    log = log_of(tmp_path, "1 2")
    columns = raw_columns({"x": hashed()}, log.schemas(DAY))
    for text, reason in (
        ("abc", "abc is not a number"),
        ("007", "007 as an integer loses"),
        ("1.5", "1.5 is a fraction"),
    ):
        later = tmp_path / f"date={DAY + timedelta(1)}" / "0.csv"
        later.parent.mkdir(exist_ok=True)
        later.write_text(f"x,y\n{text},1\n")
        said = error(lambda: check_schemas(DayLog(tmp_path), DAY + timedelta(1), columns))
        assert said.startswith(f"{later}: column x")
        assert reason in said


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("abc", "abc is not a number; leave missing fields empty, or set type: string"),
        ("007", "007 as an integer loses its leading zero"),
        ("2.5", "Float value 2.5 is a fraction"),
        ("9007199254740993.0", "9007199254740992 is in a double column"),
    ],
)
def test_rows_below_those_of_the_guess_are_held_to_it(last, reason, tmp_path):
    log = log_of(tmp_path, " ".join(map(str, range(200_000))) + f" {last}")  # The guess looks at a megabyte.
    said = error(lambda: inputs(log, hashed()))
    assert said.startswith(f"{tmp_path}/date={DAY}/0.csv: column x: {reason}")


def test_a_column_that_is_empty_in_the_first_rows(tmp_path):
    path = tmp_path / f"date={DAY}" / "a.csv"
    path.parent.mkdir()
    path.write_text("x,y\n" + ",1\n" * 400_000 + "5,1\n")
    log = DayLog(tmp_path)
    said = error(lambda: inputs(log, hashed()))
    assert said == f"{path}: column x is empty in the first rows of every file; set features.x.type or drop the feature"
    assert inputs(log, hashed(type="int"))[1][-1] == 5
    check_schemas(log, DAY, {}, ["x"], ["x"])


def test_users_of_groups(tmp_path):
    log = log_of(tmp_path, "1 2", "3.0 2.0")
    assert group_type(log.schemas(DAY), "x") == pa.int64()
    check_schemas(log, DAY, {}, [], ["x"])
    log = log_of(tmp_path, "1 2", "9007199254740993.0 2.0")
    assert "is in a double column" in error(lambda: check_schemas(log, DAY, {}, [], ["x"]))


def test_kept_columns_lose_no_digits(tmp_path):
    log = log_of(tmp_path, "9007199254740993", "0.5")
    paths = [unit.path for unit in log.units(DAY)]
    said = error(lambda: list(read(log.units(DAY), common_types(paths, ["x"]))))
    assert "0.csv: column x: 9007199254740993 would be rounded" in said


def test_what_is_guessed_does_not_hang_on_the_day_that_is_read(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        path = tmp_path / f"date={DAY + timedelta(number)}" / "0.csv"
        path.parent.mkdir()
        ids = rng.integers(0, 99, 50) if number < 2 else [f"{i:03}" for i in range(50)]
        path.write_text("x,y\n" + "".join(f"{i},1\n" for i in ids))
    log = DayLog(tmp_path)
    schemas = {path: schema for day in log.days for path, schema in log.schemas(day).items()}
    columns = raw_columns({"x": hashed()}, schemas)
    assert columns == {"x": RawColumn(dtype="string")}
    for day in log.days:
        check_schemas(log, day, columns, ["y"])
        assert all(raw["x"].dtype == object for raw in raw_batches(log.units(day), columns))
