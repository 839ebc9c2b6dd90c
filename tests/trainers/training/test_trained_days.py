"""Days that change after they were trained, come late or go: what the run says, and where it goes on."""

import json
import shutil
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.trainers.runs import (
    DAYS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    copy_days,
    load,
    metrics,
    train,
    weights,
)
from tfstable.data.digest import day_digest
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate
from trainers.store import run_directory
from trainers.training.trained_days import check_gap

ROWS = 300
QUICK = ("trainer.window_days=2", "export.when=never")


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("days") / "log"
    simulate(path, days=len(DAYS), rows_per_day=ROWS, users=100, videos=50)
    return path


def go(log: Path, run: Path, *overrides: str) -> str:
    """Trains, and returns what the user sees."""
    config = load(log, *QUICK, *overrides)
    console = Console(record=True, quiet=False, width=200, file=(log.parent / "said.txt").open("w"))
    train(config, run, console=console)
    return console.export_text()


def events(run: Path) -> list[dict]:
    path = run / "events.jsonl"
    found = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [event for event in found if event["event"].endswith(("_day", "restarted"))]


def part(log: Path, day: date) -> Path:
    return log / f"date={day}" / "part-0.parquet"


def rewrite(log: Path, day: date, change):
    pq.write_table(change(pq.read_table(part(log, day))), part(log, day))


# --- The digest.


@pytest.mark.parametrize("suffix", ["parquet", "csv", "feather"])
def test_a_digest_sees_rows_values_order_and_files(suffix, tmp_path):
    writers = {"parquet": pq.write_table, "csv": pa.csv.write_csv, "feather": pa.feather.write_feather}

    def digest(name: str, *tables: pa.Table) -> str:
        directory = tmp_path / name / "date=2025-01-01"
        directory.mkdir(parents=True)
        for number, table in enumerate(tables):
            writers[suffix](table, str(directory / f"{name}-{number}.{suffix}"))
        return day_digest(DayLog(tmp_path / name), date(2025, 1, 1))

    table = pa.table({"x": range(100), "s": [f"s{i}" for i in range(100)]})
    half, rest = table.slice(0, 50), table.slice(50)
    same = digest("a", table)
    assert digest("b", table) == same  # Under another file name.
    others = [
        digest("c", table.slice(1)),
        digest("d", table.set_column(0, "x", pa.array([*range(99), 500]))),
        digest("e", half, rest),
        digest("f", rest, half),
        digest("g", table.append_column("y", pa.array(range(100)))),
    ]
    assert len({same, *others}) == 6


# --- What the run says.


@pytest.fixture(scope="module")
def four(log, tmp_path_factory) -> tuple[Path, Path]:
    """A log of the first four days, and a run over it."""
    path = tmp_path_factory.mktemp("four")
    copy_days(log, DAYS[:4], path / "log")
    said = go(path / "log", path / "run")
    assert "since it was trained" not in said
    return path / "log", path / "run"


@pytest.fixture
def copy(four, tmp_path) -> tuple[Path, Path]:
    for source, name in zip(four, ("log", "run"), strict=True):
        shutil.copytree(source, tmp_path / name)
    return tmp_path / "log", tmp_path / "run"


def test_rows_and_digests_of_the_trained_days_are_recorded(four):
    log, run = four
    record = json.loads((run / "days.json").read_text())
    assert record["days"] == {str(day): [ROWS, day_digest(DayLog(log), day)] for day in DAYS[:4]}
    assert record["window"] == {"after": str(DAYS[2]), "days": [str(DAYS[2]), str(DAYS[3])]}
    assert "trained" not in go(log, run).replace("trained to", "")  # Nothing to do, nothing to say.
    assert events(run) == []


