"""Day logs that cannot be read, or change after they were found: one line that names the file."""

import gzip
import os
import socket
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.data.logs import DAY, error, values
from tfstable.data.log import DayLog, read
from tfstable.errors import InputError

# --- What cannot be read.


def test_no_log(tmp_path, write):
    assert "no such log directory" in error(lambda: DayLog(tmp_path / "nowhere"))
    assert "no day partitions" in error(lambda: DayLog(tmp_path))
    assert "no such log directory" in error(lambda: DayLog(write(tmp_path / "a.csv", "x\n1\n")))


@pytest.mark.parametrize("name", ["date=yesterday", "date=20250101", "date=2025-02-30", "date=2025-1-1", "date=None"])
def test_a_directory_that_is_no_day(name, tmp_path):
    (tmp_path / name).mkdir()
    assert error(lambda: DayLog(tmp_path)).startswith(f"{tmp_path / name}: not a day")


def test_a_gap_is_an_error_unless_it_may_be_skipped(tmp_path, write):
    days = [DAY, DAY + timedelta(1), DAY + timedelta(4)]
    for day in days:
        write(tmp_path / f"date={day}" / "a.csv", "x\n1\n")
    assert "no day between 2025-01-02 and 2025-01-05" in error(lambda: DayLog(tmp_path))
    assert DayLog(tmp_path, missing_day="skip").days == days


def test_empty_days(tmp_path, write):
    days = [tmp_path / f"date={DAY + timedelta(i)}" for i in range(3)]
    days[0].mkdir()
    write(days[1] / "a.parquet", {"x": pa.array([], pa.int64())})
    write(days[2] / "a.csv", "x\n")
    log = DayLog(tmp_path)
    for day, directory in zip(log.days, days, strict=True):
        assert error(lambda day=day: log.units(day)).startswith(f"{directory}: the day is empty")
    write(days[1] / "b.parquet", {"x": [7]})  # One empty file among others does no harm.
    assert [unit.rows for unit in DayLog(tmp_path).units(log.days[1]) if unit.rows] == [1]


def test_a_day_that_is_not_there(tmp_path, write):
    write(tmp_path / f"date={DAY}" / "a.csv", "x\n1\n")
    message = error(lambda: DayLog(tmp_path).units(date(2026, 1, 1)))
    assert message.endswith("no day 2026-01-01; the log has 2025-01-01 to 2025-01-01")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "feather"])
def test_a_file_that_is_something_else(suffix, tmp_path):
    path = tmp_path / f"date={DAY}" / f"a.{suffix}"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert error(lambda: values(DayLog(tmp_path))).startswith(f"{path}: cannot be read (")
    if suffix != "csv":
        path.write_text("x\n1\n" * 100)
        assert error(lambda: values(DayLog(tmp_path))).startswith(f"{path}: cannot be read (")


def test_a_file_of_an_unknown_kind(tmp_path, write):
    path = write(tmp_path / f"date={DAY}" / "a.json", "{}")
    assert error(lambda: DayLog(tmp_path).units(DAY)).startswith(f"{path}: not a log file; a day holds .parquet, .csv")


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_a_truncated_file(suffix, tmp_path, write):
    path = write(tmp_path / f"date={DAY}" / f"a.{suffix}", {"x": np.arange(10_000)})
    path.write_bytes(path.read_bytes()[:-5_000])
    assert error(lambda: values(DayLog(tmp_path))).startswith(f"{path}: cannot be read (")


def test_damage_inside_a_file_is_found_when_it_is_read(tmp_path, write):
    path = write(tmp_path / f"date={DAY}" / "a.parquet", {"x": np.arange(10_000)})
    data = bytearray(path.read_bytes())
    data[4:20_000] = b"\xff" * 19_996
    path.write_bytes(data)
    log = DayLog(tmp_path)
    assert log.rows(DAY) == 10_000  # The metadata, at the end, is whole.
    assert error(lambda: values(log)).startswith(f"{path}: cannot be read (")


def test_unreadable_paths(tmp_path):
    for number, make in enumerate([lambda p: p.symlink_to("/nonexistent"), lambda p: p.mkdir()]):
        path = tmp_path / str(number) / f"date={DAY}" / "a.parquet"
        path.parent.mkdir(parents=True)
        make(path)
        assert error(lambda path=path: DayLog(path.parents[1]).units(DAY)).startswith(f"{path}: cannot be read (")


def test_a_csv_file_whose_rows_differ_in_length(tmp_path, write):
    path = write(tmp_path / f"date={DAY}" / "a.csv", "x,y\n1,2\n3\n")
    message = error(lambda: values(DayLog(tmp_path)))
    assert message.startswith(f"{path}: cannot be read (")
    assert "Expected 2 columns, got 1" in message


def test_a_missing_column_is_named_beside_those_that_are_there(tmp_path, write):
    path = write(tmp_path / f"date={DAY}" / "a.parquet", {"x": [1], "y": [2]})
    assert error(lambda: values(DayLog(tmp_path), "z")) == f"{path}: no column z; the file has x, y"


