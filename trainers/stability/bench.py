"""One run of the grid after the other, in one process: the log is read once, and graphs are traced once."""

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfstable.data.dataset import ExampleReader
from tfstable.data.log import DayLog
from tfstable.data.window import Arrays, Batches, take, windows
from tfstable.features import Preprocessor
from tfstable.sharpness import SharpnessProbe
from trainers.check import check_log
from trainers.divergence import Detector
from trainers.evaluation import evaluate
from trainers.model import make_model
from trainers.moving_window import fit_statistics
from trainers.optimizer import make_optimizer
from trainers.stability.config import StabilityConfig
from trainers.steps import Steps

FIGURES = ("hessian", "preconditioned", "two_over_rate", "residual")  # Of the SharpnessProbe.
PROBED_ROWS = 512


@dataclass(frozen=True)
class Run:
    """A point of the grid."""

    model: str
    treatment: str
    threshold: int  # Which of the treatment's own grid.
    rate: float
    seed: int


@dataclass(frozen=True)
class Trained:
    """What a run left.

    Attributes:
        losses: `(steps, 1 + tasks)` float32, as `Steps.train` returns them.
        days: Metrics by evaluation day, by task.
        findings: The detector's, as dicts.
        steps_planned: Steps of a run that is not stopped.
        seconds: Wall time, evaluation included.
        watched: By `variable|figure`, `(steps,)` float32: the optimizer's diagnostics, and `sharpness|figure`, NaN
            where it was not measured; empty unless asked for.
    """

    losses: np.ndarray
    days: dict[str, dict[str, dict[str, float]]]
    findings: list[dict[str, Any]]
    steps_planned: int
    seconds: float
    watched: dict[str, np.ndarray]