def test_late_rows_and_rewritten_rows_of_a_trained_day_are_told_once(copy, log):
    here, run = copy
    rewrite(here, DAYS[1], lambda table: pa.concat_tables([table, table.slice(0, 7)]))
    rewrite(here, DAYS[2], lambda table: table.take(list(range(ROWS - 1, -1, -1))))
    copy_days(log, DAYS[4:], here)
    said = go(here, run)
    assert f"day {DAYS[1]} has changed since it was trained: 300 rows then, 307 now; training continues" in said
    assert f"day {DAYS[2]} has changed since it was trained: 300 rows then, 300 now, with other content" in said
    assert events(run) == [
        {"event": "changed_day", "day": str(DAYS[1]), "rows_before": 300, "rows": 307},
        {"event": "changed_day", "day": str(DAYS[2]), "rows_before": 300, "rows": 300},
    ]
    assert metrics(run, DAYS[4])["examples"] == 2 * ROWS  # Training went on.
    assert "changed" not in go(here, run)
    assert len(events(run)) == 2


def test_a_day_that_comes_late_between_trained_ones(copy, log):
    here, run = copy
    shutil.rmtree(run)
    shutil.rmtree(here / f"date={DAYS[1]}")
    go(here, run, "data.missing_day=skip")
    copy_days(log, [DAYS[1]], here)
    said = go(here, run, "data.missing_day=skip")
    assert f"day {DAYS[1]} came late, with 300 rows: later days were trained before it; training continues" in said
    assert events(run) == [{"event": "late_day", "day": str(DAYS[1]), "rows_before": None, "rows": 300}]
    go(here, run)
    assert len(events(run)) == 1


def test_a_day_that_goes_from_the_middle_is_told_and_the_oldest_ones_are_not(copy, log):
    here, run = copy
    shutil.rmtree(here / f"date={DAYS[0]}")  # Retention.
    copy_days(log, DAYS[4:], here)
    go(here, run)
    assert events(run) == []
    shutil.rmtree(here / f"date={DAYS[2]}")
    said = go(here, run, "data.missing_day=skip")
    assert f"day {DAYS[2]} is gone from the log, 300 rows when it was trained" in said
    assert events(run) == [{"event": "removed_day", "day": str(DAYS[2]), "rows_before": 300, "rows": None}]


def test_a_stride_over_days_that_no_window_has(log, tmp_path):
    go(log, tmp_path / "run", "trainer.window_days=1", "trainer.stride_days=3")
    go(log, tmp_path / "run", "trainer.window_days=1", "trainer.stride_days=3")
    assert events(tmp_path / "run") == []


def test_a_damaged_record_is_one_line(copy):
    here, run = copy
    (run / "days.json").write_text('{"days":')
    with pytest.raises(InputError, match=r"days\.json: damaged, .*; remove it: the days then count as they are now"):
        go(here, run)


# --- Gaps after what the run has trained.


def test_days_that_retention_took_from_the_next_window_are_named(copy, log):
    here, run = copy
    copy_days(log, DAYS[4:], here)
    for day in DAYS[:4]:
        shutil.rmtree(here / f"date={day}")
    before = weights(run)
    with pytest.raises(InputError) as raised:
        go(here, run)
    assert str(raised.value) == (
        f"{here}: day {DAYS[3]} is missing for the window of 2 days that ends at {DAYS[4]}; restore them, or set "
        "data.missing_day=skip to train on the existing days"
    )
    assert weights(run).keys() == before.keys()
    go(here, run, "data.missing_day=skip")  # The remedy, for the run that is there.
    assert metrics(run, DAYS[4])["window"] == [str(DAYS[4])] * 2


def test_the_next_day_must_follow_the_runs_last_one(log, tmp_path):
    config = load(log, *QUICK)
    days = DayLog(log)

    def line(last: date, first: int) -> str:
        days.days = DAYS[first:]
        with pytest.raises(InputError) as raised:
            check_gap(config, days, last)
        return str(raised.value)

    assert f"days {DAYS[1]} to {DAYS[2]} are missing between {DAYS[0]}, the last day that" in line(DAYS[0], 3)
    assert f"day {DAYS[2]} is missing between {DAYS[1]}, the last day that" in line(DAYS[1], 3)
    assert "1 days, fewer than trainer.window_days (2)" in line(None, 4)
    days.days = DAYS[3:]
    check_gap(config, days, DAYS[4])  # Nothing new.
    check_gap(config, days, DAYS[3])  # Both days of the window are there.
    check_gap(load(log, *QUICK, "data.missing_day=skip"), days, DAYS[0])


