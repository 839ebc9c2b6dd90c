"""Errors of a regression, in the units of its label."""

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import counted_rows


def rmse(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root of the weighted mean squared error.

    Args:
        labels: `(n,)` finite numbers; NaN masks a row.
        predictions: `(n,)` in the label's units.
        weights: `(n,)` example weights, at least 0. One each by default.

    Returns:
        A number, at least 0; NaN if no row counts or a prediction of a row that counts is not finite.

    Raises:
        ValueError: If the arrays do not match, a label is infinite, or a weight is negative or not finite.
    """
    rows = counted_rows(labels, predictions, weights)
    if not rows.measurable:
        return float("nan")
    return float(np.sqrt(np.average((rows.predictions - rows.labels) ** 2, weights=rows.weights)))


def mae(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Weighted mean absolute error. Arguments, result and errors as of `rmse`."""
    rows = counted_rows(labels, predictions, weights)
    if not rows.measurable:
        return float("nan")
    return float(np.average(np.abs(rows.predictions - rows.labels), weights=rows.weights))
