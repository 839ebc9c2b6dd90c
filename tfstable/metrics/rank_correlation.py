"""Do two models rank the same rows in the same order?"""

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import column


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rho: Pearson's correlation of the ranks; equal scores share the mean of their ranks.

    Args:
        first, second: `(n,)` scores of two models for the same rows.

    Returns:
        A number between -1 and 1; NaN if a score is not finite or all scores of a model are equal. O(n log n).

    Raises:
        ValueError: If the arrays do not match.

    Reference:
        Spearman, "The Proof and Measurement of Association between Two Things", 1904.

    Examples:
        >>> from tfstable.metrics import spearman
        >>> round(spearman([0.1, 0.2, 0.3], [1.0, 2.0, 9.0]), 9), round(spearman([0.1, 0.2, 0.3], [3.0, 2.0, 1.0]), 9)
        (1.0, -1.0)
    """
    pair = _pair(first, second)
    if pair is None:
        return float("nan")
    x, y = (_mean_ranks(scores) for scores in pair)
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt(x @ x) * np.sqrt(y @ y)
    return float(x @ y / spread) if spread > 0 else float("nan")


def kendall(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau-b, from C pairs of rows that both models order alike and D pairs that they order differently.

        tau_b = (C - D) / sqrt((N - T_1)(N - T_2)),  N = n (n - 1) / 2, T_m the pairs that model m scores equally

    Args, returns, errors: As in `spearman`. O(n log n).

    Reference:
        Kendall, "The Treatment of Ties in Ranking Problems", 1945; in O(n log n) after Knight, "A Computer Method for
        Calculating Kendall's Tau with Ungrouped Data", 1966, with a radix sort instead of his merge sort.

    Examples:
        Two of the three pairs are in the same order:

        >>> from tfstable.metrics import kendall
        >>> round(kendall([1, 2, 3], [1, 3, 2]), 4)
        0.3333
    """
    pair = _pair(first, second)
    if pair is None:
        return float("nan")
    order = np.lexsort(pair[::-1])  # So ties in both, or only in the first, are not inversions.
    x, y = (np.unique(scores[order], return_inverse=True)[1].astype(np.int64) for scores in pair)
    n = len(x)
    pairs = n * (n - 1) // 2
    tied_x, tied_y = _pairs_tied(x), _pairs_tied(y)
    tied_both = _pairs_tied(x * (y.max() + 1) + y)
    discordant = _inversions(y)
    concordant = pairs - tied_x - tied_y + tied_both - discordant
    spread = np.sqrt(float(pairs - tied_x)) * np.sqrt(float(pairs - tied_y))
    return float((concordant - discordant) / spread) if spread > 0 else float("nan")


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray] | None:
    """The scores of both models; None if they cannot be ranked."""
    first = column("first", first)
    second = column("second", second, len(first))
    if not len(first) or not (np.isfinite(first) & np.isfinite(second)).all():
        return None
    return first, second


def _mean_ranks(scores: np.ndarray) -> np.ndarray:
    _, tie, size = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - (size - 1) / 2)[tie]


def _pairs_tied(x: np.ndarray) -> int:
    size = np.unique(x, return_counts=True)[1].astype(np.int64)
    return int(np.sum(size * (size - 1) // 2))


def _inversions(y: np.ndarray) -> int:
    """Pairs i < j with y_i > y_j, for integers >= 0, by a radix sort from the highest bit down, one pass per bit.

    The first bit in which two rows differ decides: they are an inversion if the earlier row has 1 and the later 0. Rows
    stay sorted by the higher bits, equal ones in their old order, so such pairs lie within runs of equal higher bits.
    """
    total, run = 0, np.zeros(len(y), np.int64)  # run: where the run of a row begins
    for bit in range(int(y.max()).bit_length() - 1, -1, -1):
        one = (y >> bit) & 1
        ones = np.r_[0, np.cumsum(one)]  # (rows + 1,) ones before each row
        ones_before = ones[:-1] - ones[run]  # within its run
        total += int(ones_before[one == 0].sum())
        place = np.arange(len(y))
        end = np.r_[np.flatnonzero(np.diff(run)) + 1, len(y)]  # of each run
        run_end = np.repeat(end, np.diff(np.r_[0, end]))
        zeros = run_end - run - (ones[run_end] - ones[run])  # zeros in the run
        to = np.where(one == 1, run + zeros + ones_before, place - ones_before)
        new_run = np.where(one == 1, run + zeros, run)
        y_sorted, run_sorted = np.empty_like(y), np.empty_like(run)
        y_sorted[to], run_sorted[to] = y, new_run
        y, run = y_sorted, run_sorted
    return total
