"""One training after the other, in one process."""

import functools
import json
from typing import Any

import numpy as np

from tfstable.data.log import DayLog
from tfstable.data.window import Window
from tfstable.errors import InputError
from tfstable.optimizers import is_embedding_table
from trainers.build.learner import Learner, make_learner
from trainers.config import weight_keys
from trainers.studies.reproducibility.config import Plan, ReproducibilityConfig
from trainers.studies.reproducibility.summed_steps import SummedSteps
from trainers.studies.workbench import Workbench
from trainers.training.evaluation import evaluate
from trainers.training.loop import train_window

KEPT = 4  # Learners kept with their graphs: one per difference of a point.
TO_END = 2**31  # More steps than a window has.


class Bench(Workbench):
    """Trains plans on a log, each from nothing.

    A run whose two seeds are equal, on one replica, equals that of `tfstable train` with the same config, loss for
    loss; but in float64 it begins with the weights of float32.
    """

    def __init__(self, config: ReproducibilityConfig, log: DayLog):
        super().__init__(config, log, KEPT)

    def train(self, plan: Plan) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Trains a plan on every window before the log's last day.

        Returns:
            The record: `days`, metrics by day and task; `seconds` of training, tracing and predictions aside; `steps`.
            The arrays: predictions as `DAY|TASK`, `(rows,)`; traces as `trace|predictions`, `(looks, tasks, rows)`, and
            `trace|N` for the N-th weight that is not a table, `(looks, *shape)`.

        Raises:
            InputError: If the log has too few days.
        """
        config, trainer = plan.config, plan.config.trainer
        if len(self.log.days) < trainer.window_days + plan.days:
            raise InputError(
                f"{self.log.path}: {len(self.log.days)} days, but a window takes {trainer.window_days} and the "
                f"comparison {plan.days}; lower trainer.window_days or reproducibility.days, or give a longer log"
            )
        compared = self.log.days[-plan.days :]
        # Drawn in float32 for every precision, so that only the arithmetic differs.
        drawn = config.model_copy(update={"trainer": trainer.model_copy(update={"precision": "float32"})})
        learner = self.learner(drawn, _shape(plan), lambda: self._make(plan))
        todo = self.plans(trainer, compared[-1])
        iterator = self.feed(todo, trainer, plan.order_seed)
        learner.trace(iterator)
        days: dict[str, Any] = {}
        arrays: dict[str, np.ndarray] = {}
        looks: list[dict[str, np.ndarray]] = []
        seconds, done = 0.0, 0
        for each in todo:
            self.renew(learner, trainer, each.window)

            def steps_of_a_call(of_window: int, before: int = done) -> int:
                until_look = plan.trace_every - (before + of_window) % plan.trace_every if plan.trace_every else TO_END
                return min(trainer.steps_per_call, until_look)

            for call in train_window(learner, iterator, np.arange(each.total), each.total, steps_of_a_call):
                seconds, done = seconds + call.seconds, done + len(call.losses)
                if plan.trace_every and done % plan.trace_every == 0:
                    looks.append(self._look(plan, learner, each.window))
            for day in set(compared) & set(each.window.next_days):
                predictions = self.predict(learner, day, config, each.window)
                days[str(day)] = evaluate(config, self.log, day, predictions)
                arrays |= {f"{day}|{task}": p for task, p in predictions.items()}
        arrays |= {f"trace|{name}": np.stack([look[name] for look in looks]) for name in (looks[0] if looks else ())}
        return {"days": days, "seconds": seconds, "steps": done}, arrays

    def _make(self, plan: Plan) -> Learner:
        make_steps = functools.partial(SummedSteps, parts=plan.replicas)
        return make_learner(plan.config, self.statistics, track_every=0, make_steps=make_steps)

    def _look(self, plan: Plan, learner: Learner, window: Window) -> dict[str, np.ndarray]:
        """Returns the dense weights, and the predictions for the first rows of the last day."""
        size = plan.config.evaluation.batch_size
        batches = self.batches((self.log.days[-1],), size, ids=self.ids(plan.config.trainer, window))
        one = (batch for batch in [next(batches.one_pass(None))])
        predictions = learner.steps.predict(self.reader.dataset(one, size), min(size, batches.rows))
        weights = [v.numpy() for v in learner.model.trainable_variables if not is_embedding_table(v)]
        return {"predictions": np.stack(list(predictions.values())), **{str(i): w for i, w in enumerate(weights)}}


def _shape(plan: Plan) -> str:
    """Returns a key that is equal for trainings with equal graphs."""
    keys = weight_keys(plan.config).items()
    own = {k: v for k, v in keys if not k.startswith("trainer.") or k in ("trainer.batch_size", "trainer.precision")}
    return json.dumps([own, plan.replicas], default=str)
