"""AUC within groups (users, requests), averaged: the quality of the ranking inside one feed."""

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import check_binary, counted_rows, group_numbers


def gauc(labels: ArrayLike, predictions: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean of the groups' exact AUCs, each weighted by the group's impressions.

        GAUC = sum_g n_g AUC_g / sum_g n_g,  n_g the weight of the group's rows, over groups that have both classes

    Args:
        labels: `(n,)`, 0 or 1; NaN masks a row.
        predictions: `(n,)` scores. Rows that are left out may hold any value.
        groups: `(n,)` ids, integers or strings. Rows without one (None, NaN, "" or the smallest int64) are left out.
        weights: `(n,)` example weights, at least 0. Default: 1 per row.

    Returns:
        A number between 0 and 1; NaN if no group has both classes or a prediction of a row that counts is not finite.
        No loop over groups: O(n log n) for any number of groups.

    Raises:
        ValueError: If the arrays do not match, a label is not 0 or 1, or a weight is negative or not finite.

    Reference:
        Zhu et al., "Optimized Cost per Click in Taobao Display Advertising", 2017.

    Examples:
        User a's AUC is 1 and user b's is 0. User b has three of the five rows:

        >>> from tfstable.metrics import gauc
        >>> gauc([1, 0, 1, 0, 0], [0.9, 0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "b", "b"])
        0.4
    """
    rows = counted_rows(labels, predictions, weights)
    check_binary(rows.labels)
    group = group_numbers(groups, len(rows.kept))[rows.kept]
    grouped = np.flatnonzero(group >= 0)
    if not len(grouped) or not np.isfinite(rows.predictions[grouped]).all():
        return float("nan")

    order = grouped[np.lexsort((rows.predictions[grouped], group[grouped]))]
    group, scores, weight = group[order], rows.predictions[order], rows.weights[order]
    positive = rows.labels[order] == 1
    new_group = np.r_[True, group[1:] != group[:-1]]
    ties = np.flatnonzero(new_group | np.r_[True, scores[1:] != scores[:-1]])  # (ties,) first row of each tie
    firsts = np.flatnonzero(new_group[ties])  # (groups,) the first tie of each group
    group_of_tie = np.cumsum(new_group[ties]) - 1  # (ties,)

    won = np.add.reduceat(np.where(positive, weight, 0.0), ties)  # (ties,) weight of the positives
    lost = np.add.reduceat(np.where(positive, 0.0, weight), ties)  # (ties,) weight of the negatives
    through = np.cumsum(lost)
    before_group = (through - lost)[firsts]  # (groups,)
    below = through - lost / 2 - before_group[group_of_tie]  # (ties,) negatives of the group ranked below, ties half
    pairs_won = np.add.reduceat(won * below, firsts)  # (groups,)
    positives, negatives = np.add.reduceat(won, firsts), np.add.reduceat(lost, firsts)  # (groups,)
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return float("nan")
    auc_of_group = pairs_won[both] / (positives * negatives)[both]
    return float(np.average(auc_of_group, weights=(positives + negatives)[both]))
