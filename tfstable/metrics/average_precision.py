"""Area under the precision-recall curve, its standard error, and the difference of two models."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import Rows, check_binary, column, counted_rows


class AveragePrecision(NamedTuple):
    """An average precision and its standard error; NaN where it cannot be computed."""

    value: float
    se: float


class AveragePrecisionDifference(NamedTuple):
    """The average precision of two models on the same rows, their difference, and its standard error."""

    first: float
    second: float
    difference: float  # second - first
    difference_se: float


def average_precision(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> AveragePrecision:
    """PR-AUC: the mean precision at the positives, for rare tasks more telling than the AUC.

        AP = sum_i w_i y_i P_i / sum_i w_i y_i,   P_i = sum_{p_j >= p_i} w_j y_j / sum_{p_j >= p_i} w_j

    A row of weight w counts as w rows. Rows of equal prediction share one threshold, and thus their precision, as in
    scikit-learn: a model that predicts one value for all rows gets the base rate, and so does a random order of many
    rows. The value depends on the base rate: compare models on the same rows.

    The standard error is the infinitesimal jackknife's: sqrt(n / (n - 1) sum_j (w_j dAP / dw_j)^2). It assumes
    independent rows, and is too small with fewer than about 30 positives.

    Args:
        labels: `(n,)`, 0 or 1; NaN masks a row.
        predictions: `(n,)` probabilities or any other score: only their order matters.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.

    Returns:
        The value, between 0 and 1, and its standard error; both NaN if there is no positive or a prediction of a row
        that counts is not finite. The error is NaN for a single positive. Takes O(n log n).

    Raises:
        ValueError: If the arrays do not match, a label is not 0 or 1, or a weight is negative or not finite.

    Reference:
        Boyd, Eng, Page, "Area under the Precision-Recall Curve: Point Estimates and Confidence Intervals", 2013;
        error after Jaeckel, "The Infinitesimal Jackknife", 1972.

    Examples:
        The positives are first and third, with a precision of 1 and of 2/3:

        >>> from tfstable.metrics import average_precision
        >>> round(average_precision([1, 0, 1], [0.9, 0.8, 0.1]).value, 4)
        0.8333
    """
    rows = counted_rows(labels, predictions, weights)
    check_binary(rows.labels)
    if not rows.measurable or not rows.labels.any():
        return AveragePrecision(float("nan"), float("nan"))
    value, influences = _influences(rows)
    return AveragePrecision(value, _error(rows, influences))


def average_precision_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None
) -> AveragePrecisionDifference:
    """Compares the average precision of two models on the same rows, from the differences of the rows' influences.

    Args:
        labels, weights: As in `average_precision`.
        first, second: `(n,)` scores of the two models.

    Returns:
        NaN where `average_precision` of either model is.

    Raises:
        ValueError: As in `average_precision`.
    """
    labels = column("labels", labels)
    first, second = column("first", first, len(labels)), column("second", second, len(labels))
    one, other = counted_rows(labels, first, weights), counted_rows(labels, second, weights)
    check_binary(one.labels)
    if not (one.measurable and other.measurable) or not one.labels.any():
        return AveragePrecisionDifference(*[float("nan")] * 4)
    (value, of_one), (better, of_other) = _influences(one), _influences(other)
    return AveragePrecisionDifference(value, better, better - value, _error(one, of_other - of_one))


def _influences(rows: Rows) -> tuple[float, np.ndarray]:
    """The average precision, and per row the derivative of it by the row's weight.

    With W = sum w y, S_i = sum_{p_j >= p_i} w_j and P_i the precision at row i,

        dAP / dw_j = (y_j (P_j - AP) + sum_{i: p_i <= p_j} w_i y_i (y_j - P_i) / S_i) / W
    """
    order = np.argsort(-rows.predictions, kind="stable")
    scores, y, w = rows.predictions[order], rows.labels[order], rows.weights[order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])  # (ties,) from the highest score down
    won = np.add.reduceat(w * y, starts)  # (ties,) weight of the positives
    S = np.cumsum(np.add.reduceat(w, starts))  # (ties,)
    P, W = np.cumsum(won) / S, won.sum()  # (ties,)
    value = float(np.sum(won * P) / W)
    inverses = np.cumsum((won / S)[::-1])[::-1]  # (ties,) sum_{p_i <= p} w_i y_i / S_i
    precisions = np.cumsum((won * P / S)[::-1])[::-1]
    tie = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(scores)]))  # (rows,)
    influences = np.empty(len(scores))
    influences[order] = (y * (P - value + inverses)[tie] - precisions[tie]) / W
    return value, influences


def _error(rows: Rows, influences: np.ndarray) -> float:
    n = len(influences)
    if n < 2 or np.count_nonzero(rows.labels) < 2:
        return float("nan")
    return float(np.sqrt(n / (n - 1) * np.sum((rows.weights * influences) ** 2)))
