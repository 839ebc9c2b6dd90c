"""One run of the grid after the other, in one process: the log is read once, and graphs are traced once."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import numpy as np

from tfstable.analysis.sharpness import SharpnessProbe
from tfstable.data.log import DayLog
from tfstable.data.window import Window, take
from tfstable.specs import labelled
from trainers.build.learner import Learner, make_learner
from trainers.build.optimizer import constant_rates
from trainers.build.steps import Steps
from trainers.config import Config
from trainers.health.detector import Detector
from trainers.studies.stability.config import PoisonConfig, StabilityConfig
from trainers.studies.stability.poison import poisoned
from trainers.studies.workbench import Workbench
from trainers.training.evaluation import evaluate
from trainers.training.loop import train_window
from trainers.training.plan import Plan

FIGURES = ("hessian", "preconditioned", "two_over_rate", "residual")  # Of the SharpnessProbe.
PROBED_ROWS = 512
KEPT = 8  # Learners kept with their graphs.


@dataclass(frozen=True)
class Point:
    """A run of the grid."""

    model: str
    treatment: str
    threshold: int  # Index into the treatment's own grid.
    rate: float
    seed: int


@dataclass(frozen=True)
class Trained:
    """The result of a run.

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


class Bench(Workbench):
    """Trains runs of a grid on a log, each from nothing.

    Runs that share model and threshold share their variables and graphs: rate and seed are values of variables. They
    equal runs of `tfstable train` with the same config, loss for loss.

    Args:
        config: The grid's config.
        log: The log.
    """

    config: StabilityConfig

    def __init__(self, config: StabilityConfig, log: DayLog):
        super().__init__(config, log, KEPT)

    def train(
        self,
        run: Point,
        evaluated: set[date],
        watch: bool = False,
        probed: Collection[int] = (),
        poison: PoisonConfig | None = None,
    ) -> Trained:
        """Trains a run on every window before the last evaluation day, in time order.

        A run that the detector finds fully diverged stops there; it is evaluated as it is.

        Args:
            run: The run.
            evaluated: Days to evaluate before training on them.
            watch: Keep the optimizer's diagnostics of every step, and do not stop.
            probed: Steps of a watched run before which the sharpness is measured.
            poison: A bad batch; None: none.
        """
        began = time.monotonic()
        treatment = self.config.stability.treatments[run.treatment][run.threshold]
        config = self.config.run_config(run.model, treatment, run.rate, run.seed)
        # Constant rates are values of variables; a schedule's are part of the graph.
        scheduled = run.rate if None in constant_rates(config.optimizer) else None
        shape = (run.model, run.treatment, run.threshold, scheduled, watch)
        learner = self.learner(config, shape, lambda: self._make(config, watch))
        learner.rates = config.optimizer
        learner.set_rates()
        trainer, plans = config.trainer, self.plans(config.trainer, max(evaluated))
        binary = [name for name in labelled(config.tasks) if config.tasks[name].kind == "binary"]
        layout = self.reader.layout
        spoil = None if poison is None else partial(poisoned, layout=layout, binary=binary, poison=poison)
        iterator = self.feed(plans, trainer, trainer.seed, spoil)
        detector = Detector(self.config.stability.detector, labelled(config.tasks))
        probe = SharpnessProbe(learner.model, learner.optimizer, iterations=15, tolerance=0.05)
        losses, findings, watched, days, done, diverged = [], [], [], {}, 0, False
        for plan in plans:
            self.renew(learner, trainer, plan.window)
            sharpness: list[dict[str, float]] = []  # Before each call.

            def steps_of_a_call(
                of_window: int,
                plan: Plan = plan,
                sharpness: list[dict[str, float]] = sharpness,
                before: int = done,
            ) -> int:
                wanted = before + of_window in probed
                sharpness.append(self._sharpness(probe, plan.window) if wanted else dict.fromkeys(FIGURES, np.nan))
                return 1 if watch else trainer.steps_per_call

            numbers = np.arange(0 if diverged else plan.total)
            for call in train_window(learner, iterator, numbers, plan.total, steps_of_a_call):
                losses.append(call.losses)  # (steps, 1 + tasks)
                if watch:
                    watched.append({**learner.optimizer.diagnostics(), "sharpness": sharpness[-1]})
                findings += detector.update(call.losses, done)
                done += len(call.losses)
                if any(f.kind == "full_divergence" and f.column == "loss" for f in findings) and not watch:
                    diverged = True
                    break
            for day in evaluated & set(plan.window.next_days):
                predictions = self.predict(learner, day, config, plan.window)
                days[str(day)] = evaluate(config, self.log, day, predictions, detailed=False)
        return Trained(
            np.concatenate(losses),
            days,
            [vars(finding) for finding in findings],
            sum(plan.total for plan in plans),
            time.monotonic() - began,
            _by_variable(watched),
        )

    def _sharpness(self, probe: SharpnessProbe, window: Window) -> dict[str, float]:
        """Returns the sharpness on the first rows of a window: enough for its order of magnitude."""
        trainer = self.config.trainer
        batches = self.batches(window.days, trainer.batch_size, ids=self.ids(trainer, window))
        key = (trainer.seed,) if trainer.shuffle.kind == "groups" else None  # The rows of a group are no neighbours.
        batch = take(next(batches.one_pass(key)), slice(PROBED_ROWS))
        return probe(*self.reader.layout.unpack(batch))

    def positives(self, day: date) -> dict[str, float]:
        """Returns how many labels of `day` are positive, or negative if those are fewer, for each binary task."""
        batches = self.batches((day,), self.config.evaluation.batch_size, ids=self.ids(self.config.trainer))
        counts: dict[str, list[Any]] = {}
        for batch in batches.one_pass(None):
            _, labels_of, weight = self.reader.layout.unpack(batch)
            for task in labelled(self.config.tasks):
                labels, of_task = labels_of[task], weight[task] if isinstance(weight, dict) else weight
                known = labels[np.isfinite(labels) & (of_task > 0)]
                counts.setdefault(task, []).append((known.sum(), (1 - known).sum()))
        binary = [name for name in counts if self.config.tasks[name].kind == "binary"]
        return {name: float(min(np.sum(counts[name], axis=0))) for name in binary}

    def _make(self, config: Config, watch: bool) -> Learner:
        make_steps = partial(Steps, xla=config.trainer.xla)
        return make_learner(config, self.statistics, track_every=1 if watch else 0, make_steps=make_steps)


def _by_variable(watched: list[dict[str, dict[str, float]]]) -> dict[str, np.ndarray]:
    """Turns one dict per step into one array per variable and figure, named `variable|figure`."""
    if not watched:
        return {}
    names = [(path, figure) for path, figures in watched[0].items() for figure in figures]
    return {f"{p}|{f}": np.array([step[p][f] for step in watched], np.float32) for p, f in names}
