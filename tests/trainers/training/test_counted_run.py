"""Counters in a run, as a whole: gate and export, the daily job, recovery, grids, warnings."""

import json
import shutil
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.commands import tfstable
from tests.trainers.runs import ROWS, assert_same_run, begun, copy_days, metrics, train
from tests.trainers.runs import load as load_config
from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.inputs import counted_days
from tfstable.inputs.counters import CounterTable
from tfstable.serving.export import Serving, metadata
from tfstable.sources.simulate import simulate
from trainers import config as configs
from trainers.health.loss_watch import Batch
from trainers.health.recoveries import Diverged
from trainers.studies.compare.compare import compare
from trainers.training.check import check_log
from trainers.training.loop import MovingWindow
from trainers.training.run import Run

DAYS = [date(2025, 1, day) for day in range(1, 6)]
SET = (
    "features.video={kind: counter, by: [video_id], of: [click, watch_time], half_life_days: 2, buckets: 5000}",
    "features.user_category={kind: counter, by: [user_id, category], of: [follow], delay_days: 1, buckets: 5000}",
    "features.of_user={kind: counter, by: [user_id], of: [click], buckets: 5000}",
    "export.user_columns=[user_id, user_followed]",
)


def seen_by_all(table: CounterTable) -> bytes:
    return table.gather(np.arange(5000)).tobytes()


def load(log: Path, *overrides: str):
    return load_config(log, *SET, *overrides)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("counted") / "log"
    simulate(path, days=len(DAYS), rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="module")
def runs(log, tmp_path_factory) -> Path:
    """The run WHOLE of all days, and one of all but the last, HALF of it, with its log."""
    path = tmp_path_factory.mktemp("runs")
    train(load(log, "export.when=never"), path / "whole")
    copy_days(log, DAYS[:4], path / "log")
    train(load(path / "log", "export.when=last"), path / "half")
    return path


@pytest.fixture
def half(runs, log, tmp_path) -> Path:
    """A directory with a run of all days but the last, the log of which has all now."""
    shutil.copytree(runs / "half", tmp_path / "run")
    copy_days(log, DAYS, tmp_path / "log")
    return tmp_path


def go_on(place: Path):
    train(load(place / "log", "export.when=never"), place / "run")


def test_an_export_serves_what_a_row_of_the_next_day_would_see(half, log):
    version = half / "run" / "export" / "latest"
    assert metadata(version).window_end == metadata(version).counted_to == str(DAYS[3])
    serving = Serving(version)  # It has predicted day 3 as the trainer did with these counters: else it was not there.
    assert "rank" in serving.signatures
    raw = {
        name: np.concatenate([batch[name] for batch in raw_batches(DayLog(log).units(DAYS[4]), serving.columns)])
        for name in serving.columns
    }
    served = serving(raw)
    for task, expected in Run.of(half / "run", half / "log").predict(DAYS[4]).items():
        np.testing.assert_allclose(served[task], expected, rtol=1e-6, atol=1e-6)


def test_a_recovery_and_the_batches_that_it_leaves_out_change_no_count(runs, log, tmp_path, monkeypatch):
    end, diverged = MovingWindow._end, []

    def end_or_diverge(self, now):
        last = now.plan.window.last
        if last == DAYS[3] and not diverged:
            diverged.append(last)
            raise Diverged("made up", Batch(last, 2), Batch(last, 5), {})
        end(self, now)

    monkeypatch.setattr(MovingWindow, "_end", end_or_diverge)
    config = load(log, "export.when=never")
    train(config, tmp_path / "run")
    (event,) = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()][:1]
    assert event["event"] == "recovery"
    assert list(event["skipped"]) == [str(DAYS[3])]
    whole, recovered = runs / "whole", tmp_path / "run"
    assert metrics(recovered, DAYS[3])["steps"] < metrics(whole, DAYS[3])["steps"]
    sums = {path.name: path.read_bytes() for path in (whole / "counters").iterdir()}
    assert len(sums) > 2
    assert {path.name: path.read_bytes() for path in (recovered / "counters").iterdir()} == sums
    seen = [Run.of(run).parts().state.reader.counted.tables(DAYS[4]) for run in (whole, recovered)]
    for name, table in seen[0].items():
        assert seen_by_all(table) == seen_by_all(seen[1][name])


