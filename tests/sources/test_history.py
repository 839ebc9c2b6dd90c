import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.history_reference import FIRST, histories, random_rows, read, write
from tfstable.errors import InputError
from tfstable.sources.frames import write_log
from tfstable.sources.history import History, write_histories
from tfstable.sources.simulate import simulate

KEPT = "rerun the same command to resume; days already written are kept"
CLICKS = History("user", ("video_id", "author_id"), "is_click", last=3)


def random_history(seed: int) -> History:
    rng = random.Random(seed)
    of = rng.sample(["video_id", "author_id", "seconds"], rng.randint(1, 3))
    within = rng.random() < 0.5
    return History(
        rng.choice(["user", "session"]),
        of,
        rng.choice([None, "is_click", "is_click"]),
        last=rng.choice([1, 2, 5, 100]),
        time=rng.choice([None, "time"]) if not within else "time",
        within_day=within,
        delay_days=0 if within else rng.choice([0, 0, 1, 3]),
    )


@pytest.mark.parametrize("seed", range(12))
def test_histories_are_what_their_definition_says(seed, tmp_path):
    rows, history = random_rows(seed), random_history(seed)
    write(rows, tmp_path / "log")
    write_histories(tmp_path / "log", tmp_path / "out", history)
    expected = histories(rows, history)
    assert read(tmp_path / "out") == [row | seen for row, seen in zip(rows, expected, strict=True)]


def test_the_random_logs_have_histories():
    seen = [h for seed in range(12) for h in histories(random_rows(seed), random_history(seed))]
    assert sum(any(h.values()) for h in seen) > len(seen) / 4


def changed(rows, day, rng):
    """The rows with everything of a day but keys and times made anew."""
    values = {"video_id": range(6), "author_id": "xYü", "seconds": [0.5, 9.0], "is_click": [0, 1]}
    anew = [{name: rng.choice(list(these)) for name, these in values.items()} for _ in rows]
    return [row | new if row["date"] == day else row for row, new in zip(rows, anew, strict=True)]


@pytest.mark.parametrize("time", [None, "time"])
def test_what_happens_on_a_day_is_in_no_history_of_it(time, tmp_path):
    history = History("user", ("video_id", "author_id"), "is_click", last=5, time=time)
    rows = random_rows(2)
    days = sorted({row["date"] for row in rows})
    made = []
    for name, these in (("a", rows), ("b", changed(rows, days[1], random.Random(0)))):
        write(these, tmp_path / name)
        write_histories(tmp_path / name, tmp_path / f"{name}-out", history)
        made.append(read(tmp_path / f"{name}-out"))
    first, second = ([(row["date"], [row[name] for name in history.names]) for row in part] for part in made)
    changes = [before[0] for before, after in zip(first, second, strict=True) if before != after]
    assert changes
    assert min(changes) > days[1]


def test_no_event_at_or_after_a_rows_time_is_in_its_history(tmp_path):
    """Values name the time of their event."""
    history = History("user", ("event",), None, last=100, time="time", within_day=True)
    rows = [row | {"event": row["time"]} for seed in range(3) for row in random_rows(seed)]
    rows.sort(key=lambda row: row["date"])
    write_log(pa.Table.from_pylist(rows), tmp_path / "log")
    write_histories(tmp_path / "log", tmp_path / "out", history)
    made = read(tmp_path / "out")
    assert all(event < row["time"] for row in made for event in row["seen_event"])
    assert all(gap > 0 for row in made for gap in row["seen_gap"])
    of_the_day = {(row["date"], row["user"], row["time"]) for row in rows}
    assert any((row["date"], row["user"], event) in of_the_day for row in made for event in row["seen_event"])


def test_an_event_of_a_later_partition_never_counts(tmp_path):
    rows = [{"date": FIRST, "user": 1, "video_id": 1, "time": 9}, {"date": FIRST, "user": 1, "video_id": 2, "time": 7}]
    rows.append({"date": FIRST + timedelta(1), "user": 1, "video_id": 3, "time": 8})
    write_log(pa.Table.from_pylist(rows), tmp_path / "log")
    write_histories(tmp_path / "log", tmp_path / "out", History("user", ("video_id",), time="time", within_day=True))
    assert [row["seen_video"] for row in read(tmp_path / "out")] == [[2], [], [2]]


def test_old_events_come_back_for_a_row_whose_time_is_early(tmp_path):
    """The last event before day 2 is later than its row, which therefore sees the one before."""
    times = [(0, 1), (0, 5), (1, 9), (1, 8), (2, 6), (3, 20)]
    rows = [{"date": FIRST + timedelta(day), "user": 1, "video_id": t, "time": t} for day, t in times]
    write_log(pa.Table.from_pylist(rows), tmp_path / "log")
    history = History("user", ("video_id",), last=1, time="time", within_day=True)
    write_histories(tmp_path / "log", tmp_path / "out", history)
    assert [row["seen_video"] for row in read(tmp_path / "out")] == [[], [1], [8], [5], [5], [9]]


