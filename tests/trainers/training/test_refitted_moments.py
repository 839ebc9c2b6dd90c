"""Moments that are fitted anew every n windows: what stays, what is measured, and that it resumes exactly."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import DAYS, StoppedError, StoppingReport, assert_same_run, begun, copy_days, load, start
from tfstable.data.log import DayLog
from tfstable.data.window import windows
from tfstable.inputs.living_moments import LivingMoments
from trainers import Run
from trainers.store.run_directory import RunDirectory
from trainers.training.check import check_log
from trainers.training.first_window import fit_statistics
from trainers.training.refitting import refit

KEYS = ("trainer.refit_windows=1", "export.when=never", "features.duration_s.log1p=false")


@pytest.fixture(scope="module")
def drifting(log, tmp_path_factory) -> Path:
    """The five days, whose durations grow by half each day, with a tenth missing."""
    path = copy_days(log, DAYS, tmp_path_factory.mktemp("drift") / "log")
    for number, day in enumerate(DAYS):
        part = path / f"date={day}" / "part-0.parquet"
        table = pq.read_table(part)
        place = table.column_names.index("duration_s")
        x = table["duration_s"].to_numpy().astype(np.float64) * 1.5**number + 10 * number
        known = pa.array(x, mask=np.arange(len(x)) % 10 == 0)
        pq.write_table(table.set_column(place, "duration_s", known), part)
    return path


def events(run: Path) -> list[dict]:
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "moments_refitted"]


@pytest.fixture(scope="module")
def refitted(drifting, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("refitted") / "run"
    start(drifting, path, *KEYS)
    return path


def test_the_function_stays_to_rounding_where_a_dense_layer_reads_the_numbers(drifting, refitted):
    found = events(refitted)
    assert [event["window_end"] for event in found] == [str(day) for day in DAYS[2:]]
    for event, day in zip(found, DAYS[2:], strict=True):
        (mean, deviation), (new_mean, new_deviation) = event["moments"]["duration_s"]
        x = np.concatenate([column(drifting, each) for each in DAYS[DAYS.index(day) - 1 : DAYS.index(day) + 1]])
        assert (new_mean, new_deviation) == pytest.approx((np.nanmean(x), np.nanstd(x)))
        assert new_mean > 1.2 * mean
        assert new_deviation > 1.2 * deviation
        assert max(task["largest"] for task in event["change"].values()) < 1e-5
        assert max(task["largest"] for task in event["change"].values()) > 0  # It was measured, not assumed.


def column(log: Path, day) -> np.ndarray:
    return pq.read_table(log / f"date={day}" / "part-0.parquet")["duration_s"].to_numpy()


def test_it_resumes_exactly_inside_a_window_and_predicts_as_it_did(drifting, refitted, tmp_path):
    config = load(drifting, *KEYS, "trainer.checkpoint_minutes=1e-9")
    with pytest.raises(StoppedError):
        begun(config, tmp_path / "run", StoppingReport).train()
    start(drifting, tmp_path / "run", *KEYS)
    assert_same_run(refitted, tmp_path / "run")
    assert events(refitted) == events(tmp_path / "run")
    ours, theirs = (Run.of(run).predict(DAYS[4]) for run in (refitted, tmp_path / "run"))
    assert all(np.array_equal(ours[task], theirs[task]) for task in ours)


@pytest.mark.slow
def test_a_run_may_begin_and_cease_to_refit(drifting, refitted, tmp_path):
    run = shutil.copytree(refitted, tmp_path / "run")
    before = Run.of(run).predict(DAYS[4])
    start(drifting, run, "trainer.refit_windows=null", *KEYS[1:])
    after = Run.of(run).predict(DAYS[4])  # The moments that it has stay.
    assert all(np.array_equal(before[task], after[task]) for task in before)


def test_the_export_has_the_moments_of_the_last_window(drifting, refitted, tmp_path):
    run = shutil.copytree(refitted, tmp_path / "run")
    start(drifting, run, *KEYS[:1], *KEYS[2:], "export.gate=null")  # It compares a whole day's predictions.
    assert (run / "export" / "1").is_dir()


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer.averaging={kind: ema, horizon_steps: 5}",),
        pytest.param(
            ("optimizer.averaging={kind: swa}", "optimizer.dense={rule: adam, clipping: null, learning_rate: 0.01}"),
            marks=pytest.mark.slow,
        ),
        pytest.param(("model.units=[]", "model.tower_units=[8]"), marks=pytest.mark.slow),
        pytest.param(("model.units=[]",), marks=pytest.mark.slow),
    ],
    ids=["ema", "swa and adam", "towers", "outputs"],
)
def test_averages_and_other_first_layers_stay_too(drifting, tmp_path, overrides):
    days = copy_days(drifting, DAYS[:4], tmp_path / "log")
    start(days, tmp_path / "run", *KEYS, *overrides)
    change = [task["largest"] for event in events(tmp_path / "run") for task in event["change"].values()]
    assert len(change) == 2 * 3
    assert 0 < max(change) < 1e-5


def test_elsewhere_the_change_is_measured_and_told(drifting, tmp_path):
    config = load(drifting, *KEYS, "model.cross_depth=1")
    moving = begun(config, tmp_path / "run")
    lines = []
    moving.report.found = lines.append
    moving.state.save_first()
    todo = windows(moving.log.days, 2, 1)
    moving.state.position.window.assign(todo[0].last.toordinal())
    kernel = moving.state.learner.model.bottom.layers[0].kernel.numpy()
    refit(moving.state, todo[1], moving.run, moving.report)
    assert np.array_equal(kernel, moving.state.learner.model.bottom.layers[0].kernel.numpy())
    (event,) = events(tmp_path / "run")
    assert max(task["largest"] for task in event["change"].values()) > 1e-3
    assert f"predictions for {DAYS[2]} change by up to" in lines[0]


def test_the_moments_are_a_function_of_the_log(drifting, tmp_path):
    config = load(drifting, *KEYS)
    log = DayLog(drifting)
    first = fit_statistics(config, log, check_log(config, log))
    todo = windows(log.days, 2, 1)

    def living(every):
        return LivingMoments(log, config.features, first, every, 2, 1)

    assert living(None).before(todo[-1]).statistics is first
    two = [living(2).before(window).statistics.moments for window in todo]
    assert two[0] == two[1] == first.moments
    assert two[2] == two[3] != two[1]
    ahead, other = living(2), living(2)
    ahead.before(todo[3])
    other.restore(todo[1].last, False, ahead.stored(ahead.after(todo[1].last)))
    assert other.before(todo[3]).statistics.moments == two[3]
    other.restore(todo[1].last, True, ahead.stored(ahead.before(todo[2])))
    assert other.before(todo[3]) == ahead.before(todo[3])
    assert RunDirectory(tmp_path / "none", config).statistics() is None
