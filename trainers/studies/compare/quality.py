"""Which of two models is better: the metrics of both on the same rows, their differences and intervals."""

from typing import Any

import numpy as np

from tfstable.metrics import (
    AucDifference,
    AveragePrecisionDifference,
    EntropyDifference,
    GroupValues,
    Lists,
    RmseDifference,
    auc_bootstrap,
    auc_difference,
    average_precision_difference,
    list_bootstrap,
    normalised_entropy_difference,
    rmse_difference,
)
from trainers.training.measures import ranked
from trainers.training.task_rows import TaskRows

LEVEL, Z = 0.95, 1.959964  # Of the intervals, and the normal quantile behind it.


def binary(
    of_task: TaskRows, first: np.ndarray, second: np.ndarray, groups: np.ndarray | None, k: int, samples: int
) -> dict[str, Any]:
    """Compares two models of a binary task.

    Args:
        of_task: The task's rows.
        first, second: `(rows,)` predictions, one per row that the log holds.
        groups: `(rows,)` ids of users or requests, NaN for rows without one; None: no intervals from redrawn groups,
            and no metrics of lists.
        k: Length of the list for NDCG and recall.
        samples: Draws of the groups.

    Returns:
        Per metric `first`, `second` and `difference`, each with its `value`; the difference with its standard error
        `se`, the `interval` if rows are independent, and the `bootstrap_interval` if groups are.
    """
    y, w, rows, held = of_task
    p, q = first[rows], second[rows]
    draws = None if groups is None else auc_bootstrap(y, p, q, groups[rows], w, samples=samples)
    found = {
        "auc": _auc(auc_difference(y, p, q, w), draws),
        "pr_auc": paired(average_precision_difference(y, p, q, w)),
        "ne": paired(normalised_entropy_difference(y, p, q, w)),
    }
    if groups is None:
        return found
    of_pairs = [Lists(y, predictions, groups[rows], w).auc() for predictions in (p, q)]
    one, other = (ranked(held, predictions, groups) for predictions in (first, second))
    of_lists = {
        "gauc": of_pairs,
        f"ndcg@{k}": [one.ndcg(k), other.ndcg(k)],
        f"recall@{k}": [one.recall(k), other.recall(k)],
    }
    if not held.soft:
        of_lists |= {
            "mrr": [one.reciprocal_rank(), other.reciprocal_rank()],
            "map": [one.average_precision(), other.average_precision()],
        }
    return found | {name: _of_lists(values, samples) for name, values in of_lists.items()}


def regression(of_task: TaskRows, first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Compares two models of a regression; see `binary`."""
    return {"rmse": paired(rmse_difference(of_task.labels, first, second, of_task.weights))}


def paired(found: AveragePrecisionDifference | EntropyDifference | RmseDifference) -> dict[str, Any]:
    """Returns a difference with its interval if rows are independent."""
    value, se = found.difference, found.difference_se
    return {
        "first": {"value": found.first},
        "second": {"value": found.second},
        "difference": {"value": value, "se": se, "interval": [value - Z * se, value + Z * se]},
    }


def _auc(delong: AucDifference, draws: np.ndarray | None) -> dict[str, Any]:
    def figures(value: float, se: float, drawn: np.ndarray | None) -> dict[str, Any]:
        return {
            "value": value,
            "se": se,
            "interval": [value - Z * se, value + Z * se],
            "bootstrap_interval": None if drawn is None else _quantiles(drawn),
        }

    one, other, apart = (None, None, None) if draws is None else (*draws.T, draws[:, 1] - draws[:, 0])
    return {
        "first": figures(delong.first, delong.first_se, one),
        "second": figures(delong.second, delong.second_se, other),
        "covariance": delong.covariance,
        "difference": figures(delong.difference, delong.difference_se, apart),
    }


def _of_lists(values: list[GroupValues], samples: int) -> dict[str, Any]:
    found = list_bootstrap(*values, samples=samples)
    return {
        "first": {"value": found.first},
        "second": {"value": found.second},
        "difference": {
            "value": found.difference,
            "se": found.difference_se,
            "bootstrap_interval": _quantiles(found.draws[:, 1] - found.draws[:, 0]),
        },
    }


def _quantiles(drawn: np.ndarray) -> list[float]:
    drawn = drawn[np.isfinite(drawn)]  # Drops draws that lack a class.
    if not len(drawn):
        return [float("nan")] * 2
    return [float(q) for q in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]
