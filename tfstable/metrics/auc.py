"""Exact area under the ROC curve, and its standard error."""

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import Rows, check_binary, counted_rows


def auc(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a positive is ranked above a negative; a tie counts half.

        AUC = sum_i sum_j w_i w_j ([p_i > p_j] + [p_i = p_j] / 2) / (sum_i w_i  sum_j w_j),  i positive, j negative

    Args:
        labels: `(n,)`, 0 or 1; NaN masks a row.
        predictions: `(n,)` probabilities or any other score: only their order matters.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.

    Returns:
        A number between 0 and 1; NaN if a class is absent or a prediction of a row that counts is not finite. Takes
        O(n log n).

    Raises:
        ValueError: If the arrays do not match, a label is not 0 or 1, or a weight is negative or not finite.

    Examples:
        Three of the four pairs of a positive and a negative are in the right order:

        >>> from tfstable.metrics import auc
        >>> auc([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
        0.75
    """
    return auc_with_standard_error(labels, predictions, weights)[0]


def auc_standard_error(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Standard error of `auc`, from the scatter of the placements within each class.

        Var = S_1 / m_1 + S_0 / m_0,  S_c the sample variance of the placements of the m_c rows of class c

    With weights, the mean of a class's placements is weighted, and its variance is
    m / (m - 1) * sum w^2 (V - A)^2 / (sum w)^2. Weights are not counts of repeated rows.

    Args, errors: As in `auc`.

    Returns:
        A number, at least 0; NaN if `auc` is NaN or a class has a single row; 0 if the ranking is perfect.

    Reference:
        DeLong, DeLong, Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
        Characteristic Curves: A Nonparametric Approach", 1988; in O(n log n) after Sun, Xu, "Fast Implementation of
        DeLong's Algorithm for Comparing the Areas Under Correlated Receiver Operating Characteristic Curves", 2014.
    """
    return auc_with_standard_error(labels, predictions, weights)[1]


def auc_with_standard_error(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None
) -> tuple[float, float]:
    """`auc` and `auc_standard_error` from one sort of the rows. Args, returns, errors: as there."""
    rows = counted_rows(labels, predictions, weights)
    check_binary(rows.labels)
    positive = rows.labels == 1
    if not rows.measurable or positive.all() or not positive.any():
        return float("nan"), float("nan")
    placement = placements(rows)
    value = float(np.average(placement[positive], weights=rows.weights[positive]))
    if min(positive.sum(), (~positive).sum()) < 2:
        return value, float("nan")
    variance = 0.0
    for of_class in (positive, ~positive):
        V, w = placement[of_class], rows.weights[of_class]
        A = np.average(V, weights=w)
        m = len(V)
        variance += m / (m - 1) * np.sum((w * (V - A)) ** 2) / np.sum(w) ** 2
    return value, float(np.sqrt(variance))


def placements(rows: Rows) -> np.ndarray:
    """Per row, the share of the other class (by weight) that it is ranked correctly against; a tie counts half.

    Their weighted mean over either class is the AUC. The covariance of two models' placements gives a paired
    comparison. Both classes must be present, and the predictions finite.
    """
    order = np.argsort(rows.predictions, kind="stable")
    predictions, positive = rows.predictions[order], rows.labels[order] == 1
    starts = np.flatnonzero(
        np.r_[True, predictions[1:] != predictions[:-1]]
    )  # (ties,) a tie is a run of equal predictions
    tie_of_row = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(predictions)]))  # (rows,)

    def share_below(
        of_class: np.ndarray,
    ) -> np.ndarray:  # (ties,) share of a class ranked below each tie, plus half of its share in the tie
        weight = np.add.reduceat(np.where(of_class, rows.weights[order], 0.0), starts)
        through = np.cumsum(weight)
        return (through - weight / 2) / through[-1]

    below, above = share_below(~positive), 1 - share_below(positive)
    placement = np.empty(len(order))
    placement[order] = np.where(positive, below[tie_of_row], above[tie_of_row])
    return placement
