"""A rate that decays inside each window, and eight steps of it."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console

from tests.trainers.runs import (
    DAYS,
    load,
)
from tfstable.data.log import DayLog
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.check import check_log
from trainers.training.first_window import fit_statistics
from trainers.training.state import RunState

# The dense weights stand still at each window's end; the tables keep a quarter of their rate.
DECAY = (
    "optimizer.dense.schedule={window_end: 0.0}",
    "optimizer.embeddings.schedule={window_end: 0.25}",
    "export.when=never",
)


def train_eight_steps(log: Path, directory: Path, *overrides: str):
    """Trains one call of eight steps and writes the weights, and the rate factor of each replica, to state.npz."""
    config, daylog = load(log, *DECAY, *overrides), DayLog(log)
    statistics = fit_statistics(config, daylog, check_log(config, daylog))
    run = RunDirectory(directory, config)
    state = RunState(config, daylog, statistics, run, Report(Console(quiet=True), [], None))
    batches = state.reader.batches(tuple(DAYS[:2]), 256, 10_000)
    iterator = iter(state.feed(batches.forever((0,)), 256))
    learner = state.learner
    learner.steps.train(iterator, tf.constant(8), learner.rate_factors(np.arange(8), 8))
    factor = learner.optimizer.optimizers[0].rate_factor.value
    factors = [float(local) for local in state.strategy.experimental_local_results(factor)]
    directory.mkdir(exist_ok=True)
    weights = {variable.path: variable.numpy() for variable in learner.model.trainable_variables}
    np.savez(directory / "state.npz", rate_factor=factors, **weights)
