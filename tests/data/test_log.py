"""Day logs on disk: what is found, in which order it is read, and as which types."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.data.logs import DAY, error, values
from tfstable.data.log import DayLog, read
from tfstable.data.log_files import READ_ROWS


@pytest.mark.parametrize("suffix", ["parquet", "csv", "feather", "arrow"])
def test_every_format_holds_the_same_rows(suffix, tmp_path, write):
    write(tmp_path / f"date={DAY}" / f"part-0.{suffix}", {"x": [3, 1, 2], "s": ["a", None, "c"]})
    log = DayLog(tmp_path)
    assert log.days == [DAY]
    assert log.rows(DAY) == 3
    assert values(log) == [3, 1, 2]
    assert values(log, "s") == ["a", None, "c"]


def test_formats_and_files_of_a_day_are_read_in_the_order_of_their_names(tmp_path, write):
    day = tmp_path / f"date={DAY}"
    write(day / "c.feather", {"x": [5]})
    write(day / "a.csv", {"x": [1, 2]})
    write(day / "b.parquet", {"x": [3, 4]})
    log = DayLog(tmp_path)
    assert [unit.path.name for unit in log.units(DAY)] == ["a.csv", "b.parquet", "c.feather"]
    assert values(log) == [1, 2, 3, 4, 5]


def test_a_parquet_row_group_is_a_unit(tmp_path, write):
    write(tmp_path / f"date={DAY}" / "a.parquet", {"x": range(10)}, row_group=4)
    units = DayLog(tmp_path).units(DAY)
    assert [(unit.row_group, unit.rows) for unit in units] == [(0, 4), (1, 4), (2, 2)]
    assert [batch["x"].to_pylist() for batch in read(units[1:2], {"x": None})] == [[4, 5, 6, 7]]


def test_hidden_files_and_other_directories_are_passed_over(tmp_path, write):
    day = tmp_path / f"date={DAY}"
    write(day / "a.parquet", {"x": [1]})
    for name in ("_SUCCESS", ".a.parquet.crc", "_metadata"):
        (day / name).write_text("not a log file")
    (tmp_path / "_temporary").mkdir()
    (tmp_path / ".writing-date=2025-01-02").mkdir()
    (tmp_path / "README.md").write_text("about this log")
    assert DayLog(tmp_path).days == [DAY]
    assert values(DayLog(tmp_path)) == [1]


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 9, 10, 11, 12])
def test_start_leaves_out_rows_across_units(start, tmp_path, write):
    write(tmp_path / f"date={DAY}" / "a.parquet", {"x": range(10)}, row_group=4)
    write(tmp_path / f"date={DAY + timedelta(1)}" / "b.csv", {"x": [10, 11]})
    assert values(DayLog(tmp_path), start=start) == list(range(12))[start:]


def test_start_leaves_out_rows_of_a_unit_of_many_batches(tmp_path, write):
    rows = 2 * READ_ROWS + 10
    for suffix in ("parquet", "feather", "csv"):
        write(tmp_path / suffix / f"date={DAY}" / f"a.{suffix}", {"x": np.arange(rows)})
        for start in (READ_ROWS - 1, READ_ROWS, 2 * READ_ROWS + 3):
            assert values(DayLog(tmp_path / suffix), start=start) == list(range(start, rows))


def test_batches_are_bounded_whatever_the_size_of_a_unit(tmp_path, write):
    rows = 2 * READ_ROWS + 10
    for suffix in ("parquet", "feather", "csv"):
        write(tmp_path / suffix / f"date={DAY}" / f"a.{suffix}", {"x": np.arange(rows)})
        sizes = [batch.num_rows for batch in read(DayLog(tmp_path / suffix).units(DAY), {"x": None})]
        assert sum(sizes) == rows
        assert max(sizes) <= READ_ROWS


# --- Files that disagree about a type.


@pytest.mark.parametrize("suffix", ["parquet", "csv", "feather"])
def test_files_that_disagree_are_read_as_the_widest_type(suffix, tmp_path, write):
    day = tmp_path / f"date={DAY}"
    write(day / f"a.{suffix}", {"x": pa.array([None, None], pa.int64()), "y": [1, 2]})
    write(day / f"b.{suffix}", {"x": [1, 2], "y": [3, 4]})
    write(day / f"c.{suffix}", {"x": [0.5, None], "y": [5, 6]})
    batches = list(read(DayLog(tmp_path).units(DAY), {"x": None}))
    assert {batch.schema.field("x").type for batch in batches} == {pa.float64()}
    assert pa.Table.from_batches(batches)["x"].to_pylist() == [None, None, 1.0, 2.0, 0.5, None]


def test_csv_ids_of_which_one_file_lacks_some(tmp_path, write):
    day = tmp_path / f"date={DAY}"
    write(day / "a.csv", "id\n9007199254740993\n2\n")  # 2**53 + 1: exact where the file is of integers.
    write(day / "b.csv", "id,z\n3.0,1\n,1\n")  # As pandas writes ids, once one is missing.
    assert values(DayLog(tmp_path), "id", pa.int64()) == [9007199254740993, 2, 3, None]


def test_csv_booleans_are_numbers_where_numbers_are_wanted(tmp_path, write):
    write(tmp_path / f"date={DAY}" / "a.csv", "x,s\nTrue,True\nfalse,false\n,\n")
    log = DayLog(tmp_path)
    assert values(log, "x", pa.float32()) == [1.0, 0.0, None]
    assert values(log, "x", pa.int64()) == [1, 0, None]
    assert values(log, "s", pa.string()) == ["True", "false", None]


def test_csv_text_stays_as_it_stands(tmp_path, write):
    day = tmp_path / f"date={DAY}"
    write(day / "a.csv", 'tag\n"12,65"\n')
    write(day / "b.csv", "tag,z\n007,1\n12,1\n")  # On its own this file is of integers.
    assert values(DayLog(tmp_path), "tag") == ["12,65", "007", "12"]


def test_columns_that_nobody_reads_do_not_matter(tmp_path, write):
    # The first block of a CSV file, 1 MB, says integers; a row far below does not.
    lines = ["x,unread", *(f"{i},{i}" for i in range(150_000)), "150000,text"]
    write(tmp_path / f"date={DAY}" / "a.csv", "\n".join(lines) + "\n")
    log = DayLog(tmp_path)
    assert log.rows(DAY) == 150_001
    assert sum(values(log)) == 150_000 * 150_001 // 2
    assert "column unread: text is not a number" in error(lambda: values(log, "unread"))
    assert values(log, "unread", pa.string())[-1] == "text"


@pytest.mark.parametrize(
    ("column", "wanted", "got"),
    [
        (pa.array([1, 2]).dictionary_encode(), pa.float32(), [1.0, 2.0]),
        (pa.array(["a", None]).dictionary_encode(), pa.string(), ["a", None]),
        (pa.array(["a"], pa.large_string()), pa.string(), ["a"]),
        (pa.array([2**24 + 1, -(2**40) - 1]), pa.float32(), [2.0**24, -(2.0**40)]),  # Rounded to float32, not refused.
        (pa.array([3.0, float("nan"), None]), pa.int64(), [3, None, None]),
        (pa.array([[1, 2], None, []], pa.large_list(pa.int32())), pa.list_(pa.int64()), [[1, 2], None, []]),
        (pa.array([[], None], pa.list_(pa.null())), pa.list_(pa.string()), [[], None]),
    ],
)
def test_types_on_disk_become_the_types_wanted(column, wanted, got, tmp_path, write):
    write(tmp_path / f"date={DAY}" / "a.parquet", {"x": column})
    assert values(DayLog(tmp_path), dtype=wanted) == got


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array([1.0, 2.5]), ": Float value 2.5 is a fraction"),
        (pa.array([2**63 + 1], pa.uint64()), ": 9223372036854775809 is beyond int64"),
        (pa.array(["12", "x"]), " has type string, expected int64"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_file_and_column(column, problem, tmp_path, write):
    path = write(tmp_path / f"date={DAY}" / "a.parquet", {"x": column})
    message = error(lambda: values(DayLog(tmp_path), dtype=pa.int64()))
    assert message.startswith(f"{path}: column x{problem}")