def test_a_daily_job_reads_no_day_for_its_counters_that_it_does_not_train(runs, half, monkeypatch):
    counted, count = [], counted_days.CountedDays._count

    def noted(self, day):
        counted.append(day)
        return count(self, day)

    monkeypatch.setattr(counted_days.CountedDays, "_count", noted)
    go_on(half)
    assert_same_run(runs / "whole", half / "run")
    # The new window has the last two days, which see those before them. The sums are kept where one counter is late.
    assert sorted(counted) == DAYS[2:4]


def test_days_that_retention_removed_stay_counted(runs, half):
    for day in DAYS[:2]:
        shutil.rmtree(half / "log" / f"date={day}")
    go_on(half)
    assert_same_run(runs / "whole", half / "run")


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_without_the_sums_the_log_is_counted_again(damage, runs, half):
    files = list((half / "run" / "counters").glob("*.npz"))
    for path in files:
        path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-100])
    go_on(half)
    assert_same_run(runs / "whole", half / "run")
    events = [json.loads(line) for line in (half / "run" / "events.jsonl").read_text().splitlines()]
    events = [event for event in events if event["event"] == "counted_again"]
    assert len(files) == len(events) == 3
    assert all("npz" in event["reason"] for event in events)


def test_a_day_that_changed_is_counted_as_it_is_now(half):
    path = half / "log" / f"date={DAYS[0]}" / "part-0.parquet"
    pq.write_table(pq.read_table(path).slice(300), path)
    after, config = DAYS[4] + timedelta(1), load(half / "log", "export.when=never")
    go_on(half)
    resumed, fresh = Run.of(half / "run").parts(), begun(config, half / "fresh")
    anew = fresh.state.reader.counted.tables(after)
    for name, table in resumed.state.reader.counted.tables(after).items():
        assert seen_by_all(table) == seen_by_all(anew[name])


@pytest.mark.parametrize("day", DAYS[3:])  # The last one that it was trained on, and a new one.
def test_flipped_labels_of_a_day_change_no_prediction_of_it(day, half):
    """Neither in evaluation, nor before a version is published, nor in `compare`."""
    run, flipped = half / "run", copy_days(half / "log", DAYS, half / "flipped")
    path = flipped / f"date={day}" / "part-0.parquet"
    table = pq.read_table(path)
    for name, change in {"click": lambda y: 1 - y, "follow": lambda y: 1 - y, "watch_time_s": lambda y: 7 * y}.items():
        values = [None if y is None else change(y) for y in table[name].to_pylist()]
        column = pa.array(values, table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, path)
    first, second = (Run.of(run, log) for log in (half / "log", flipped))
    for task, values in first.predict(day).items():
        assert values.tobytes() == second.predict(day)[task].tobytes()
    if day == DAYS[3]:
        return
    apart, auc = [], []
    for log in (half / "log", flipped):
        report = compare(run, run / "export" / "latest", DayLog(log), day, lambda *_: None, samples=5)
        apart.append({task: found["difference"] for task, found in report["tasks"].items()})
        auc.append(report["tasks"]["click"]["auc"]["first"]["value"])
    assert apart[0] == apart[1]
    assert auc[0] == pytest.approx(1 - auc[1], abs=0.05)


def test_a_day_that_an_export_has_counted_is_warned_of(half, monkeypatch, capsys):
    version, data = half / "run" / "export" / "latest", ("--data", half / "log")
    run = partial(tfstable, monkeypatch, capsys)
    status, _, errors = run("predict", "--export", version, *data, "--out", half / "p.parquet")
    assert status == 0
    assert f"include the labels of {DAYS[0]} to {DAYS[3]}, so it predicts them better" in errors
    status, _, errors = run("predict", "--export", version, *data, "--out", half / "p.parquet", "--day", DAYS[4])
    assert (status, errors) == (0, "")
    for day, warned in ((DAYS[3], 2), (DAYS[4], 0)):
        status, printed, _ = run("compare", version, version, *data, "--day", day, "--samples", 10)
        assert status == 0
        assert printed.count(f"has counters that include the labels of {day}") == warned


