"""Chooses the weights of the tasks in `score` on earlier days, and judges them on the last."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from tfstable.analysis.score_search import ascend
from tfstable.errors import InputError
from trainers.studies.tune_score.days import ScoredDay
from trainers.studies.tune_score.metric import Metric, Paired, ValuedRows

DIGITS = 4  # Of the weights that are written, and judged.


@dataclass(frozen=True)
class Candidate:
    """Weights of the tasks, of unit norm, and what they reach.

    Attributes:
        name: What they are.
        weights: By task, in the units of `score`.
        chosen_on: The metric on the earlier days.
        judged_on: The metric on the last day.
    """

    name: str
    weights: Mapping[str, float]
    chosen_on: float
    judged_on: float


@dataclass(frozen=True)
class Tuned:
    """The outcome of a tuning.

    Attributes:
        chosen_on: The days that weights were chosen on.
        judged_on: The last day.
        lists: Lists of the last day.
        candidates: The present weights first, then the tuned ones, then those that they are compared with.
        judgement: The present and the tuned weights on the last day.
        path: The metric on the earlier days after each step.
    """

    chosen_on: Sequence[date]
    judged_on: date
    lists: int
    candidates: Sequence[Candidate]
    judgement: Paired
    path: Sequence[float]

    @property
    def weights(self) -> Mapping[str, float]:
        """The tuned weights by task."""
        return self.candidates[1].weights

    @property
    def verdict(self) -> str:
        """One word: gain, loss, or none if the interval of the difference holds 0."""
        low, high = self.judgement.interval
        return "gain" if low > 0 else "loss" if high < 0 else "none"


def tune(
    days: Sequence[ScoredDay],
    tasks: Sequence[str],
    present: Mapping[str, float],
    values: Mapping[str, float],
    metric: Metric,
    *,
    method: str = "zero-order",
    steps: int = 25,
    pairs: int = 6,
    samples: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Tuned:
    """Tunes the weights of the tasks in `score`, their weighted sum.

    The search begins at the best of the present weights, the values, and each task alone, in coordinates in which every
    task's prediction varies alike within lists: probabilities of 0.3 and of 0.003 have steps of one size. Where it does
    not beat its start on the earlier days by more than their noise, the start is taken.

    Args:
        days: At least 2, in order; the last one judges.
        tasks: Names of the tasks, in the order of the days' predictions; at least 2.
        present: The weights of today by task; a task without one has 0.
        values: What a label of each task is worth. As weights they are the best ones for calibrated predictions and a
            metric that sums gains. Values of fewer than two tasks are no start.
        metric: The metric, the higher the better.
        method, steps, pairs, seed: See `ascend`.
        samples: Draws of the lists behind the interval.
        progress: Called with the steps done, all steps, and the next one.

    Raises:
        InputError: If there is one task, the present weights are all 0, or the metric is NaN.
    """
    if len(tasks) < 2:
        raise InputError(f"tasks: there is only {tasks[0]}, whose weight changes no ranking; nothing to tune")
    if not any(present.values()):
        raise InputError("export.score_weights: all are 0, which ranks nothing; set one to begin with")
    earlier, last = _together(days[:-1]), _together(days[-1:])
    spread = _spread(earlier)
    start = np.array([present.get(name, 0.0) for name in tasks])
    worth = [np.array([values.get(name, 0.0) for name in tasks])] if len(values) > 1 else []
    alone = np.eye(len(tasks))

    def of(weights: np.ndarray, among: ScoredDay = earlier) -> float:
        return metric.value(among.rows, among.predictions @ weights)

    try:
        found = ascend(
            lambda x: of(x / spread),
            [start * spread, *(weights * spread for weights in worth), *alone],
            method=method,
            steps=steps,
            pairs=pairs,
            seed=seed,
            progress=lambda done, total: progress(done, total, f"{method}, step {done} of {total}"),
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"no weights can be chosen on {days[0].day} to {days[-2].day}: {error}") from None
    tuned = _rounded(found.parameters / spread)
    begun = _rounded(found.start / spread)
    won = metric.compare(earlier.rows, earlier.predictions @ begun, earlier.predictions @ tuned, samples)
    if not won.interval[0] > 0:  # Steps that follow the noise of a few labels do harm on other days.
        tuned = begun
    before = _rounded(start)
    named = {"present": before, "tuned": tuned}
    if worth:
        named["values"] = _rounded(worth[0])
    named |= {f"{name} alone": weights for name, weights in zip(tasks, alone, strict=True)}
    candidates = [
        Candidate(name, {t: float(w) for t, w in zip(tasks, weights, strict=True)}, of(weights), of(weights, last))
        for name, weights in named.items()
    ]
    judgement = metric.compare(last.rows, last.predictions @ before, last.predictions @ tuned, samples)
    lists = len(np.unique(last.rows.groups))
    return Tuned([day.day for day in days[:-1]], days[-1].day, lists, candidates, judgement, found.path)


def _together(days: Sequence[ScoredDay]) -> ScoredDay:
    """Rows of several days as if of one; the lists of each are its own."""
    groups, shift = [], 0
    for day in days:
        _, codes = np.unique(day.rows.groups, return_inverse=True)
        groups.append(codes + shift)
        shift += codes.max(initial=-1) + 1
    rows = ValuedRows(
        np.concatenate([day.rows.gains for day in days]),
        np.concatenate([day.rows.weights for day in days]),
        np.concatenate(groups),
    )
    return ScoredDay(days[-1].day, days[-1].trained_to, np.concatenate([day.predictions for day in days]), rows)


def _spread(day: ScoredDay) -> np.ndarray:
    """Standard deviation of each task's predictions within lists, `(tasks,)`; 1 where they do not differ."""
    _, group, sizes = np.unique(day.rows.groups, return_inverse=True, return_counts=True)
    spread = np.empty(day.predictions.shape[1])
    for task, predictions in enumerate(day.predictions.T):
        means = np.bincount(group, predictions) / sizes
        spread[task] = np.sqrt(np.mean(np.square(predictions - means[group])))
    return np.where(spread > 0, spread, 1.0)


def _rounded(weights: np.ndarray) -> np.ndarray:
    return np.array([float(f"{w:.{DIGITS}g}") for w in weights / np.linalg.norm(weights)])
