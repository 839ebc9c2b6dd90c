"""Permutation importance and integrated gradients of a run's model on a day."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfstable.analysis.integrated_gradients import OF_HISTORY, POINTS, Embedded, IntegratedGradients, completeness
from tfstable.analysis.permutation import Inputs, Loss, permutation_importance
from tfstable.models import RankingModel
from trainers.studies.explain.sample import auc_loss, model_before, read_sample, rmse_loss
from trainers.studies.explain.units import Unit, units
from trainers.training.run import Run

GRADIENT_BATCH = 256  # Rows whose gradients are held at a time.
Progress = Callable[[int, int, str], None]  # Called with the work done, the total, and its name.


@dataclass(frozen=True)
class RowShares:
    """A row's logit of a task, split.

    Attributes:
        row: Its place in the day.
        prediction: In the task's units.
        logit: F(x), before the task's calibration.
        start: F(x'), where the path begins.
        shares: By unit; they add up to logit - start.
    """

    row: int
    prediction: float
    logit: float
    start: float
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Explanation:
    """What `tfstable explain` finds.

    Attributes:
        path: The run's directory.
        day: The day explained.
        trained_to: Last day that the model had been trained on.
        rows: Rows that were permuted.
        units: Features that are explained together, by name.
        metrics: By task with labels, what is lost: auc or rmse.
        importance: By unit and task.
        gradient_rows: Rows whose shares are summed.
        points: Midpoints of each path.
        baseline: Where the paths begin: mean or zeros.
        completeness: By task, what the shares miss of the change, as a share of it.
        size, mean: By task and unit: the mean of the shares' absolute values, and of the shares.
        single: By task, rows one by one.
    """

    path: Path
    day: date
    trained_to: date
    rows: int
    units: Mapping[str, Unit]
    metrics: Mapping[str, str]
    importance: Mapping[str, Mapping[str, Loss]]
    gradient_rows: int
    points: int
    baseline: str
    completeness: Mapping[str, float]
    size: Mapping[str, Mapping[str, float]]
    mean: Mapping[str, Mapping[str, float]]
    single: Mapping[str, Sequence[RowShares]]

    @property
    def seen(self) -> bool:
        """Whether the model had been trained on the day."""
        return self.day <= self.trained_to


def explain(
    run: Run,
    day: date,
    *,
    rows: int = 20_000,
    repeats: int = 3,
    gradient_rows: int = 1_000,
    single: int = 3,
    points: int = POINTS,
    baseline: str = "mean",
    groups: Mapping[str, Sequence[str]] = {},
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Explanation:
    """Explains a run's model on a day; writes nothing.

    The model is that of the newest kept checkpoint that had not been trained on the day, if there is one.

    Args:
        run: A trained run.
        day: A day of its log.
        rows: Most rows for permutation importance, evenly spread over the day.
        repeats: Permutations per unit.
        gradient_rows: Most of those rows for integrated gradients.
        single: Rows whose shares are returned one by one.
        points: Midpoints of each path.
        baseline: Where the paths begin: "mean", the mean of those rows, or "zeros".
        groups: Features or histories that are explained together, by a name for them.
        seed: Seed of the permutations.
        progress: Called with the work done, the total, and its name.

    Raises:
        InputError: If no window has been trained yet, the log does not have the day, a group does not fit, or
            the model's class has an `embed` of its own.
    """
    config = run.config
    chosen = units(list(config.features), config.model.sequences, groups)
    with model_before(run, day) as (state, trained_to), state.learner.optimizer.averaged_weights():
        sample = read_sample(config, run.parts().log, state, day, rows)
        model = state.learner.model
        predict = partial(predictions, tf.function(model, autograph=False, reduce_retracing=True))
        kinds = {name: config.tasks[name].kind for name in sample.labels}
        losses = {
            name: partial(auc_loss if kinds[name] == "binary" else rmse_loss, labels)
            for name, labels in sample.labels.items()
        }
        of_units = {name: unit.features for name, unit in chosen.items()}
        importance = permutation_importance(
            partial(predict, config.evaluation.batch_size),
            sample.inputs,
            of_units,
            losses,
            repeats=repeats,
            seed=seed,
            progress=progress,
        )
        every = -(-len(sample.numbers) // gradient_rows)
        inputs = {name: values[::every] for name, values in sample.inputs.items()}
        numbers = sample.numbers[::every]
        parts, shares, logits, starts = integrated(model, inputs, points, baseline, progress)
        predicted = predict(config.evaluation.batch_size, inputs)
    columns = {name: _columns(unit, parts) for name, unit in chosen.items()}
    by_unit = {
        task: np.stack([of_task[:, c].sum(axis=1) for c in columns.values()], axis=1)
        for task, of_task in shares.items()
    }  # (rows, units) by task
    return Explanation(
        path=run.path,
        day=day,
        trained_to=trained_to,
        rows=len(sample.numbers),
        units=chosen,
        metrics={name: "auc" if kind == "binary" else "rmse" for name, kind in kinds.items()},
        importance=importance,
        gradient_rows=len(numbers),
        points=points,
        baseline=baseline,
        completeness=completeness(shares, logits, starts),
        size={task: _by_name(columns, np.abs(each).mean(axis=0)) for task, each in by_unit.items()},
        mean={task: _by_name(columns, each.mean(axis=0)) for task, each in by_unit.items()},
        single={
            task: [
                RowShares(
                    int(numbers[row]),
                    float(predicted[task][row]),
                    float(logits[task][row]),
                    float(starts[task][row]),
                    _by_name(columns, each[row]),
                )
                for row in range(min(single, len(numbers)))
            ]
            for task, each in by_unit.items()
        },
    )


def predictions(model: Callable[..., Any], size: int, inputs: Inputs) -> dict[str, np.ndarray]:
    """Returns predictions by task, `(rows,)`, `size` rows at a time."""
    rows = len(next(iter(inputs.values())))
    parts = []
    for begin in range(0, rows, size):
        batch = {name: tf.constant(values[begin : begin + size]) for name, values in inputs.items()}
        parts.append(model(batch, training=False))
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def integrated(
    model: RankingModel, inputs: Inputs, points: int, baseline: str, progress: Progress = lambda *_: None
) -> tuple[list[str], dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the parts, and by task the shares `(rows, parts)`, logits and starts `(rows,)` of rows."""
    gradients = IntegratedGradients(model, points)
    rows = len(next(iter(inputs.values())))
    batches = [
        {name: tf.constant(values[begin : begin + GRADIENT_BATCH]) for name, values in inputs.items()}
        for begin in range(0, rows, GRADIENT_BATCH)
    ]
    start = None
    if baseline == "mean":
        looked_up = [gradients.embedded(batch) for batch in batches]
        joined = (tf.concat(each, 0) for each in zip(*looked_up, strict=True))
        start = Embedded(*(tf.reduce_mean(each, 0, keepdims=True) for each in joined))
    split = tf.function(lambda batch: gradients(batch, start), autograph=False, reduce_retracing=True)
    found = []
    for number, batch in enumerate(batches):
        progress(number, len(batches), "integrating gradients")
        found.append(split(batch))
    progress(len(batches), len(batches), "integrated")
    kinds = [
        {task: np.concatenate([each[kind][task].numpy() for each in found]) for task in gradients.tasks}
        for kind in range(3)
    ]
    return gradients.parts, kinds[0], kinds[1], kinds[2]


def _columns(unit: Unit, parts: Sequence[str]) -> list[int]:
    """The parts of a unit. A history's own features are read in its part alone."""
    names = {*unit.features, *(OF_HISTORY + name for name in unit.sequences)}
    return [place for place, part in enumerate(parts) if part in names]


def _by_name(names: Mapping[str, Any], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
