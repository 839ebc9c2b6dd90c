"""How many of the shown items change when one model takes the place of another?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import column, group_numbers


class Churn(NamedTuple):
    replaced: float  # Mean share of a group's top k that the other model does not have in its own.
    groups: int  # Groups that were counted: those with more than k rows.


def top_k_churn(first: ArrayLike, second: ArrayLike, groups: ArrayLike, k: int = 10) -> Churn:
    """Share of the k best-scored rows of each group that change from one model to the other, averaged over groups.

        churn = mean_g (1 - |T_1(g) & T_2(g)| / k),  T_m(g) the k rows of group g that model m scores highest

    Only groups with more than k rows count: in a smaller one nothing can be replaced. Of equal scores the earlier row
    is the better one, for both models. No label or weight plays a part: this is what a user sees.

    Args:
        first, second: `(n,)` scores of the two models. They may be anything where a row is left out.
        groups: `(n,)` ids of users or requests. Rows without one (None, NaN, "" or the smallest int64) are left out.
        k: Length of the list, at least 1.

    Returns:
        A share between 0 and 1, and the number of groups behind it; the share is NaN if no group has more than k rows
        or a score in a group that counts is not finite. Symmetric in the models; O(n log n) however many groups there
        are.

    Raises:
        ValueError: If the arrays do not match, or k is below 1.

    Examples:
        Of the user's two best, one is replaced:

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
    order = np.lexsort((-scores, group))  # Stable: of equal scores the earlier row comes first.
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) != 0])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    within = np.empty(len(order), bool)
    within[order] = place < k
    return within
