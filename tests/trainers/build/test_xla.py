"""The whole train step compiled by XLA, as TPUs compile it: on one CPU device, with static shapes.

It is the nearest proof to be had without a TPU, where nothing of tfstable has run yet.
"""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from tests.trainers.runs import CONFIG
from tfstable.data.log import DayLog
from tfstable.sources.simulate import simulate
from trainers import config as configs
from trainers.build.steps import Steps
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.check import check_log
from trainers.training.first_window import fit_statistics
from trainers.training.state import RunState

OPTIMIZERS = {
    "adagrad": "{rule: adagrad, clipping: null}",
    "adagrad-clippy": "{rule: adagrad, clipping: {kind: clippy}}",
    "adagrad-gc": "{rule: adagrad, clipping: {kind: gradient_norm}}",
    "adagrad-agc": "{rule: adagrad, clipping: {kind: adaptive_gradient}}",
    "adagrad-lamb": "{rule: adagrad, clipping: {kind: trust_ratio}}",
    "adam": "{rule: adam, learning_rate: 0.001, clipping: null}",
    "adam-clippy": "{rule: adam, learning_rate: 0.001, clipping: {kind: clippy}}",
    "sgd": "{rule: sgd, momentum: 0.9, clipping: {kind: clippy}}",
    "adax": "{rule: adax, learning_rate: 0.001, clipping: {kind: clippy}}",
}
FAST = ("adagrad-clippy",)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("xla") / "log"
    simulate(path, days=3, rows_per_day=1000, users=200, videos=100)
    return path


def trained(log: Path, run: Path, *overrides: str, xla: bool, dense_tables: bool) -> tuple[np.ndarray, list]:
    """Losses and weights of four steps of a new run."""
    (log.parent / "config.yaml").write_text(CONFIG)
    config = configs.load(log.parent / "config.yaml", [f"data.path={log}", *overrides])
    daylog = DayLog(log)
    statistics = fit_statistics(config, daylog, check_log(config, daylog))
    state = RunState(config, daylog, statistics, RunDirectory(run, config), Report(Console(quiet=True), [], None))
    steps = Steps(state.strategy, state.learner.model, state.learner.optimizer, xla, dense_tables)
    batches = state.reader.batches(tuple(daylog.days[:2]), 256, 10_000)
    iterator = iter(state.feed(batches.forever((0,)), 256))
    losses = steps.train(iterator, tf.constant(4)).numpy()
    return losses, [variable.numpy() for variable in state.learner.model.trainable_variables]


@pytest.mark.parametrize(
    "optimizer",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in OPTIMIZERS],
)
@pytest.mark.parametrize("dense_tables", [False, True], ids=["sparse", "dense"])
def test_the_whole_step_compiles_and_does_the_same(optimizer, dense_tables, log, tmp_path):
    rules = [f"optimizer.dense={OPTIMIZERS[optimizer]}", f"optimizer.embeddings={OPTIMIZERS[optimizer]}"]
    plain, ours = trained(log, tmp_path / "plain", *rules, xla=False, dense_tables=dense_tables)
    compiled, theirs = trained(log, tmp_path / "compiled", *rules, xla=True, dense_tables=dense_tables)
    np.testing.assert_allclose(compiled, plain, rtol=1e-5)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)

    bfloat16, weights = trained(
        log, tmp_path / "bfloat16", *rules, "trainer.precision=mixed_bfloat16", xla=True, dense_tables=dense_tables
    )
    np.testing.assert_allclose(bfloat16, plain, rtol=0.02)
    assert all(weight.dtype == np.float32 and np.isfinite(weight).all() for weight in weights)


def test_an_xla_run_from_the_config(log, tmp_path):
    losses, _ = trained(log, tmp_path / "run", xla=False, dense_tables=False)
    compiled, _ = trained(log, tmp_path / "run", "trainer.xla=true", xla=True, dense_tables=False)
    np.testing.assert_allclose(compiled, losses, rtol=1e-5)
