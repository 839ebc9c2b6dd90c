"""`tfstable history`, `simulate --memory`, from the command line."""

import re

import pyarrow.parquet as pq
import pytest

from tests.trainers.commands import complaint, day, rows

OPTIONS = ("--by", "user_id", "--of", "city,age", "--where", "click", "--last", "3")


@pytest.fixture
def log(tmp_path, write):
    for number in range(3):
        write(day(tmp_path / "log", number), rows(t=list(range(40))))
    return tmp_path / "log"


def test_a_log_with_histories_is_written(log, tmp_path, run):
    status, printed, errors = run("history", "--data", log, "--out", tmp_path / "out", *OPTIONS, "--delay", "1d")
    assert (status, errors) == (0, "")
    assert "3 new days with seen_city, seen_age, seen_gap, 2025-01-01 to 2025-01-03" in printed
    made = pq.read_table(day(tmp_path / "out", 2), partitioning=None)
    assert made.column_names == ["user_id", "city", "age", "click", "t", "seen_city", "seen_age", "seen_gap"]
    assert {gap for gaps in made["seen_gap"].to_pylist() for gap in gaps} == {2}
    status, printed, _ = run("history", "--data", log, "--out", tmp_path / "out", *OPTIONS, "--delay", "1d")
    assert (status, "0 new days" in printed) == (0, True)


def test_events_of_the_same_day(log, tmp_path, run):
    status, _, _ = run("history", "--data", log, "--out", tmp_path / "out", *OPTIONS, "--within-day", "t")
    assert status == 0
    made = pq.read_table(day(tmp_path / "out", 0), partitioning=None)
    assert any(made["seen_gap"].to_pylist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--delay", "1h"], "--delay 1h: write a number of days, such as 2d"),
        (["--time", "age", "--within-day", "t"], "--time age is not --within-day t; name one column of times"),
        (["--within-day", "t", "--delay", "2d"], "--within-day takes events of the row's own day, and --delay leaves"),
        (["--by", "usr"], "part-0.parquet: no column usr; the file has"),
    ],
)
def test_wrong_options_are_one_line(arguments, message, log, tmp_path, run):
    said = complaint(run("history", "--data", log, "--out", tmp_path / "out", *OPTIONS, *arguments))
    assert message in said
    assert not (tmp_path / "out").exists()


def test_a_feed_with_a_memory_says_what_history_is_worth(tmp_path, run):
    status, printed, _ = run("simulate", "--out", tmp_path / "log", "--days", 4, "--rows-per-day", 20_000, "--memory")
    assert status == 0
    words = re.sub(r"\s+", " ", printed)
    found = re.search(
        r"best attainable AUC of click on 2025-01-04: (0\.\d+) with the user's history, (0\.\d+) without", words
    )
    assert float(found[1]) > float(found[2]) + 0.005
