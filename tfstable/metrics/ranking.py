"""Metrics of the top of each group's list: NDCG, MRR, recall and MAP, averaged over groups."""

from numpy.typing import ArrayLike

from tfstable.metrics.lists import Lists


def ndcg(
    labels: ArrayLike,
    predictions: ArrayLike,
    groups: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    k: int = 10,
) -> float:
    """Mean normalised discounted cumulative gain of the groups' k best-scored rows.

        NDCG = sum_g u_g DCG_g / IDCG_g / sum_g u_g,   DCG_g = sum_{i in g, r_i <= k} w_i y_i / log2(1 + r_i)

    r_i is the position of row i in its group, counted in rows from 1, and IDCG the greatest DCG that an order of the
    group has. Rows of equal prediction count with the expectation over their orders. u_g is the mean weight of the
    group's gains, sum w y / sum y: 1 without weights. The weights of negatives do not matter, unless they are 0.

    Args:
        labels: `(n,)`, at least 0: the gain of a row, such as 0 or 1, or a rating. NaN masks a row. For the gain
            2^y - 1 of graded relevance, pass that.
        predictions: `(n,)` scores. Rows that are left out may hold any value.
        groups: `(n,)` ids of requests or users. Rows without one (None, NaN, "" or the smallest int64) are left out.
        weights: `(n,)` example weights, at least 0; a row of weight 0 is left out. Default: 1 per row.
        k: Length of the list, at least 1.

    Returns:
        A number between 0 and 1, over the groups that have a label above 0; NaN if there is none, or a prediction of a
        row that counts is not finite. O(n log n) for any number of groups.

    Raises:
        ValueError: If the arrays do not match, a label is negative, a weight is negative or not finite, or k is below
            1.

    Reference:
        Järvelin, Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", 2002; ties after McSherry, Najork,
        "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores", 2008.

    Examples:
        The only positive is second of three, and 1 / log2(3) = 0.63:

        >>> from tfstable.metrics import ndcg
        >>> round(ndcg([0, 1, 0], [0.9, 0.8, 0.1], ["a", "a", "a"], k=2), 4)
        0.6309
    """
    return Lists(labels, predictions, groups, weights, binary=False).ndcg(k).mean


def recall(
    labels: ArrayLike,
    predictions: ArrayLike,
    groups: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    k: int = 10,
) -> float:
    """Mean share of a group's positives that are among its k best-scored rows.

        Recall_g = sum_{i in g, r_i <= k} w_i y_i / sum_{i in g} w_i y_i

    A group with more than k positives cannot reach 1. Positions, ties, weights and the mean over groups are those of
    `ndcg`.

    Args, returns, errors: As in `ndcg`.

    Examples:
        >>> from tfstable.metrics import recall
        >>> recall([1, 0, 1], [0.9, 0.8, 0.1], ["a", "a", "a"], k=2)
        0.5
    """
    return Lists(labels, predictions, groups, weights, binary=False).recall(k).mean


def mrr(labels: ArrayLike, predictions: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean reciprocal rank: the mean of 1 / position of a group's first positive.

    Positions count rows from 1; ties, weights and the mean over groups are those of `ndcg`.

    Args:
        labels: `(n,)`, 0 or 1; NaN masks a row.
        predictions, groups, weights: As in `ndcg`.

    Returns, errors: As in `ndcg`.

    Reference:
        Voorhees, "The TREC-8 Question Answering Track Report", 1999; ties as in `ndcg`.

    Examples:
        User a's first positive is second. User b's is first or second, as their predictions are equal: 3/4 expected.

        >>> from tfstable.metrics import mrr
        >>> mrr([0, 1, 0, 1], [0.9, 0.8, 0.5, 0.5], ["a", "a", "b", "b"])
        0.625
    """
    return Lists(labels, predictions, groups, weights).reciprocal_rank().mean


def mean_average_precision(
    labels: ArrayLike, predictions: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """MAP: the mean over groups of the mean precision at the group's positives.

        AP_g = sum_{i in g} w_i y_i P_i / sum_{i in g} w_i y_i,   P_i = positives at positions up to r_i / r_i

    Precision counts rows; ties, weights and the mean over groups are those of `ndcg`. For the average precision of a
    whole day without groups, see `average_precision`.

    Args:
        labels: `(n,)`, 0 or 1; NaN masks a row.
        predictions, groups, weights: As in `ndcg`.

    Returns, errors: As in `ndcg`.

    Reference:
        Buckley, Voorhees, "Evaluating Evaluation Measure Stability", 2000; ties as in `ndcg`.

    Examples:
        The positives are first and third, with a precision of 1 and of 2/3:

        >>> from tfstable.metrics import mean_average_precision
        >>> round(mean_average_precision([1, 0, 1], [0.9, 0.8, 0.1], ["a", "a", "a"]), 4)
        0.8333
    """
    return Lists(labels, predictions, groups, weights).average_precision().mean
