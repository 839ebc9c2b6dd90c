"""How many of the shown items change when one model replaces another?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import column, group_numbers


class Churn(NamedTuple):
    replaced: float  # Mean share of a group's top k that is not in the other model's top k.
    groups: int  # Number of groups that count: groups with more than k rows.


def top_k_churn(first: ArrayLike, second: ArrayLike, groups: ArrayLike, k: int = 10) -> Churn:
    """Share of the k best-scored rows of each group that change from one model to the other, averaged over groups.

        churn = mean_g (1 - |T_1(g) & T_2(g)| / k),  T_m(g) the k rows of group g that model m scores highest

    Only groups with more than k rows count: a smaller group shows all its rows under both models. Of equal scores the
    earlier row ranks first, for both models. Labels and weights do not matter, because a user does not see them.

    Args:
        first, second: `(n,)` scores of the two models. Rows that are left out may hold any value.
        groups: `(n,)` ids of users or requests. Rows without one (None, NaN, "" or the smallest int64) are left out.
        k: Length of the list, at least 1.

    Returns:
        A share between 0 and 1, and the number of groups that count. The share is NaN if no group has more than k rows
        or a score in a group that counts is not finite. Symmetric in the models; O(n log n) for any number of groups.

    Raises:
        ValueError: If the arrays do not match, or k is below 1.

    Examples:
        One of the user's two best items is replaced:

        >>> from tfstable.metrics import top_k_churn
        >>> top_k_churn([0.9, 0.8, 0.1], [0.9, 0.1, 0.8], ["a", "a", "a"], k=2)
        Churn(replaced=0.5, groups=1)
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    first = column("first", first)
    second = column("second", second, len(first))
    group = group_numbers(groups, len(first))
    counted = np.flatnonzero(np.bincount(group[group >= 0]) > k)
    kept = np.isin(group, counted)
    if not len(counted) or not (np.isfinite(first) & np.isfinite(second))[kept].all():
        return Churn(float("nan"), len(counted))
    group = group[kept]
    both = _in_top(first[kept], group, k) & _in_top(second[kept], group, k)
    return Churn(float(1 - both.sum() / (k * len(counted))), len(counted))


def _in_top(scores: np.ndarray, group: np.ndarray, k: int) -> np.ndarray:
    """(rows,) bool: whether a row is among the k best of its group."""
    order = np.lexsort((-scores, group))  # Stable: among equal scores the earlier row comes first.
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) != 0])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    within = np.empty(len(order), bool)
    within[order] = place < k
    return within
