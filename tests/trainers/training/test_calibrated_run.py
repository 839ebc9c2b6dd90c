"""Calibrated tasks in a run: which days a map knows, that training does not see it, and that it resumes exactly."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.trainers.launch import finish, start_workers
from tests.trainers.runs import (
    DAYS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    copy_days,
    load,
    metrics,
    start,
    train,
    weights,
)
from tfstable.calibration import Histogram, Knots, fit
from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.serving.export import Serving
from trainers.health.loss_watch import Batch
from trainers.health.recoveries import Diverged
from trainers.training.loop import MovingWindow
from trainers.training.run import Run

USER, GRID = ["user_id", "user_followed"], np.linspace(-5, 5, 41)
KEYS = (
    *(f"tasks.{task}.calibrate={{half_life_days: 2}}" for task in ("click", "watch_time")),
    f"export.user_columns={USER}",
    "export.score_weights={click: 1, watch_time: 0.1}",
    "export.when=last",
)
"""`follow` is not calibrated."""


def kept(run: Path) -> dict:
    """What the newest checkpoint holds of the calibration."""
    newest = max((run / "checkpoints").glob("*"), key=lambda path: int(path.name))
    return json.loads((newest / "calibration.json").read_text())


@pytest.fixture(scope="module")
def calibrated(log, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("calibrated") / "run"
    start(log, path, *KEYS)
    return path


def test_training_does_not_see_the_maps_and_they_keep_the_order(calibrated, whole):
    ours, theirs = weights(calibrated), weights(whole)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert metrics(calibrated, DAYS[1])["tasks"] == metrics(whole, DAYS[1])["tasks"]  # Nothing is known yet.
    for last in DAYS[2:4]:
        with_maps, without = metrics(calibrated, last)["tasks"], metrics(whole, last)["tasks"]
        assert with_maps["click"]["auc"] == pytest.approx(without["click"]["auc"], abs=1e-4)
        assert with_maps["follow"] == without["follow"]
        far = [abs(np.log(tasks["watch_time"]["calibration"])) for tasks in (with_maps, without)]
        assert far[0] < 0.5 * far[1]


def test_a_map_knows_the_days_to_its_windows_last_as_models_predicted_that_had_not_seen_them(calibrated, log):
    """By hand, from the checkpoint before the last window."""
    stored = kept(calibrated)
    assert stored["through"] == str(DAYS[4])
    before = Run.of(calibrated).parts()
    task = before.config.tasks["click"]
    number = next(saved.number for saved in before.state.checkpoints.all() if saved.last == DAYS[3])
    before.state.restore(number)
    then = json.loads((calibrated / "checkpoints" / str(number) / "calibration.json").read_text())
    _, logits = before.state.predict_both(DAYS[4])
    new = Histogram.of(task, logits["click"], *_labels(log, DAYS[4]))
    total = Histogram.from_json(then["tasks"]["click"]["histogram"]).decayed(0.5**0.5) + new
    np.testing.assert_allclose(Histogram.from_json(stored["tasks"]["click"]["histogram"]).sums, total.sums, rtol=1e-9)
    np.testing.assert_allclose(Knots.from_json(stored["tasks"]["click"]["map"]).y, fit(task, total, 16).y, atol=1e-6)
    assert stored["tasks"]["click"]["earlier"] == then["tasks"]["click"]["map"]


def _labels(log: Path, day: date) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(log / f"date={day}", columns=["click", "weight"], partitioning=None)
    return table["click"].to_numpy().astype(float), table["weight"].to_numpy()


def test_exports_and_the_score_of_rank_are_calibrated(calibrated, log):
    serving, run = Serving(calibrated / "export" / "latest"), Run.of(calibrated)
    raw = next(raw_batches(DayLog(log).units(DAYS[4]), serving.columns))
    predicted, served = run.predict(DAYS[4]), serving(raw)
    for name, values in served.items():
        np.testing.assert_allclose(values, predicted[name], rtol=1e-5, atol=1e-6)
    with run.parts().state.calibration.earlier():
        before = run.parts().state.predict(DAYS[4])
    assert np.abs(before["click"] - predicted["click"]).max() > 1e-4
    one_user = {name: values[:1] if name in USER else values[:40] for name, values in raw.items()}
    ranked = serving(one_user, "rank")
    rows = {name: np.repeat(v, 40, axis=0) if name in USER else v for name, v in one_user.items()}
    single = {name: values[ranked["order"]] for name, values in serving(rows).items()}
    np.testing.assert_allclose(ranked["score"], single["click"] + 0.1 * single["watch_time"], rtol=1e-5)


def test_a_run_stopped_anywhere_ends_with_the_same_bits(calibrated, log, tmp_path, monkeypatch):
    """Between the evaluation of a day and the window that trains on it, and inside a window."""
    path, begin, config = tmp_path / "run", MovingWindow._begin, load(log, *KEYS, "export.when=never")
    shutil.rmtree(path, ignore_errors=True)

    def stop(self, window, iterator):
        if window.last == DAYS[3]:
            raise StoppedError  # Its day is evaluated and recorded, and no checkpoint holds its histogram.
        return begin(self, window, iterator)

    with monkeypatch.context() as patch:
        patch.setattr(MovingWindow, "_begin", stop)
        with pytest.raises(StoppedError):
            train(config, path)
    assert json.loads((path / "windows" / str(DAYS[2]) / "metrics.json").read_text())["eval_day"] == str(DAYS[3])
    stopped = load(log, *KEYS, "export.when=never", "trainer.checkpoint_minutes=1e-6")
    with pytest.raises(StoppedError):
        begun(stopped, path, StoppingReport).train()
    inside = kept(path)
    train(config, path)
    assert inside["through"] == str(DAYS[4])  # Fitted when the window began, from which nothing is evaluated again.
    assert_same_run(calibrated, path)
    assert kept(path) == kept(calibrated)


@pytest.mark.slow
def test_a_recovery_takes_the_maps_along(calibrated, log, tmp_path, monkeypatch):
    end, diverged = MovingWindow._end, []

    def end_or_diverge(self, now):
        last = now.plan.window.last
        if last == DAYS[3] and not diverged:
            diverged.append(last)
            raise Diverged("made up", Batch(last, 2), Batch(last, 5), {})
        end(self, now)

    monkeypatch.setattr(MovingWindow, "_end", end_or_diverge)
    train(load(log, *KEYS, "export.when=never"), tmp_path / "run")
    assert "recovery" in (tmp_path / "run" / "events.jsonl").read_text()
    assert kept(tmp_path / "run").keys() == kept(calibrated).keys()
    number = {saved.last: saved.number for saved in Run.of(tmp_path / "run").parts().state.checkpoints.all()}
    ours = json.loads((tmp_path / "run" / "checkpoints" / str(number[DAYS[3]]) / "calibration.json").read_text())
    number = {saved.last: saved.number for saved in Run.of(calibrated).parts().state.checkpoints.all()}
    theirs = json.loads((calibrated / "checkpoints" / str(number[DAYS[3]]) / "calibration.json").read_text())
    assert ours == theirs


@pytest.mark.slow
def test_calibration_begins_and_ends_in_a_running_run(whole, log, tmp_path):
    days = copy_days(log, DAYS[:4], tmp_path / "log")
    train(load(days, "export.when=never"), tmp_path / "run")
    copy_days(log, DAYS[4:], days)
    train(load(days, *KEYS, "export.when=never"), tmp_path / "run")
    changed = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    keys = [each["key"] for event in changed if event["event"] == "config_changed" for each in event["changed"]]
    assert "tasks.click.calibrate.half_life_days" in keys
    assert metrics(tmp_path / "run", DAYS[3]) == metrics(whole, DAYS[3])  # By the identity.
    assert len(kept(tmp_path / "run")["tasks"]["click"]["map"]["x"]) > 1
    predicted = Run.of(tmp_path / "run").predict(DAYS[4])["watch_time"]
    train(load(days, "export.when=never"), tmp_path / "run")
    assert Run.of(tmp_path / "run").predict(DAYS[4])["watch_time"].mean() < 0.9 * predicted.mean()


def test_odd_days_and_labels_that_are_not_complete_stay_out(log, tmp_path):
    late = ("tasks.follow.calibrate=true", "tasks.follow.matures_after_days=2", "export.when=never")
    run = begun(load(log, *KEYS, *late), tmp_path / "run")
    calibration, agreement = run.state.calibration, run.state.agreement
    window = run._windows()[2]
    assert calibration.days_of(run._windows()[0]) == {}
    assert calibration.days_of(window) == {DAYS[1]: ["follow"], DAYS[3]: ["click", "watch_time"]}
    for day in (DAYS[1], DAYS[3]):
        calibration.add(day, run.state.predict_both(day)[1], agreement)
    assert calibration.lacks(DAYS[1], ["follow"])
    calibration.add(DAYS[1], run.state.predict_both(DAYS[1])[1], agreement, late=True)
    calibration.follow(window, {str(DAYS[3]): {"click": ["odd"]}}, agreement)
    counted = {name: len(each["histogram"]["bins"]) for name, each in calibration.stored()["tasks"].items()}
    assert counted["click"] == 0
    assert counted["watch_time"] > 0
    assert counted["follow"] > 0


@pytest.mark.slow
def test_two_workers_have_the_maps_of_one(calibrated, log, tmp_path):
    load(log)  # Writes the config.
    for worker in start_workers(2, log.parent / "config.yaml", tmp_path / "run", f"data.path={log}", *KEYS):
        finish(worker)
    for ours, theirs in zip(*(kept(run)["tasks"].values() for run in (tmp_path / "run", calibrated)), strict=True):
        for key in ("earlier", "map"):
            np.testing.assert_allclose(Knots.from_json(ours[key])(GRID), Knots.from_json(theirs[key])(GRID), atol=1e-3)
    served, expected = (Serving(run / "export" / "latest") for run in (tmp_path / "run", calibrated))
    raw = next(raw_batches(DayLog(log).units(DAYS[4]), served.columns))
    for name, values in served(raw).items():
        np.testing.assert_allclose(values, expected(raw)[name], rtol=1e-3, atol=1e-4)