def days_of(log: Path) -> dict[str, int]:
    return {file.parent.name: file.stat().st_mtime_ns for file in sorted(log.glob("date=*/*.parquet"))}


@pytest.mark.parametrize("within", [False, True])
def test_a_rerun_goes_on_and_adds_new_days(within, tmp_path):
    history = History("user", ("video_id",), "is_click", last=4, time="time", within_day=within)
    rows = [row for seed in (3, 4) for row in random_rows(seed)]
    rows.sort(key=lambda row: row["date"])
    days = sorted({row["date"] for row in rows})
    write(rows, tmp_path / "log")
    assert write_histories(tmp_path / "log", tmp_path / "whole", history) == days

    write([row for row in rows if row["date"] < days[-2]], tmp_path / "growing")

    def stop(done, total, what):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_histories(tmp_path / "growing", tmp_path / "out", history, progress=stop)
    assert [f"date={day}" for day in days[:2]] == list(days_of(tmp_path / "out"))
    before = days_of(tmp_path / "out")
    write([row for row in rows if row["date"] >= days[-2]], tmp_path / "growing")
    (tmp_path / "out" / ".writing-date=2025-01-09").mkdir(exist_ok=True)  # What a killed process leaves.
    (tmp_path / "out" / ".tfstable-0123456789ab.partial").mkdir()
    assert write_histories(tmp_path / "growing", tmp_path / "out", history) == days[2:]
    assert before.items() <= days_of(tmp_path / "out").items()
    assert read(tmp_path / "out") == read(tmp_path / "whole")
    assert not list((tmp_path / "out").glob(".tfstable*"))
    assert write_histories(tmp_path / "growing", tmp_path / "out", history) == []


def test_a_log_in_other_formats_gives_the_same_values(tmp_path):
    (tmp_path / "log" / "date=2025-01-01").mkdir(parents=True)
    (tmp_path / "log" / "date=2025-01-02").mkdir()
    (tmp_path / "log" / "date=2025-01-01" / "a.csv").write_text("user,video_id,is_click\nu,7,1\nu,8,0\n,9,1\nv,3,\n")
    (tmp_path / "log" / "date=2025-01-02" / "a.csv").write_text("user,video_id,is_click\n5,x7,1\nu,,1\n")
    (tmp_path / "log" / "date=2025-01-02" / "b.csv").write_text("user,video_id,is_click\nv,1,1\n")
    write_histories(tmp_path / "log", tmp_path / "out", History("user", ("video_id",), "is_click"))
    made = read(tmp_path / "out")
    assert [row["video_id"] for row in made] == ["7", "8", "9", "3", "x7", None, "1"]
    assert [row["seen_video"] for row in made] == [[], [], [], [], [], ["7"], []]


def test_ids_with_nulls_as_pandas_writes_them(tmp_path):
    rows = pa.table(
        {"date": ["2025-01-01", "2025-01-01", "2025-01-02"], "user": [7.0, None, 7.0], "video_id": [1, 2, 3]}
    )
    write_log(rows, tmp_path / "log")
    write_histories(tmp_path / "log", tmp_path / "out", History("user", ("video_id",)))
    assert [row["seen_video"] for row in read(tmp_path / "out")] == [[], [], [1]]


def test_many_rows_keep_their_order(tmp_path):
    """More rows than are read, written and joined at a time, and users with more events than are kept."""
    size = 70_000
    number = list(range(size))
    for day in (1, 2):
        table = pa.table({"user": [n * 7 % 1000 if n % 3 else None for n in number], "n": number})
        (tmp_path / "log" / f"date=2025-01-0{day}").mkdir(parents=True)
        pq.write_table(table, tmp_path / "log" / f"date=2025-01-0{day}" / "a.parquet", row_group_size=30_000)
    write_histories(tmp_path / "log", tmp_path / "out", History("user", ("n",), last=2))
    made = pq.read_table(tmp_path / "out" / "date=2025-01-02", partitioning=None).to_pydict()
    assert made["n"] == number
    newest: dict[int, list[int]] = {}
    for n in number:
        if n % 3:
            newest.setdefault(n * 7 % 1000, []).append(n)
    assert made["seen_n"] == [newest[n * 7 % 1000][-2:] if n % 3 else [] for n in number]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "usr"}, "no column usr; the file has"),
        ({"of": ["tags"]}, "--of tags: a column of list<.*; write it as integers or numbers or text"),
        ({"of": []}, "--of: no column"),
        ({"of": ["video", "video_id"]}, "two columns would be seen_video; leave one out"),
        ({"where": "name"}, "--where name: a column of string in .*; write it as integers or numbers"),
        ({"time": "name"}, "--time name: a column of string"),
        ({"time": "holes"}, "2025-01-01: column holes is null in 1 rows or more"),
        ({"last": 0}, "--last must be between 1 and 10000, got 0"),
        ({"delay_days": -1}, "--delay must be at least 0 days, got -1"),
        ({"within_day": True}, "--within-day needs a column of times"),
        ({"within_day": True, "time": "video_id", "delay_days": 1}, "--within-day takes .* and --delay leaves"),
        ({"prefix": "", "of": ["video_id"]}, "has a column video already; choose another --prefix"),
    ],
)
def test_wrong_input_is_named_and_nothing_is_written(arguments, message, tmp_path):
    columns = {"date": ["2025-01-01"] * 2, "user": [1, 2], "video": [1, 1], "video_id": [1, 1], "tags": [["a"], []]}
    write_log(pa.table(columns | {"name": ["a", "b"], "holes": [1, None]}), tmp_path / "log")
    with pytest.raises(InputError, match=message):
        write_histories(tmp_path / "log", tmp_path / "out", History(**{"by": "user", "of": ["video_id"], **arguments}))
    assert not list(tmp_path.glob("out/date=*"))


