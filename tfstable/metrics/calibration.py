"""Do the predicted probabilities match the observed rates?"""

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import check, check_probabilities, counted_rows


def calibration(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Sum of the predictions over the sum of the labels: 1 is calibrated, 1.1 predicts 10% too much.

    Args:
        labels: `(n,)`, at least 0; NaN masks a row.
        predictions: `(n,)` probabilities, or a regression's predictions.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.

    Returns:
        The ratio; NaN if the labels sum to 0 or a prediction of a row that counts is not finite.

    Raises:
        ValueError: If the arrays do not match, or a label or weight is negative or not finite.

    Examples:
        >>> from tfstable.metrics import calibration
        >>> calibration([1, 0, 0, 0], [0.5, 0.25, 0.25, 0.25])  # 1.25 clicks predicted, 1 seen
        1.25
    """
    rows = counted_rows(labels, predictions, weights)
    check("labels", rows.labels, lambda y: y >= 0, "at least 0 (NaN where masked)")
    expected = np.sum(rows.weights * rows.labels)
    if not rows.measurable or expected == 0:
        return float("nan")
    return float(np.sum(rows.weights * rows.predictions) / expected)


def expected_calibration_error(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None, *, bins: int = 20
) -> float:
    """Mean distance between predicted and observed rate, over bins with about equal numbers of rows.

        ECE = sum_b W_b |mean_b(p) - mean_b(y)| / sum_b W_b

    Equal predictions share a bin, so the result does not depend on the order of the rows. The noise of the observed
    rates biases it upwards: a perfect model gets about sqrt(2 p (1 - p) / (pi n)) with n rows per bin.

    Args:
        labels: `(n,)` between 0 and 1; NaN masks a row.
        predictions: `(n,)` probabilities.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.
        bins: Number of bins, at least 1.

    Returns:
        A number between 0 and 1; NaN if no row counts or a prediction of a row that counts is not finite.

    Raises:
        ValueError: If the arrays do not match, or a value is outside its domain.

    Reference:
        Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015 (bins of
        equal width); bins of equal mass after Nguyen, O'Connor, "Posterior Calibration and Exploratory Analysis for
        Natural Language Processing Models", 2015.

    Examples:
        >>> from tfstable.metrics import expected_calibration_error
        >>> expected_calibration_error([0, 1, 1, 1], [0.5, 0.5, 0.75, 0.75], bins=2)
        0.125
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    rows = counted_rows(labels, predictions, weights)
    check_probabilities("labels", rows.labels)
    check_probabilities("predictions", rows.predictions)
    if not rows.measurable:
        return float("nan")
    edges = np.quantile(rows.predictions, np.arange(1, bins) / bins)
    of_row = np.searchsorted(edges, rows.predictions, side="right")  # (rows,) 0..bins-1
    gap = np.bincount(of_row, weights=rows.weights * (rows.predictions - rows.labels))  # (bins,)
    return float(np.abs(gap).sum() / rows.weights.sum())
