"""Runs with averaged weights: what is evaluated and exported, and that training and resuming stay what they are."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import (
    DAYS,
    ROWS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    copy_days,
    load,
    metrics,
    start,
    weights,
)
from tfstable.data.log import DayLog
from tfstable.serving.predict import predict
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers.training.loop import MovingWindow

EMA = "optimizer.averaging={kind: ema, horizon_examples: 2048}"  # Eight of the eight steps of a window.


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="module")
def run(log, tmp_path_factory) -> Path:
    """An uninterrupted run over the five days, with an average."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    start(log, path, EMA)
    return path


def restored(log: Path, run: Path, *overrides: str) -> MovingWindow:
    return Run.open(load(log, *overrides), run).parts()


def test_weights_train_as_without_and_evaluation_and_export_use_the_average(run, log, tmp_path):
    start(log, tmp_path / "raw", "export.when=never")
    raw, averaged = weights(tmp_path / "raw"), weights(run)
    for name, value in raw.items():
        if name.startswith("model"):
            np.testing.assert_array_equal(value, averaged[name], err_msg=name)
    for task in ("click", "watch_time"):
        assert metrics(run)["tasks"][task] != metrics(tmp_path / "raw")["tasks"][task]

    # The export predicts with the averages, as an evaluation does, and unlike the weights.
    predict(run / "export" / "1", DayLog(log), [DAYS[4]], tmp_path / "out.parquet", [], lambda *_: None)
    exported = pq.read_table(tmp_path / "out.parquet")["click"].to_numpy()
    model = restored(log, run, EMA)
    np.testing.assert_allclose(model.state.predict(DAYS[4])["click"], exported, atol=1e-5)
    averages = [value.numpy() for value in model.state.learner.optimizer.averaging.averaged_values()]
    plain = restored(log, tmp_path / "raw", "export.when=never")
    assert np.abs(plain.state.predict(DAYS[4])["click"] - exported).max() > 1e-3
    for variable, average in zip(plain.state.learner.model.trainable_variables, averages, strict=True):
        variable.assign(average)
    np.testing.assert_allclose(plain.state.predict(DAYS[4])["click"], exported, atol=1e-5)


def test_a_run_stopped_inside_a_window_goes_on_bitwise(run, log, tmp_path):
    options = (EMA, "trainer.checkpoint_minutes=1e-9")
    with pytest.raises(StoppedError):
        begun(load(log, *options), tmp_path / "run", StoppingReport).train()
    start(log, tmp_path / "run", *options, "export.when=never")
    assert_same_run(run, tmp_path / "run")


@pytest.mark.slow
def test_an_export_and_a_start_between_windows_leave_no_trace(run, log, tmp_path):
    growing = copy_days(log, DAYS[:4], tmp_path / "log")
    start(growing, tmp_path / "daily", EMA)
    copy_days(log, DAYS[4:], growing)
    start(growing, tmp_path / "daily", EMA)
    assert_same_run(run, tmp_path / "daily")


def test_swa_over_windows_is_the_mean_of_their_weights(log, tmp_path):
    options = ("optimizer.averaging={kind: swa}", "export.when=never", "trainer.keep_checkpoints=9")
    start(copy_days(log, DAYS[:4], tmp_path / "log"), tmp_path / "run", *options)
    model, ends = restored(log, tmp_path / "run", *options), []
    averages = [value.numpy() for value in model.state.learner.optimizer.averaging.averaged_values()]
    for saved in model.state.checkpoints.all()[1:]:  # One a window, after that of the untrained model.
        model.state.restore(saved.number)
        ends.append([variable.numpy() for variable in model.state.learner.model.trainable_variables])
    assert len(ends) == 3
    for average, snapshots in zip(averages, zip(*ends, strict=True), strict=True):
        np.testing.assert_allclose(average, np.mean(snapshots, axis=0), atol=1e-6)
