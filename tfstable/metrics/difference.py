"""How far apart are the predictions of two models of the same task?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tfstable.metrics.rows import column, counted_rows


def prediction_difference(first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Relative prediction difference: weighted mean of 2 |p1 - p2| / (|p1| + |p2|); 0 and 0 do not differ.

    Args:
        first, second: `(n,)` predictions of the two models for the same rows: probabilities, or a regression's values.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.

    Returns:
        A number between 0 (equal) and 2; NaN if no row counts or a prediction of a row that counts is not finite.
        Symmetric, and unchanged if both predictions are multiplied by the same number.

    Raises:
        ValueError: If the arrays do not match, or a weight is negative or not finite.

    Reference:
        Shamir, Lin, "Real World Large Scale Recommendation Systems Reproducibility and Smooth Activations", 2022, for
        probabilities. The magnitudes in the denominator allow negative predictions of a regression.

    Examples:
        One row agrees; the other differs by 2 * 0.1 / 0.4:

        >>> from tfstable.metrics import prediction_difference
        >>> round(prediction_difference([0.5, 0.25], [0.5, 0.15]), 9)
        0.25
    """
    differences, weights, _ = _measured(first, second, weights)
    return float(np.average(differences, weights=weights)) if len(differences) else float("nan")


def prediction_difference_quantiles(
    first: ArrayLike, second: ArrayLike, quantiles: Sequence[float], weights: ArrayLike | None = None
) -> list[float]:
    """Quantiles of the relative differences per row, whose mean is `prediction_difference`.

    Args:
        first, second, weights: As in `prediction_difference`.
        quantiles: Shares between 0 and 1.

    Returns:
        Per share q, the smallest difference d such that rows with at most d hold q of the weight; NaN as in
        `prediction_difference`.

    Raises:
        ValueError: As in `prediction_difference`, or if a share is not between 0 and 1.
    """
    if not all(0 <= q <= 1 for q in quantiles):
        raise ValueError(f"quantiles must be between 0 and 1, got {list(quantiles)}")
    differences, weights, _ = _measured(first, second, weights)
    if not len(differences) or np.isnan(differences).any():
        return [float("nan")] * len(quantiles)
    order = np.argsort(differences, kind="stable")
    share = np.cumsum(weights[order])
    places = np.searchsorted(share, np.asarray(quantiles) * share[-1])
    return [float(d) for d in differences[order][np.minimum(places, len(order) - 1)]]


def prediction_difference_by(
    first: ArrayLike, second: ArrayLike, slices: ArrayLike, weights: ArrayLike | None = None
) -> dict[object, float]:
    """`prediction_difference` per value of `slices`, `(n,)`, in order of first occurrence.

    Rows without a value (None, NaN) are left out. A value whose rows all weigh 0 has no entry. A value with a
    prediction that is not finite has NaN.

    Examples:
        >>> from tfstable.metrics import prediction_difference_by
        >>> differences = prediction_difference_by([0.5, 0.75], [0.5, 0.25], ["BR", "US"])
        >>> differences["BR"], differences["US"]
        (0.0, 1.0)
    """
    numbers, values = pd.factorize(np.asarray(slices) if isinstance(slices, list | tuple) else slices)
    differences, weights, kept = _measured(first, second, weights)
    if len(numbers) != len(kept):
        raise ValueError(f"slices must have as many rows as the other arrays: {len(kept)}, got {len(numbers)}")
    numbers = numbers[kept]
    known = numbers >= 0
    total = np.bincount(numbers[known], weights[known], len(values))
    sums = np.bincount(numbers[known], (weights * differences)[known], len(values))
    return {value: float(s / w) for value, s, w in zip(values, sums, total, strict=True) if w > 0}


def _measured(
    first: ArrayLike, second: ArrayLike, weights: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference (NaN if a prediction is not finite) and weight of each row that counts, and which rows count."""
    first = column("first", first)
    second = column("second", second, len(first))
    rows = counted_rows(np.zeros(len(first)), first, weights)
    p1, p2 = (np.where(np.isfinite(p[rows.kept]), p[rows.kept], np.nan) for p in (first, second))
    total = np.abs(p1) + np.abs(p2)
    return 2 * np.abs(p1 - p2) / np.where(total == 0, 1.0, total), rows.weights, rows.kept