class Bench:
    """Trains runs of a grid on a log, each from nothing.

    Runs that share model and threshold share their variables and graphs: rate and seed are values of variables. They
    equal runs of `tfstable train` with the same config, loss for loss.

    Args:
        config: The grid's config.
        log: The log.
    """

    def __init__(self, config: StabilityConfig, log: DayLog):
        self.config, self.log = config, log
        self.statistics = fit_statistics(config, log, check_log(config, log))
        preprocessor = Preprocessor(config.features, self.statistics)
        self.reader = ExampleReader(log, preprocessor, self.statistics, config.tasks, config.data.weight)
        # Each keeps its preprocessed rows, where they fit data.buffer_rows: later runs read nothing.
        self._batches: dict[tuple[tuple[date, ...], int], Batches] = {}
        self._made = functools.lru_cache(maxsize=8)(self._make)

    def batches(self, days: tuple[date, ...], size: int) -> Batches:
        """Returns the batches over `days`; the same object for the same arguments."""
        if (days, size) not in self._batches:
            self._batches[days, size] = self.reader.batches(days, size, self.config.data.buffer_rows)
        return self._batches[days, size]

    def train(self, run: Run, evaluated: set[date], watch: bool = False, probed: range = range(0)) -> Trained:
        """Trains a run on every window before the last evaluation day, in time order.

        A run that the detector finds fully diverged stops there; it is evaluated as it is.

        Args:
            run: The run.
            evaluated: Days to evaluate before training on them.
            watch: Keep the optimizer's diagnostics of every step, and do not stop.
            probed: Steps of a watched run before which the sharpness is measured.
        """
        began = time.monotonic()
        treatment = self.config.stability.treatments[run.treatment][run.threshold]
        config = self.config.run_config(run.model, treatment, run.rate, run.seed)
        model, optimizer, steps, initial = self._made(run.model, run.treatment, run.threshold, watch)
        self._begin(config, model, optimizer, initial)

        trainer, last = config.trainer, max(evaluated)
        todo = [w for w in windows(self.log.days, trainer.window_days, trainer.stride_days) if w.last < last]
        totals = [self._steps(w.days) for w in todo]
        iterator = iter(self.reader.dataset(self._stream(todo, totals, trainer.seed), trainer.batch_size))
        detector = Detector(self.config.stability.detector, config.tasks)
        probe = SharpnessProbe(model, optimizer, iterations=15, tolerance=0.05)
        losses, findings, watched, days, done, diverged = [], [], [], {}, 0, False
        for window, total in zip(todo, totals, strict=True):
            left = 0 if diverged else total
            while left:
                count = 1 if watch else min(trainer.steps_per_call, left)
                sharpness = self._sharpness(probe, window.days) if done in probed else dict.fromkeys(FIGURES, np.nan)
                losses.append(steps.train(iterator, tf.constant(count)).numpy())  # (count, 1 + tasks)
                if watch:
                    watched.append({**optimizer.diagnostics(), "sharpness": sharpness})
                findings += detector.update(losses[-1], done)
                done, left = done + count, left - count
                if any(f.kind == "full_divergence" and f.column == "loss" for f in findings) and not watch:
                    left, diverged = 0, True
            for day in evaluated & set(window.next_days):
                days[str(day)] = self._evaluate(config, steps, day)
        return Trained(
            np.concatenate(losses),
            days,
            [vars(finding) for finding in findings],
            sum(totals),
            time.monotonic() - began,
            _by_variable(watched),
        )

    def _sharpness(self, probe: SharpnessProbe, days: tuple[date, ...]) -> dict[str, float]:
        """The sharpness on the first rows of a window: enough of them to tell its order of magnitude."""
        batch = take(next(self.batches(days, self.config.trainer.batch_size).one_pass(None)), slice(PROBED_ROWS))
        return probe(batch["features"], batch["labels"], batch["weight"])

    def positives(self, day: date) -> dict[str, float]:
        """Returns how many labels of `day` are positive, or negative if those are fewer, for each binary task."""
        batches = self.batches((day,), self.config.evaluation.batch_size)
        counts: dict[str, list] = {}
        for batch in batches.one_pass(None):
            for task, labels in batch["labels"].items():
                known = labels[np.isfinite(labels) & (batch["weight"] > 0)]
                counts.setdefault(task, []).append((known.sum(), (1 - known).sum()))
        binary = [name for name, task in self.config.tasks.items() if task.kind == "binary"]
        return {name: float(min(np.sum(counts[name], axis=0))) for name in binary}

    def _make(self, model: str, treatment: str, threshold: int, watch: bool) -> tuple:
        grid = self.config.stability
        config = self.config.run_config(model, grid.treatments[treatment][threshold], grid.rates[0], 0)
        made = make_model(config, self.statistics)
        optimizer = make_optimizer(config.optimizer, track_every=1 if watch else 0)
        optimizer.build(made.trainable_variables)
        initial = [tf.identity(variable.value) for variable in optimizer.variables]
        return made, optimizer, Steps(tf.distribute.get_strategy(), made, optimizer), initial

    def _begin(self, config: StabilityConfig, model: keras.Model, optimizer, initial: list[tf.Tensor]):
        """Sets every variable to what a run of `config` starts from."""
        keras.utils.set_random_seed(config.trainer.seed)
        for variable, fresh in zip(model.variables, make_model(config, self.statistics).variables, strict=True):
            variable.assign(fresh)
        for variable, value in zip(optimizer.variables, initial, strict=True):
            variable.assign(value)
        for group in optimizer.optimizers:
            group.learning_rate = config.optimizer.dense.learning_rate

    def _steps(self, days: tuple[date, ...]) -> int:
        trainer = self.config.trainer
        return trainer.steps or max(1, round(trainer.passes * self.batches(days, trainer.batch_size).steps))

    def _stream(self, todo: list, totals: list[int], seed: int) -> Iterator[Arrays]:
        for window, total in zip(todo, totals, strict=True):
            batches = self.batches(window.days, self.config.trainer.batch_size).forever((seed, window.last.toordinal()))
            for _ in range(total):
                yield next(batches)

    def _evaluate(self, config: StabilityConfig, steps: Steps, day: date) -> dict[str, dict[str, float]]:
        size = config.evaluation.batch_size
        batches = self.batches((day,), size)
        predictions = steps.predict(self.reader.dataset(batches.one_pass(None), size), batches.rows)
        return evaluate(config, self.log, day, predictions)


def _by_variable(watched: list[dict[str, dict[str, float]]]) -> dict[str, np.ndarray]:
    """From a dict a step to an array a variable and figure, named `variable|figure`."""
    if not watched:
        return {}
    names = [(path, figure) for path, figures in watched[0].items() for figure in figures]
    return {f"{p}|{f}": np.array([step[p][f] for step in watched], np.float32) for p, f in names}