# --- A window of which a part is trained.


def stopped(log: Path, run: Path, *overrides: str):
    """Leaves a run inside its second window, behind a checkpoint."""
    config = load(log, *QUICK, "trainer.checkpoint_minutes=1e-9", "trainer.batch_size=64", *overrides)
    with pytest.raises(StoppedError):
        begun(config, run, StoppingReport).train()
    assert weights(run)["position/step/.ATTRIBUTES/VARIABLE_VALUE"] > 0


SAME = ("trainer.checkpoint_minutes=1e-9", "trainer.batch_size=64")


def test_a_window_whose_days_changed_while_it_was_trained_begins_anew(log, tmp_path):
    here, run = copy_days(log, DAYS[:4], tmp_path / "log"), tmp_path / "run"
    stopped(here, run)
    shutil.copytree(run, tmp_path / "clean")
    for newest in sorted((tmp_path / "clean" / "checkpoints").iterdir(), key=lambda path: -int(path.name)):
        if json.loads((newest / "about.json").read_text())["step"] == 0:
            break
        shutil.rmtree(newest)  # Back to where the second window begins, by hand.
    rewrite(here, DAYS[2], lambda table: table.slice(40))
    said = go(here, run, *SAME)
    assert f"day {DAYS[2]} has changed since it was trained: 300 rows then, 260 now" in said
    assert f"the window that ends at {DAYS[2]} has other days now: back to checkpoint {newest.name}, before it" in said
    assert [event["event"] for event in events(run)] == ["changed_day", "window_restarted"]
    go(here, tmp_path / "clean", *SAME)
    assert_same_run(tmp_path / "clean", run)
    assert metrics(run, DAYS[2])["examples"] == 560


@pytest.mark.slow
def test_a_change_of_another_day_does_not_begin_the_window_anew(log, tmp_path):
    here, run = copy_days(log, DAYS[:4], tmp_path / "log"), tmp_path / "run"
    stopped(here, run)
    shutil.copytree(run, tmp_path / "clean")
    rewrite(here, DAYS[0], lambda table: table.slice(40))
    go(here, run, *SAME)
    assert [event["event"] for event in events(run)] == ["changed_day"]
    go(copy_days(log, DAYS[:4], tmp_path / "other"), tmp_path / "clean", *SAME)
    assert_same_run(tmp_path / "clean", run)


@pytest.mark.slow
def test_a_window_that_lost_a_day_while_it_was_trained_begins_anew(log, tmp_path):
    here, run = copy_days(log, DAYS[:4], tmp_path / "log"), tmp_path / "run"
    stopped(here, run)
    for day in DAYS[:2]:
        shutil.rmtree(here / f"date={day}")
    with pytest.raises(InputError, match=f"day {DAYS[1]} is missing for the window of 2 days that ends at {DAYS[2]}"):
        go(here, run, *SAME)
    go(here, run, *SAME, "data.missing_day=skip")
    assert [event["event"] for event in events(run)] == ["window_restarted"]
    assert metrics(run, DAYS[2])["examples"] == ROWS


@pytest.mark.slow
def test_a_run_killed_while_a_window_begins_anew_goes_on_as_if_it_had_not(log, tmp_path, monkeypatch):
    here, run = copy_days(log, DAYS[:4], tmp_path / "log"), tmp_path / "run"
    stopped(here, run)
    rewrite(here, DAYS[2], lambda table: table.slice(40))
    shutil.copytree(run, tmp_path / "whole")
    go(here, tmp_path / "whole", *SAME)

    for moment in ("add_event", "write_json"):
        with monkeypatch.context() as patch:

            def killed(*_, **__):
                raise StoppedError

            if moment == "write_json":
                patch.setattr("trainers.training.trained_days.write_json", killed)
            else:
                patch.setattr(run_directory.RunDirectory, "add_event", killed)
            with pytest.raises(StoppedError):
                go(here, run, *SAME)
    go(here, run, *SAME)
    assert_same_run(tmp_path / "whole", run)
