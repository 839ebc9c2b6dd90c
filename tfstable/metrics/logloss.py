"""Mean negative log-likelihood of binary labels, plain and relative to the base rate's."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import Rows, check_probabilities, column, counted_rows

#: float32 rounds 1 - 1e-8 to 1: closer to 0 and 1 than this, a float32 probability is only rounding.
CLIP = 1e-7


class EntropyDifference(NamedTuple):
    """The normalised entropies of two models on the same rows, their difference, and its standard error."""

    first: float
    second: float
    difference: float  # second - first
    difference_se: float


def log_loss(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Weighted mean of -(y log p + (1 - y) log(1 - p)), in nats, with p clipped to [1e-7, 1 - 1e-7].

    Args:
        labels: `(n,)` between 0 and 1; NaN masks a row.
        predictions: `(n,)` probabilities (not logits), float32 or float64; computed in float64.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.

    Returns:
        A number, at least 0; NaN if no row counts or a prediction of a row that counts is not finite.

    Raises:
        ValueError: If the arrays do not match, or a label, probability or weight is outside its domain.

    Examples:
        >>> from tfstable.metrics import log_loss
        >>> round(log_loss([1, 0], [0.5, 0.5]), 4)  # A coin: log 2.
        0.6931
    """
    rows = counted_rows(labels, predictions, weights)
    check_probabilities("labels", rows.labels)
    check_probabilities("predictions", rows.predictions)
    if not rows.measurable:
        return float("nan")
    return float(np.average(_losses(rows), weights=rows.weights))


def normalised_entropy(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Log loss over the log loss of always predicting the base rate: below 1 is better than knowing the rate alone.

        NE = log_loss / -(b log b + (1 - b) log(1 - b)),   b = sum_i w_i y_i / sum_i w_i

    Unlike the log loss it can be compared between tasks and days of different base rates. It sees calibration, too.

    Args, errors: As in `log_loss`.

    Returns:
        A number, at least 0; NaN where `log_loss` is, or if all labels are 0 or all are 1.

    Reference:
        He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", 2014.

    Examples:
        >>> from tfstable.metrics import normalised_entropy
        >>> round(normalised_entropy([1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]), 4)
        1.0
    """
    rows = counted_rows(labels, predictions, weights)
    loss = log_loss(labels, predictions, weights)
    return loss / _entropy(rows) if rows.measurable and _entropy(rows) > 0 else float("nan")


def normalised_entropy_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None
) -> EntropyDifference:
    """Compares the normalised entropies of two models on the same rows.

    The standard error is that of the mean difference d of the rows' losses, over the entropy H of the base rate, which
    both models share: sqrt(n / (n - 1) sum w^2 (d - mean d)^2) / (H sum w). It assumes independent rows.

    Args:
        labels, weights: As in `log_loss`.
        first, second: `(n,)` probabilities of the two models.

    Returns:
        NaN where the normalised entropy of either model is; a NaN error for a single row.

    Raises:
        ValueError: As in `log_loss`.
    """
    labels = column("labels", labels)
    first, second = column("first", first, len(labels)), column("second", second, len(labels))
    values = [normalised_entropy(labels, p, weights) for p in (first, second)]
    if not np.isfinite(values).all():
        return EntropyDifference(*[float("nan")] * 4)
    one, other = counted_rows(labels, first, weights), counted_rows(labels, second, weights)
    w, n, d = one.weights, len(one.labels), _losses(other) - _losses(one)
    mean = np.average(d, weights=w)
    variance = n / (n - 1) * np.sum((w * (d - mean)) ** 2) / w.sum() ** 2
    H = _entropy(one)
    return EntropyDifference(values[0], values[1], float(mean / H), float(np.sqrt(variance) / H))


def _losses(rows: Rows) -> np.ndarray:
    """(rows,) in nats."""
    y, p = rows.labels, np.clip(rows.predictions, CLIP, 1 - CLIP)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def _entropy(rows: Rows) -> float:
    """Entropy of the base rate in nats; 0 without a row."""
    b = float(np.average(rows.labels, weights=rows.weights)) if len(rows.labels) else 0.0
    return float(-(b * np.log(b) + (1 - b) * np.log1p(-b))) if 0 < b < 1 else 0.0