def test_check_prints_the_size_of_each_counter(log, monkeypatch, capsys):
    load(log)
    status, printed, _ = tfstable(
        monkeypatch,
        capsys,
        "check",
        "--config",
        log.parent / "config.yaml",
        "--set",
        f"data.path={log}",
        "--deep",
        *(word for override in SET for word in ("--set", override)),
    )
    assert status == 0
    (row,) = (line.split()[1::2] for line in printed.splitlines() if " video " in line)
    assert row == ["video", "5,000", "3", "0.1", "0.2"]
    assert "counters about 2 MB at most" in printed  # 5000 keys: 2 x (3 + 2 + 2) x 16 bytes and 3 x (4 + 3 + 3) x 4.


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "features.video.of=[clicks]",
            r"features\.video\.of: clicks is no task; the tasks are click, follow",
        ),
        ("features.video.of=[click, click]", r"features\.video: of names click twice; leave one out"),
        ("features.video.by=[video_id, click]", r"features\.video reads click, the outcome of tasks\.click; drop"),
        ("features.video.types={user_id: int}", r"types: user_id is no column of by; the columns are video_id"),
        ("features.video.smoothing=0", r"features\.video\.smoothing"),
        ("features.video.half_life_days=-1", r"features\.video\.half_life_days"),
        ("features.video.delay_days=-1", r"features\.video\.delay_days"),
        ("features.video.buckets=0", r"features\.video\.buckets"),
    ],
)
def test_a_wrong_counter_is_one_line(override, message, log):
    with pytest.raises(InputError, match=message):
        load(log, override)


def test_a_missing_column_is_one_line(log):
    config = load(log, "features.video.by=[video]")
    with pytest.raises(InputError, match="column video"):
        check_log(config, DayLog(log))


def test_a_column_of_csv_files_has_the_type_that_is_stated(tmp_path):
    for day in DAYS[:2]:
        (folder := tmp_path / "log" / f"date={day}").mkdir(parents=True)
        (folder / "0.csv").write_text("video_id,user_id,click\n" + "".join(f"{i},00{i},{i % 2}\n" for i in range(9)))
    counter = "{kind: counter, by: [video_id, user_id], of: [click], types: {video_id: string}}"
    (tmp_path / "config.yaml").write_text(
        f"data: {{path: {tmp_path / 'log'}}}\nfeatures: {{seen: {counter}}}\ntasks: {{click: {{kind: binary}}}}\n"
        "trainer: {window_days: 1, batch_size: 4, tensorboard: false}\nmodel: {units: [4]}\nexport: {gate: null}\n"
    )
    config = configs.load(tmp_path / "config.yaml")
    train(config, tmp_path / "run")  # A model of counters alone.
    columns = Serving(tmp_path / "run" / "export" / "1").columns
    assert {name: column.dtype for name, column in columns.items()} == {"video_id": "string", "user_id": "string"}


def test_days_before_since_are_counted_and_not_trained(runs, log, tmp_path):
    since = f"data.since={DAYS[2]}"
    train(load(log, since, "export.when=never"), tmp_path / "run")
    assert sorted(path.stem for path in (tmp_path / "run" / "windows").iterdir()) == [str(day) for day in DAYS[3:]]
    late, whole = (
        Run.of(path, log).parts().state.reader.counted.tables(DAYS[4]) for path in (tmp_path / "run", runs / "whole")
    )
    assert [seen_by_all(late[name]) for name in whole] == [seen_by_all(t) for t in whole.values()]
    with pytest.raises(InputError, match=r"2 days from data.since, 2025-01-04, on, fewer than trainer.window_days"):
        check_log(load(log, f"data.since={DAYS[3]}", "trainer.window_days=3"), DayLog(log, since=DAYS[3]))
    with pytest.raises(InputError, match=r"data.since: 2025-01-09 is after the last day of .*, 2025-01-05"):
        DayLog(log, since=date(2025, 1, 9))
