"""How far apart are the predictions of two models of the same thing?"""

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import check, column, counted_rows


def prediction_difference(first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Relative prediction difference: weighted mean of 2 |p1 - p2| / (p1 + p2), where 0 against 0 is no difference.

    Args:
        first, second: `(n,)` predictions of the two models for the same rows, at least 0.
        weights: `(n,)` example weights, at least 0. One each by default.

    Returns:
        A number between 0 (equal) and 2; NaN if no row counts or a prediction of a row that counts is not finite.
        It is symmetric, and does not change when both are multiplied by one number.

    Raises:
        ValueError: If the arrays do not match, or a prediction or weight is negative.

    Reference:
        Shamir, Lin, "Real World Large Scale Recommendation Systems Reproducibility and Smooth Activations", 2022.
    """
    first = column("first", first)
    second = column("second", second, len(first))
    rows = counted_rows(np.zeros(len(first)), first + second, weights)
    p1, p2 = first[rows.kept], second[rows.kept]
    for name, p in (("first", p1), ("second", p2)):
        check(name, p, lambda p: ~(p < 0), "at least 0")
    if not rows.measurable:
        return float("nan")
    total = rows.predictions
    return float(np.average(2 * np.abs(p1 - p2) / np.where(total > 0, total, 1.0), weights=rows.weights))