# --- Files that are none, or become others.


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz", "feather"])
def test_pipes_sockets_directories_and_links_to_nothing(suffix, tmp_path, write):
    path = tmp_path / f"date={DAY}" / f"b.{suffix}"
    write(path.with_name("a.csv"), "x\n1\n")
    with socket.socket(socket.AF_UNIX) as listening:
        for make, what in (
            (lambda: os.mkfifo(path), "not a regular file"),
            (lambda: listening.bind(str(path)), "not a regular file"),
            (lambda: path.mkdir(), "a directory"),
            (lambda: path.symlink_to("/nonexistent"), "a link to nothing"),
        ):
            make()
            for action in (lambda: DayLog(tmp_path).units(DAY), lambda: DayLog(tmp_path).schemas(DAY)):
                assert error(action).startswith(f"{path}: cannot be read ({what}); a day holds only .parquet, .csv")
            path.rmdir() if path.is_dir() else path.unlink()
    assert values(DayLog(tmp_path)) == [1]


def test_a_day_that_is_a_file(tmp_path, write):
    path = write(tmp_path / f"date={DAY}", "x\n1\n")
    assert error(lambda: DayLog(tmp_path).units(DAY)).startswith(f"{path}: cannot be read (Not a directory)")
    path.unlink()
    path.symlink_to("/nonexistent")
    assert error(lambda: DayLog(tmp_path).units(DAY)).startswith(f"{path}: cannot be read (No such file or directory)")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz", "feather"])
@pytest.mark.parametrize("rows", [0, 1, 99, 101, 300])
def test_a_file_that_is_written_anew_with_other_rows(suffix, rows, tmp_path, write):
    path = tmp_path / f"date={DAY}" / f"a.{suffix}"

    def put(count: int):
        if suffix == "csv.gz":
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(b"x,y\n" + b"".join(b"%d,1\n" % i for i in range(count))))
        else:
            write(
                path, {"x": np.arange(count), "y": np.ones(count)}, **({"row_group": 40} if suffix == "parquet" else {})
            )

    put(100)
    units = DayLog(tmp_path).units(DAY)
    put(rows)
    message = error(lambda: list(read(units, {"x": pa.int64()})))
    assert message.startswith(f"{path}: ")
    assert "was rewritten since the start" in message or "cannot be read (" in message


@pytest.mark.parametrize("suffix", ["parquet", "csv", "feather"])
@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"z": [1, 2]}, "no column x; the file has z"),
        ({"x": ["a", "b"]}, "column x"),
        ({"x": [1.5, 2.5]}, "column x: Float value 1.5 is a fraction"),
        ({"x": pa.array([1, 2], pa.timestamp("s"))}, "column x"),
    ],
)
def test_a_file_that_is_written_anew_with_other_columns(suffix, columns, problem, tmp_path, write):
    path = write(tmp_path / f"date={DAY}" / f"a.{suffix}", {"x": [1, 2]})
    units = DayLog(tmp_path).units(DAY)
    write(path, columns)
    assert error(lambda: list(read(units, {"x": pa.int64()}))).startswith(f"{path}: {problem}")


@pytest.mark.parametrize("suffix", ["parquet", "feather", "arrow", "csv", "csv.gz", "csv.zst"])
def test_damage_of_any_kind_is_one_line_that_names_the_file(suffix, tmp_path, write):
    rng = np.random.default_rng(0)
    path = tmp_path / f"date={DAY}" / f"a.{suffix}"
    table = {"x": rng.integers(0, 1000, 500), "s": rng.choice(["Oslo", "Røst"], 500), "f": rng.random(500)}
    if suffix.startswith("csv."):
        write(tmp_path / "plain.csv", table)
        codec = {"csv.gz": "gzip", "csv.zst": "zstd"}[suffix]
        path.parent.mkdir()
        path.write_bytes(pa.compress((tmp_path / "plain.csv").read_bytes(), codec=codec, asbytes=True))
    else:
        write(path, table)
    whole = path.read_bytes()
    wanted = {"x": pa.int64(), "s": pa.string(), "f": pa.float32()}
    units = DayLog(tmp_path).units(DAY)
    said = []
    for trial in range(60):
        data = bytearray(whole)
        place = int(rng.integers(len(data)))
        if trial % 4 == 0:
            data = data[:place]
        elif trial % 4 == 1:
            data[place] ^= 1 << int(rng.integers(8))
        elif trial % 4 == 2:
            data[place : place + 200] = bytes(len(data[place : place + 200]))
        else:
            data[max(0, len(data) - 1 - place % 300)] = int(rng.integers(256))
        path.write_bytes(data)
        for action in (lambda: list(read(units, wanted)), lambda: list(read(DayLog(tmp_path).units(DAY), wanted))):
            try:
                action()
            except InputError as raised:
                said.append(str(raised))
    assert len(said) > 20
    assert all(line.startswith((f"{path}: ", f"{path.parent}: the day is empty")) for line in said)
    assert "\n" not in "".join(said)
