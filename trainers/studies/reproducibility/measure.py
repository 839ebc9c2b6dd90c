"""From the predictions of several trainings to figures with intervals over their pairs."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np

from tfstable.metrics import prediction_difference, spearman, top_k_churn

# 97.5% quantiles of Student's t by degrees of freedom, 1 to 9.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


class OverPairs(TypedDict):
    """A figure's mean over pairs of runs, and its 95% interval; no interval for two runs."""

    mean: float
    low: float | None
    high: float | None


def pair_figures(
    runs: Sequence[Sequence[np.ndarray]],
    weights: Sequence[np.ndarray | None],
    groups: Sequence[np.ndarray | None],
    k: int,
) -> dict[str, OverPairs]:
    """Returns the figures of one task over all pairs of runs; see `over_pairs`.

    Args:
        runs: Predictions per run and day, `(rows,)`. Figures are means over the days.
        weights: Example weights per day, or None.
        groups: Numbers of the rows' users per day, or None.
        k: Length of the top list for churn.

    Returns:
        `difference`: the relative prediction difference. `levelled`: the same after each run's predictions of a day
        were divided by their mean, which removes the run's overall level. `spearman`. `churn`
        of the top k, given groups.
    """

    def mean_over_days(figure: Callable[..., float]) -> Callable[[int, int], float]:
        days = range(len(weights))
        return lambda i, j: float(np.mean([figure(runs[i][d], runs[j][d], d) for d in days]))

    figures: dict[str, Callable[..., float]] = {
        "difference": lambda p, q, d: prediction_difference(p, q, weights[d]),
        "levelled": lambda p, q, d: prediction_difference(p / np.mean(p), q / np.mean(q), weights[d]),
        "spearman": lambda p, q, d: spearman(p, q),
    }
    known = [group for group in groups if group is not None]
    if len(known) == len(groups):
        figures["churn"] = lambda p, q, d: top_k_churn(p, q, known[d], k).replaced
    return {name: over_pairs(len(runs), mean_over_days(figure)) for name, figure in figures.items()}


def over_pairs(runs: int, figure: Callable[[int, int], float]) -> OverPairs:
    """Returns a figure's mean over all pairs of runs, with a 95% interval `low` to `high` for other runs like them.

    Pairs share runs, so they are not independent. The error is the jackknife's: the change of the mean as each run in
    turn is left out with all its pairs (Arvesen, "Jackknifing U-Statistics", 1969). Two runs have no interval.
    """
    values = {pair: figure(*pair) for pair in itertools.combinations(range(runs), 2)}
    mean = float(np.mean(list(values.values())))
    if runs < 3:
        return OverPairs(mean=mean, low=None, high=None)
    without = [np.mean([v for pair, v in values.items() if run not in pair]) for run in range(runs)]
    error = STUDENT[runs - 2] * np.sqrt((runs - 1) * np.mean((without - np.mean(without)) ** 2))
    return OverPairs(mean=mean, low=mean - float(error), high=mean + float(error))


def ensembles(runs: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Returns the runs in disjoint groups of `size`; drops the rest."""
    return [runs[i : i + size] for i in range(0, len(runs) - size + 1, size)]


def drift(one: dict[str, np.ndarray], other: dict[str, np.ndarray], tasks: Sequence[str]) -> dict[str, list[float]]:
    """Returns how far two traced runs are apart at each look.

    Returns:
        `weights`: the largest ||v - w|| / ||v|| over the tensors v, w that are not tables; per task, the relative
        prediction difference.
    """
    names = [name for name in one if name.startswith("trace|") and name != "trace|predictions"]
    apart = []
    for name in names:
        v, w = (run[name].reshape(len(run[name]), -1).astype(np.float64) for run in (one, other))
        apart.append(np.linalg.norm(v - w, axis=1) / np.maximum(np.linalg.norm(v, axis=1), 1e-300))
    p, q = (run["trace|predictions"] for run in (one, other))  # (looks, tasks, rows)
    looks = range(len(p))
    by_task = {task: [prediction_difference(p[i, t], q[i, t]) for i in looks] for t, task in enumerate(tasks)}
    return {"weights": np.max(apart, axis=0).tolist(), **by_task}
