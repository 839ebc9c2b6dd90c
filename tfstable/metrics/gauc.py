"""AUC within groups (users, requests), averaged: the quality of the ranking inside one feed."""

from typing import Literal

from numpy.typing import ArrayLike

from tfstable.metrics.lists import Lists


def gauc(
    labels: ArrayLike,
    predictions: ArrayLike,
    groups: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    weighting: Literal["impressions", "positives"] = "impressions",
) -> float:
    """Mean of the groups' exact AUCs, each weighted by the group's impressions.

        GAUC = sum_g n_g AUC_g / sum_g n_g,  n_g the weight of the group's rows, over groups that have both classes

    Args:
        labels: `(n,)`, 0 or 1; NaN masks a row.
        predictions: `(n,)` scores. Rows that are left out may hold any value.
        groups: `(n,)` ids, integers or strings. Rows without one (None, NaN, "" or the smallest int64) are left out.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.
        weighting: "impressions": n_g is the weight of all rows of the group. "positives": of its positives alone, as
            some public results on KuaiRand have it.

    Returns:
        A number between 0 and 1; NaN if no group has both classes or a prediction of a row that counts is not finite.
        No loop over groups: O(n log n) for any number of groups.

    Raises:
        ValueError: If the arrays do not match, a label is not 0 or 1, a weight is negative or not finite, or
            `weighting` is unknown.

    Reference:
        Zhu et al., "Optimized Cost per Click in Taobao Display Advertising", 2017.

    Examples:
        User a's AUC is 1 and user b's is 0. User b has three of the five rows:

        >>> from tfstable.metrics import gauc
        >>> gauc([1, 0, 1, 0, 0], [0.9, 0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "b", "b"])
        0.4
    """
    if weighting not in ("impressions", "positives"):
        raise ValueError(f"weighting must be impressions or positives, got {weighting!r}")
    return Lists(labels, predictions, groups, weights, binary=True).auc(weighting).mean
