"""Do two models differ in AUC on the same rows by more than the day's noise?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.auc import placements
from tfstable.metrics.rows import Rows, check_binary, column, counted_rows, group_numbers


class AucDifference(NamedTuple):
    """Two exact AUCs on the same rows, their difference, and the standard errors.

    For similar models, `difference_se` is far below the errors of the two AUCs, because both err on the same rows.
    """

    first: float
    second: float
    first_se: float  # Standard errors, from `auc_standard_error`.
    second_se: float
    covariance: float  # Of the two AUCs.
    difference: float  # second - first
    difference_se: float


def auc_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None
) -> AucDifference:
    """Compares the AUCs of two models on the same rows.

        Cov(A_a, A_b) = sum_c  m_c / (m_c - 1) * sum_i w_i^2 (V_ai - A_a)(V_bi - A_b) / (sum_i w_i)^2

    over the m_c rows of each class c, with the placements V of `auc.placements`. The variance of the difference comes
    from the differences of the placements, not from Var + Var - 2 Cov, which cancels for nearly equal models.

    Args:
        labels: `(n,)`, 0 or 1; NaN masks a row.
        first, second: `(n,)` scores of the two models.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.

    Returns:
        All NaN if a class is absent or a prediction of a row that counts is not finite; NaN errors if a class has a
        single row. The errors assume independent rows; if rows group into users, see `auc_bootstrap`.

    Raises:
        ValueError: If the arrays do not match, a label is not 0 or 1, or a weight is negative or not finite.

    Reference:
        DeLong, DeLong, Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
        Characteristic Curves: A Nonparametric Approach", 1988.
    """
    one, other = _both(labels, first, second, weights)
    positive = one.labels == 1
    if not (one.measurable and other.measurable) or positive.all() or not positive.any():
        return AucDifference(*[float("nan")] * 7)
    V = np.stack([placements(one), placements(other)])  # (2, rows)
    auc_one, auc_other = np.average(V[:, positive], axis=1, weights=one.weights[positive])
    S = _covariance(V, positive, one.weights)
    gap = _covariance((V[1] - V[0])[None], positive, one.weights)[0, 0]
    errors = np.sqrt([S[0, 0], S[1, 1], gap])
    return AucDifference(
        float(auc_one),
        float(auc_other),
        float(errors[0]),
        float(errors[1]),
        float(S[0, 1]),
        float(auc_other - auc_one),
        float(errors[2]),
    )


def auc_bootstrap(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    samples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Draws the AUCs of two models on days with other users, by resampling whole groups with replacement.

    The rows of a user resemble each other, so n of them carry less information than n rows of n users. DeLong's errors
    assume independent rows and are then too small. Both models are measured on the same draws: `draws[:, 1] -
    draws[:, 0]` are draws of the difference, and their quantiles give its interval.

    Args:
        labels, first, second, weights: As in `auc_difference`.
        groups: `(n,)` ids of users or requests. A row without one (None, NaN, "" or the smallest int64) is its own
            group.
        samples: Number of draws, at least 1.
        seed: Seed of the draws.

    Returns:
        `(samples, 2)` AUCs, float64; NaN if a draw lacks a class or `auc_difference` is NaN. Scores are sorted once;
        a draw then costs O(n) for any number of groups.

    Raises:
        ValueError: As in `auc_difference`, or if `samples` is below 1.

    Reference:
        Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, section 8.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    both = _both(labels, first, second, weights)
    group = group_numbers(groups, len(both[0].kept))
    alone = group < 0
    group[alone] = group.max(initial=-1) + 1 + np.arange(alone.sum())
    _, group = np.unique(group[both[0].kept], return_inverse=True)  # Drops users without a row that counts.
    draws = np.full((samples, 2), np.nan)
    positive = both[0].labels == 1
    if not all(rows.measurable for rows in both) or positive.all() or not positive.any():
        return draws
    sorted_once = [_Sorted(rows, group) for rows in both]
    generator, number = np.random.default_rng(seed), group.max() + 1
    for draw in draws:
        times = np.bincount(generator.integers(0, number, number), minlength=number).astype(float)  # (groups,)
        draw[:] = [rows.auc(times) for rows in sorted_once]
    return draws


def _both(labels: ArrayLike, first: ArrayLike, second: ArrayLike, weights: ArrayLike | None) -> tuple[Rows, Rows]:
    """The rows of both models: the same rows, because only labels and weights decide which count."""
    labels = column("labels", labels)
    first, second = column("first", first, len(labels)), column("second", second, len(labels))
    one, other = counted_rows(labels, first, weights), counted_rows(labels, second, weights)
    check_binary(one.labels)
    return one, other


def _covariance(V: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Covariance of the classes' mean placements, summed over both classes: (models, rows) -> (models, models)."""
    total = np.zeros((len(V), len(V)))
    for of_class in (positive, ~positive):
        m, w = of_class.sum(), weights[of_class]
        if m < 2:
            return np.full_like(total, np.nan)
        scatter = w * (V[:, of_class] - np.average(V[:, of_class], axis=1, weights=w)[:, None])
        total += m / (m - 1) * (scatter @ scatter.T) / w.sum() ** 2
    return total


class _Sorted:
    """Rows of one model sorted by score, for AUCs under many weightings of the groups."""

    def __init__(self, rows: Rows, group: np.ndarray):
        order = np.argsort(rows.predictions, kind="stable")
        order, positive = order[rows.labels[order] == 0], np.flatnonzero(rows.labels == 1)
        negatives, positives = rows.predictions[order], rows.predictions[positive]
        self._below = np.searchsorted(negatives, positives, side="left")  # (positives,) negatives ranked below
        self._through = np.searchsorted(negatives, positives, side="right")  # below or equal
        self._lost, self._group_lost = rows.weights[order], group[order]
        self._won, self._group_won = rows.weights[positive], group[positive]

    def auc(self, times: np.ndarray) -> float:
        """AUC with the weights of group g multiplied by `times[g]`."""
        lost = np.r_[0.0, np.cumsum(self._lost * times[self._group_lost])]  # (negatives + 1,)
        won = self._won * times[self._group_won]
        pairs = won.sum() * lost[-1]
        # Not `won @ ...`: BLAS starts threads even for this short product, thirty times as slow on a busy machine.
        twice = np.sum(won * (lost[self._below] + lost[self._through]))
        return float(twice / (2 * pairs)) if pairs > 0 else float("nan")
