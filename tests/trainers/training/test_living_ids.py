"""Ids that come and go in a run: the daily job, recovery, exports, what is counted."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import ROWS, StoppedError, StoppingReport, assert_same_run, begun, copy_days, train
from tests.trainers.runs import load as load_config
from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.data.window import windows
from tfstable.inputs.living_ids import LivingIds
from tfstable.serving.export import Serving
from tfstable.sources.simulate import simulate
from trainers.health.loss_watch import Batch
from trainers.health.recoveries import Diverged
from trainers.training.check import check_log
from trainers.training.first_window import fit_statistics
from trainers.training.loop import MovingWindow
from trainers.training.run import Run

DAYS = [date(2025, 1, day) for day in range(1, 6)]
SET = (
    "features.video_id={kind: id, capacity: 90, min_count: 3, expire_days: 2, dim: 4}",
    "features.author_id={kind: id, capacity: 12, dim: 4}",
    "features.tags={kind: vocabulary, max_size: 100, min_count: 5, grow: true, dim: 4, max_values: 3}",
    "optimizer.averaging={kind: swa}",
)


def load(log: Path, *overrides: str):
    return load_config(log, *SET, *overrides)


def maps(run: Path) -> dict[str, pa.Table]:
    """Of the newest checkpoint, by table."""
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    table = pq.read_table(newest / "ids.parquet", partitioning=None)
    table = table.filter(pc.equal(table["time"], "before"))
    return {name: table.filter(pc.equal(table["table"], name)) for name in ("video_id", "author_id", "tags")}


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("living") / "log"
    simulate(path, days=len(DAYS), rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="module")
def whole(log, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    train(load(log, "export.when=last"), path)
    return path


def test_rows_are_counted_once_and_the_frequent_have_rows_of_their_own(whole, log):
    every = ds.dataset(log).to_table(["video_id"], filter=None)["video_id"]
    counts = {v["values"]: v["counts"] for v in pc.value_counts(every).to_pylist()}
    found, waited = maps(whole)["video_id"], [json.loads(line) for line in (whole / "events.jsonl").open()]
    for number, row, count in zip(*(found[name].to_pylist() for name in ("number", "row", "count")), strict=True):
        assert count <= counts[number]  # Less if it was gone for two days.
        assert count >= 3 or row == 0
    given = [row for row in found["row"].to_pylist() if row]
    assert len(set(given)) == len(given) <= 90
    ends = [day.toordinal() for day in DAYS]
    assert set(found["last"].to_pylist()) <= set(ends[-2:])
    assert max(maps(whole)["author_id"]["row"].to_pylist()) == 12  # Full.
    assert {event["table"] for event in waited if event["event"] == "ids_wait"} == {"author_id"}


def test_labels_do_not_change_the_maps_and_each_window_is_a_function_of_its_days(log, tmp_path):
    other = copy_days(log, DAYS, tmp_path / "log")
    for file in other.glob("date=*/*.parquet"):
        table = pq.read_table(file, partitioning=None)
        place = table.column_names.index("click")
        pq.write_table(table.set_column(place, "click", pc.subtract(1, table["click"])), file)
    of_log = []
    for path in (log, other):
        config, days = load(path), DayLog(path)
        statistics = fit_statistics(config, days, check_log(config, days))
        living, every = LivingIds(days, config.features, statistics, 2, 1), windows(DAYS, 2, 1)
        before = [living.before(window).ids.maps for window in every]
        again = LivingIds(days, config.features, statistics, 2, 1)
        again.restore(DAYS[2], living.after(DAYS[2]))
        assert again.before(every[2]).ids.maps["tags"].known.equals(before[2]["tags"].known)
        of_log.append(before)
    for one, two in zip(*of_log, strict=True):
        for table in one:
            assert one[table].known.equals(two[table].known)


@pytest.mark.slow
def test_the_daily_job_ends_where_one_run_would(whole, log, tmp_path):
    days = copy_days(log, DAYS[:3], tmp_path / "log")
    train(load(days, "export.when=last"), tmp_path / "run")
    copy_days(log, DAYS[3:], days)
    train(load(days, "export.when=last"), tmp_path / "run")
    assert_same_run(whole, tmp_path / "run")
    for table, known in maps(whole).items():
        assert maps(tmp_path / "run")[table].equals(known)


@pytest.mark.slow
def test_a_recovery_takes_the_rows_along(whole, log, tmp_path, monkeypatch):
    end, diverged = MovingWindow._end, []

    def end_or_diverge(self, now):
        last = now.plan.window.last
        if last == DAYS[3] and not diverged:
            diverged.append(last)
            raise Diverged("made up", Batch(last, 2), Batch(last, 5), {})
        end(self, now)

    monkeypatch.setattr(MovingWindow, "_end", end_or_diverge)
    train(load(log), tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert "recovery" in [event["event"] for event in events]
    for table, known in maps(whole).items():
        assert maps(tmp_path / "run")[table].equals(known)


def test_an_export_serves_what_the_run_predicts_and_unknown_ids_alike(whole, log):
    serving = Serving(whole / "export" / "latest")
    raw = next(raw_batches(DayLog(log).units(DAYS[4]), serving.columns))
    served = serving(raw)["click"]
    np.testing.assert_allclose(served, Run.of(whole).predict(DAYS[4])["click"], rtol=1e-6, atol=1e-6)
    one = {name: values[:2] for name, values in raw.items()}
    one = {name: np.repeat(values[:1], 2, axis=0) for name, values in one.items()} | {
        "video_id": np.array([-5, 10**12])
    }
    assert len(set(serving(one)["click"].tolist())) == 1


def test_in_the_middle_of_a_window_the_checkpoint_knows_its_ids_whatever_the_log(whole, log, tmp_path):
    parts = begun(load(log, "trainer.checkpoint_minutes=1.0e-6"), tmp_path / "run", StoppingReport)
    with pytest.raises(StoppedError):
        parts.train()
    assert parts.state.position.batch
    one_day = copy_days(log, DAYS[:2], tmp_path / "log")
    expected, got = (Run.of(tmp_path / "run", data).predict(DAYS[1])["click"] for data in (None, one_day))
    np.testing.assert_array_equal(got, expected)
    train(load(log, "export.when=last"), tmp_path / "run")
    assert_same_run(whole, tmp_path / "run")


def test_a_damaged_map_is_a_damaged_checkpoint(whole, log, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (newest / "ids.parquet").write_bytes(b"PAR1 something else PAR1")
    train(load(log, "export.when=last"), tmp_path / "run")
    aside = newest.with_name(f"{newest.name}.damaged")
    assert aside.exists()
    shutil.rmtree(aside)
    assert_same_run(whole, tmp_path / "run")