def test_a_place_that_holds_something_else_is_refused(tmp_path):
    write(random_rows(0), tmp_path / "log")
    write_histories(tmp_path / "log", tmp_path / "out", CLICKS)
    before = days_of(tmp_path / "out")
    with pytest.raises(InputError, match=r"out: was made with last = 3, not 4; choose another --out"):
        write_histories(tmp_path / "log", tmp_path / "out", History("user", CLICKS.of, "is_click", last=4))
    with pytest.raises(InputError, match=r"log: the log itself; choose another --out"):
        write_histories(tmp_path / "log", tmp_path / "log", CLICKS)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: not a directory"):
        write_histories(tmp_path / "log", tmp_path / "file", CLICKS)
    shutil.copytree(tmp_path / "log", tmp_path / "other")
    with pytest.raises(InputError, match=r"other: a log without _history.json, so not of `tfstable history`"):
        write_histories(tmp_path / "log", tmp_path / "other", CLICKS)
    assert days_of(tmp_path / "out") == before
    assert days_of(tmp_path / "log").keys() == days_of(tmp_path / "other").keys()


def test_a_missing_engine_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ibis", None)
    write(random_rows(0), tmp_path / "log")
    with pytest.raises(InputError, match=r"--engine duckdb: ibis is missing; pip install 'tfstable\[history\]'"):
        write_histories(tmp_path / "log", tmp_path / "out", CLICKS)
    assert not list(tmp_path.glob("out/date=*"))


def test_too_little_memory_is_one_line_and_the_days_before_stay(tmp_path):
    rows = random_rows(0)
    write(rows, tmp_path / "log")
    with pytest.raises(InputError, match=r"out: duckdb gave up \(.*Out of Memory.*; see to memory \(--memory-gb\)"):
        write_histories(tmp_path / "log", tmp_path / "out", CLICKS, memory_gb=0.001)
    assert not list((tmp_path / "out").glob(".*"))
    write_histories(tmp_path / "log", tmp_path / "out", CLICKS)
    assert [{name: row[name] for name in CLICKS.names} for row in read(tmp_path / "out")] == histories(rows, CLICKS)


@pytest.mark.slow
def test_spark_gives_the_same_files(tmp_path):
    rows = random_rows(0)
    rows = [
        row for row in rows if row["date"] <= sorted({row["date"] for row in rows})[2]
    ]  # A day takes half a minute.
    write(rows, tmp_path / "log")
    within = History("user", ("video_id", "author_id", "seconds"), "is_click", last=4, time="time", within_day=True)
    for name, history in {"days": History("session", ("author_id", "seconds"), last=3), "within": within}.items():
        for engine in ("duckdb", "spark"):
            write_histories(tmp_path / "log", tmp_path / f"{name}-{engine}", history, engine=engine)
        first, second = (sorted(tmp_path.glob(f"{name}-{e}/date=*/*")) for e in ("duckdb", "spark"))
        assert len(first) == len({row["date"] for row in rows})
        assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_kill_the_same_command_gives_the_same_log(number, tmp_path):
    simulate(tmp_path / "log", days=6, rows_per_day=20_000)
    history = History("user_id", ("video_id",), "click", last=20)
    write_histories(tmp_path / "log", tmp_path / "whole", history)
    options = ["--by", "user_id", "--of", "video_id", "--where", "click", "--last", "20"]
    command = [
        sys.executable,
        "-m",
        "trainers",
        "history",
        "--data",
        tmp_path / "log",
        "--out",
        tmp_path / "out",
        *options,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out" / "date=2025-01-02").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[number]
    assert said == ("" if number == signal.SIGKILL else f"stopped by SIGTERM; {KEPT}\n")
    assert len(days_of(tmp_path / "out")) < 6
    subprocess.run(command, check=True)
    whole, again = (sorted((tmp_path / name).rglob("*.parquet")) for name in ("whole", "out"))
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in whole]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert (names[0], names[-1]) == ("_history.json", "date=2025-01-06")
