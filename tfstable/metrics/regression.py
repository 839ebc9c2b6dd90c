"""Errors of a regression, in the units of its label."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import column, counted_rows


def rmse(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root of the weighted mean squared error.

    Args:
        labels: `(n,)` finite numbers; NaN masks a row.
        predictions: `(n,)` in the label's units.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.

    Returns:
        A number, at least 0; NaN if no row counts or a prediction of a row that counts is not finite.

    Raises:
        ValueError: If the arrays do not match, a label is infinite, or a weight is negative or not finite.

    Examples:
        >>> from tfstable.metrics import rmse
        >>> rmse([1.0, 5.0], [4.0, 9.0], weights=[1.0, 0.0])
        3.0
    """
    rows = counted_rows(labels, predictions, weights)
    if not rows.measurable:
        return float("nan")
    return float(np.sqrt(np.average((rows.predictions - rows.labels) ** 2, weights=rows.weights)))


def rmse_standard_error(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Standard error of `rmse`, from the scatter of the squared errors; assumes independent rows.

        se(R) = se(mean e^2) / (2 R),  se(mean e^2)^2 = n / (n - 1) * sum w^2 (e^2 - R^2)^2 / (sum w)^2

    Arguments and errors as in `rmse`. NaN if `rmse` is NaN or for a single row; 0 if R is 0.
    """
    rows = counted_rows(labels, predictions, weights)
    if not rows.measurable or len(rows.labels) < 2:
        return float("nan")
    w, n, square = rows.weights, len(rows.labels), (rows.predictions - rows.labels) ** 2
    mean = np.average(square, weights=w)
    variance = n / (n - 1) * np.sum((w * (square - mean)) ** 2) / w.sum() ** 2
    return float(np.sqrt(variance) / (2 * np.sqrt(mean))) if mean > 0 else 0.0


def mae(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Weighted mean absolute error. Arguments, result and errors as in `rmse`."""
    rows = counted_rows(labels, predictions, weights)
    if not rows.measurable:
        return float("nan")
    return float(np.average(np.abs(rows.predictions - rows.labels), weights=rows.weights))


class RmseDifference(NamedTuple):
    """The RMSE of two models on the same rows, their difference, and its standard error."""

    first: float
    second: float
    difference: float  # second - first
    difference_se: float


def rmse_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None
) -> RmseDifference:
    """Compares the RMSE of two models on the same rows.

        R_2 - R_1 = mean(e_2^2 - e_1^2) / (R_1 + R_2),  e_m the errors of model m and R_m the root of their mean square

    The standard error divides the standard error of the numerator's mean by R_1 + R_2, and assumes independent rows.
    For the n rows that count, with d = e_2^2 - e_1^2, the square of the former is
    n / (n - 1) * sum w^2 (d - mean d)^2 / (sum w)^2.

    Args:
        labels, weights: As in `rmse`.
        first, second: `(n,)` predictions of the two models, in the label's units.

    Returns:
        NaN if the `rmse` of either model is; a NaN error for a single row. Two perfect models differ by 0 with error 0.

    Raises:
        ValueError: As in `rmse`.
    """
    labels = column("labels", labels)
    first, second = column("first", first, len(labels)), column("second", second, len(labels))
    one, other = counted_rows(labels, first, weights), counted_rows(labels, second, weights)
    if not (one.measurable and other.measurable):
        return RmseDifference(*[float("nan")] * 4)
    squares = [(rows.predictions - rows.labels) ** 2 for rows in (one, other)]
    w, n = one.weights, len(one.labels)
    R_1, R_2 = (float(np.sqrt(np.average(square, weights=w))) for square in squares)
    d = squares[1] - squares[0]
    mean = np.average(d, weights=w)
    variance = n / (n - 1) * np.sum((w * (d - mean)) ** 2) / w.sum() ** 2 if n > 1 else float("nan")
    scale = R_1 + R_2 or 1.0
    return RmseDifference(R_1, R_2, float(mean / scale), float(np.sqrt(variance) / scale))
