"""How far the values of a later day lie from those that a model was fitted on. NumPy only."""

import numpy as np


def standardised_shift(x: np.ndarray, mean: float, deviation: float) -> float:
    """Returns how far the mean has moved, in fitted standard deviations: (mean(x) - mean) / deviation.

    Args:
        x: `(values,)` finite floats.
        mean, deviation: The fitted moments.

    Returns:
        NaN without a value, or with a deviation of 0.

    Examples:
        >>> import numpy as np
        >>> from tfstable.analysis.drift import standardised_shift
        >>> standardised_shift(np.array([4.0, 6.0]), mean=1.0, deviation=2.0)
        2.0
    """
    return float((x.mean() - mean) / deviation) if len(x) and deviation else float("nan")


def deviation_ratio(x: np.ndarray, deviation: float) -> float:
    """Returns the standard deviation over the fitted one; NaN without a value, or with a fitted deviation of 0.

    Args:
        x: `(values,)` finite floats.
        deviation: The fitted standard deviation.
    """
    return float(x.std() / deviation) if len(x) and deviation else float("nan")


def population_stability_index(expected: np.ndarray, actual: np.ndarray, draws: int | None = None) -> float:
    """Returns the population stability index of counts per bucket, without what sampling alone adds:

        PSI = sum_i (a_i - e_i) ln(a_i / e_i) - (B - 1) (1 / n' + 1 / m'), at least 0

    where e and a are the shares of the B buckets among n expected and m actual values, with half a value added to each
    count, so that an empty bucket has a logarithm. n' and m' are n and m, or `draws` where that is less. Two samples of
    one distribution have a sum of about the second term. By the usual rule of thumb, a PSI below 0.1 is no change, and
    one above 0.25 a large one.

    Args:
        expected, actual: `(buckets,)` counts.
        draws: Number of independent values, if there are fewer than rows: the length of a video comes once per video,
            whose rows all have it. None: as many as rows.

    Returns:
        NaN if either has no value.

    References:
        Siddiqi, "Credit Risk Scorecards", 2006 (the rule of thumb).
        Yurdakul, Naranjo, "Statistical Properties of the Population Stability Index", 2020 (the second term).

    Examples:
        Ten of a hundred values have moved from one bucket of two to the other, on large samples:

        >>> import numpy as np
        >>> from tfstable.analysis.drift import population_stability_index
        >>> round(population_stability_index(np.array([5e6, 5e6]), np.array([4e6, 6e6])), 4)
        0.0405
    """
    n, m, B = float(expected.sum()), float(actual.sum()), len(expected)
    if not n or not m:
        return float("nan")
    e, a = (expected + 0.5) / (n + B / 2), (actual + 0.5) / (m + B / 2)
    noise = (B - 1) * (1 / min(n, draws or n) + 1 / min(m, draws or m))
    return max(0.0, float(((a - e) * np.log(a / e)).sum()) - noise)
