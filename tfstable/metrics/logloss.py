"""Mean negative log-likelihood of binary labels."""

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import check_probabilities, counted_rows

#: float32 rounds 1 - 1e-8 to 1: closer to 0 and 1 than this, a float32 probability is only rounding.
CLIP = 1e-7


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
    y, p = rows.labels, np.clip(rows.predictions, CLIP, 1 - CLIP)
    return float(np.average(-(y * np.log(p) + (1 - y) * np.log1p(-p)), weights=rows.weights))
