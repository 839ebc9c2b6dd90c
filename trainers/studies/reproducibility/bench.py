"""One training after the other, in one process."""

import json
import time
from typing import Any

import numpy as np
import tensorflow as tf

from tfstable.errors import InputError
from tfstable.optimizers import is_embedding_table
from trainers.build.model import make_model
from trainers.build.optimizer import decays_in_windows, make_optimizer
from trainers.config import weight_keys
from trainers.studies.reproducibility.config import Plan
from trainers.studies.reproducibility.summed_steps import SummedSteps
from trainers.studies.workbench import Workbench
from trainers.training.evaluation import evaluate

KEPT = 4  # Models kept with their graphs: those of the differences of a point.


class Bench(Workbench):
    """Trains plans on a log, each from nothing.

    A run whose two seeds are equal, on one replica, equals that of `tfstable train` with the same config, loss for
    loss; but in float64 it begins with the weights of float32.
    """

    def __init__(self, config, log):
        super().__init__(config, log)
        self._made: dict[str, tuple] = {}

    def train(self, plan: Plan) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Trains a plan on every window before the log's last day.

        Returns:
            The record: `days`, metrics by day and task; `seconds` of training, tracing and predictions aside; `steps`.
            The arrays: predictions as `DAY|TASK`, `(rows,)`; traces as `trace|predictions`, `(looks, tasks, rows)`, and
            `trace|N` for the N-th weight that is no table, `(looks, *shape)`.

        Raises:
            InputError: If the log has too few days.
        """
        config, trainer = plan.config, plan.config.trainer
        if len(self.log.days) < trainer.window_days + plan.days:
            raise InputError(
                f"{self.log.path}: {len(self.log.days)} days; a window of {trainer.window_days} and {plan.days} "
                "to compare on are wanted; lower trainer.window_days or reproducibility.days, or give a longer log"
            )
        compared = self.log.days[-plan.days :]
        model, optimizer, steps, initial = self._parts(plan)
        # In float64 and float32 alike, so that what they differ in is the arithmetic.
        drawn = trainer.model_copy(update={"precision": "float32"})
        self.begin(config.model_copy(update={"trainer": drawn}), model, optimizer, initial)

        todo = self.windows(trainer, compared[-1])
        iterator = self.feed(todo, trainer, plan.order_seed)
        decays = decays_in_windows(config.optimizer)
        steps.trace(iterator, tf.TensorSpec([None, len(optimizer.optimizers)], tf.float32) if decays else None)
        days, arrays, looks, seconds, done = {}, {}, [], 0.0, 0
        for window, total in todo:
            first = 0
            while first < total:
                until_look = plan.trace_every - done % plan.trace_every if plan.trace_every else total
                numbers = np.arange(first, min(total, first + min(trainer.steps_per_call, until_look)))
                rates = self.rate_factors(config.optimizer, numbers, total)
                began = time.monotonic()
                steps.train(iterator, tf.constant(len(numbers)), rates).numpy()
                seconds += time.monotonic() - began
                first, done = first + len(numbers), done + len(numbers)
                if plan.trace_every and done % plan.trace_every == 0:
                    looks.append(self._look(plan, model, steps))
            if optimizer.averaging is not None:
                optimizer.averaging.snapshot()
            with optimizer.averaged_weights():
                for day in set(compared) & set(window.next_days):
                    predictions = self.predict(steps, day, config.evaluation.batch_size)
                    days[str(day)] = evaluate(config, self.log, day, predictions)
                    arrays |= {f"{day}|{task}": p for task, p in predictions.items()}
        arrays |= {f"trace|{name}": np.stack([look[name] for look in looks]) for name in (looks[0] if looks else ())}
        return {"days": days, "seconds": seconds, "steps": done}, arrays

    def _parts(self, plan: Plan) -> tuple:
        """Model, optimizer, steps and the new optimizer's variables; runs of equal graphs share them."""
        keys = weight_keys(plan.config).items()
        own = {
            k: v for k, v in keys if not k.startswith("trainer.") or k in ("trainer.batch_size", "trainer.precision")
        }
        shape = json.dumps([own, plan.replicas], default=str)
        if shape not in self._made:
            while len(self._made) >= KEPT:
                del self._made[next(iter(self._made))]
            model = make_model(plan.config, self.statistics)
            optimizer = make_optimizer(plan.config.optimizer, batch_size=plan.config.trainer.batch_size)
            optimizer.build(model.trainable_variables)
            initial = [tf.identity(variable.value) for variable in optimizer.variables]
            steps = SummedSteps(tf.distribute.get_strategy(), model, optimizer, parts=plan.replicas)
            self._made[shape] = (model, optimizer, steps, initial)
        return self._made[shape]

    def _look(self, plan: Plan, model, steps: SummedSteps) -> dict[str, np.ndarray]:
        """The dense weights, and the predictions for the first rows of the last day."""
        size = plan.config.evaluation.batch_size
        batches = self.batches((self.log.days[-1],), size)
        one = (batch for batch in [next(batches.one_pass(None))])
        predictions = steps.predict(self.reader.dataset(one, size), min(size, batches.rows))
        weights = [v.numpy() for v in model.trainable_variables if not is_embedding_table(v)]
        return {"predictions": np.stack(list(predictions.values())), **{str(i): w for i, w in enumerate(weights)}}
