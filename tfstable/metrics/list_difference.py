"""Do two models rank the lists of the same groups differently by more than the day's noise?"""

from typing import NamedTuple

import numpy as np

from tfstable.metrics.lists import GroupValues


class ListDifference(NamedTuple):
    """A metric of lists of two models on the same groups, their difference, and draws of all three."""

    first: float
    second: float
    difference: float  # second - first
    difference_se: float
    draws: np.ndarray  # (samples, 2) of both models on days with other groups; empty without a group


def list_bootstrap(first: GroupValues, second: GroupValues, *, samples: int = 1000, seed: int = 0) -> ListDifference:
    """Compares a metric of lists, resampling whole groups with replacement.

    Both models are measured on the same draws: `draws[:, 1] - draws[:, 0]` are draws of the difference, and their
    quantiles give its interval. The standard error needs no draws: with d_g the difference of a group, u_g its weight
    and D the mean difference, it is sqrt(G / (G - 1) sum_g u_g^2 (d_g - D)^2) / sum_g u_g.

    Args:
        first, second: Values of the same groups, as `Lists` of the same labels, groups and weights returns them.
        samples: Number of draws, at least 1.
        seed: Seed of the draws.

    Returns:
        NaN if there is no group; a NaN error for a single group. A draw costs O(groups).

    Raises:
        ValueError: If the groups differ, or `samples` is below 1.

    Reference:
        Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, section 8.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not len(first.values) or not len(second.values):  # A prediction of a model is not finite, or no group counts.
        return ListDifference(first.mean, second.mean, float("nan"), float("nan"), np.empty((0, 2)))
    if not np.array_equal(first.weights, second.weights):
        raise ValueError("the groups of the two models differ: give both the same labels, groups and weights")
    values, u, G = np.stack([first.values, second.values]), first.weights, len(first.values)
    d = values[1] - values[0]
    D = np.average(d, weights=u)
    variance = G / (G - 1) * np.sum((u * (d - D)) ** 2) / u.sum() ** 2 if G > 1 else float("nan")
    generator, draws = np.random.default_rng(seed), np.empty((samples, 2))
    for draw in draws:
        times = u * np.bincount(generator.integers(0, G, G), minlength=G)  # (groups,)
        draw[:] = np.sum(values * times, axis=1) / times.sum()
    return ListDifference(first.mean, second.mean, float(D), float(np.sqrt(variance)), draws)
