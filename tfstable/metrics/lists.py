"""Rows sorted into the lists of their groups, from which every metric of a list is computed without a loop."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfstable.metrics.rows import check, check_binary, column, counted_rows, group_numbers


class GroupValues(NamedTuple):
    """A metric of each group that counts, in the order of the groups' first rows."""

    values: np.ndarray  # (groups,) float64; empty if nothing can be measured
    weights: np.ndarray  # (groups,) float64, positive

    @property
    def mean(self) -> float:
        """Weighted mean over groups; NaN without a group."""
        return float(np.average(self.values, weights=self.weights)) if len(self.values) else float("nan")


class Lists:
    """The rows of each group, ranked by prediction. Rows of equal prediction form a tie.

    Sort once, measure often: `ndcg`, `recall`, `mrr`, `mean_average_precision` and `gauc` of this package are the means
    of what the methods here return per group (`dcg` has no function of its own). A metric is the expectation over all
    orders of the rows within each tie. Positions count rows. The weight of a row multiplies its gain; a group weighs
    the mean weight of its gains,

        u_g = sum_i w_i y_i / sum_i y_i   over the rows i of group g

    so weights that are equal within each group weigh the groups, and weights of negatives do not matter. A group counts
    if it has a positive. Where the log holds a sample of the negatives, `copies` says how many rows of the population
    each stands for; positions then count those, and a fraction of a position has that fraction of its worth. Such
    estimates are biased for small samples (Krichene, Rendle, "On Sampled Metrics for Item Recommendation", 2020).

    Args:
        labels: `(n,)`, 0 or 1; NaN masks a row.
        predictions: `(n,)` scores, only their order within a group matters. Rows left out may hold any value.
        groups: `(n,)` ids, integers or strings. Rows without one (None, NaN, "" or the smallest int64) are left out.
        weights: `(n,)` example weights, at least 0; a row of weight 0 is left out. Default: 1 per row.
        copies: `(n,)` rows that each row stands for, at least 1, such as 1 / rate for sampled negatives. Default: 1.
        binary: False lets labels be any gains of at least 0, for `ndcg` and `recall`; a positive is a row with a gain.

    Raises:
        ValueError: If the arrays do not match, a label is outside its domain, or a weight is negative or not finite.

    Reference:
        Expectation over ties: McSherry, Najork, "Computing Information Retrieval Performance Measures Efficiently in
        the Presence of Tied Scores", 2008.
    """

    def __init__(
        self,
        labels: ArrayLike,
        predictions: ArrayLike,
        groups: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        copies: ArrayLike | None = None,
        binary: bool = True,
    ):
        rows = counted_rows(labels, predictions, weights)
        if binary:
            check_binary(rows.labels)
        else:
            check("labels", rows.labels, lambda y: y >= 0, "at least 0 (NaN where masked)")
        group = group_numbers(groups, len(rows.kept))[rows.kept]
        grouped = np.flatnonzero(group >= 0)
        #: Whether a row counts, and all predictions of rows that count are finite.
        self.measurable = bool(len(grouped)) and bool(np.isfinite(rows.predictions[grouped]).all())
        if not self.measurable:
            grouped = grouped[:0]
        order = grouped[_sorted(rows.predictions[grouped], group[grouped])]
        group, scores = group[order], rows.predictions[order]
        self._labels, self._weights = rows.labels[order], rows.weights[order]  # (rows,) from the lowest score up
        self._copies: np.ndarray | None = None  # (rows,)
        if copies is not None:
            self._copies = column("copies", copies, len(rows.kept))[rows.kept][order]
            check("copies", self._copies, lambda c: np.isfinite(c) & (c >= 1), "finite and at least 1")
        new_group = np.r_[True, group[1:] != group[:-1]] if len(group) else np.zeros(0, bool)
        new_tie = new_group | np.r_[True, scores[1:] != scores[:-1]] if len(group) else new_group
        self._ties = np.flatnonzero(new_tie)  # (ties,) first row of each tie
        self._firsts = np.flatnonzero(new_group[self._ties])  # (groups,) the first tie of each group
        self._group_of_row = np.cumsum(new_group) - 1  # (rows,)
        self._group_of_tie = self._group_of_row[self._ties]  # (ties,)

    def ndcg(self, k: int) -> GroupValues:
        """Normalised discounted cumulative gain of each group's k best rows; see `tfstable.metrics.ndcg`."""
        discounts = np.r_[0.0, np.cumsum(1 / np.log2(np.arange(2, _at_least_1(k) + 2)))]  # (k + 1,) of the top i rows
        return self._per_group(self._gained(discounts) / self._counted(self._ideal(discounts)))

    def dcg(self, k: int) -> GroupValues:
        """Discounted cumulative gain of each group's k best rows: the utility of a list whose gains have a unit.

            DCG_g = sum_{i in g, r_i <= k} w_i y_i / log2(1 + r_i) / u_g

        Groups, ties and u_g are those of `ndcg`.
        """
        discounts = np.r_[0.0, np.cumsum(1 / np.log2(np.arange(2, _at_least_1(k) + 2)))]
        found = self._per_group(self._gained(discounts))
        return found._replace(values=found.values / found.weights)

    def recall(self, k: int) -> GroupValues:
        """Share of each group's gain that is in its k best rows; see `tfstable.metrics.recall`."""
        hits = self._gained(np.arange(_at_least_1(k) + 1.0))
        return self._per_group(hits / self._counted(self._sums(self._gains)))

    def reciprocal_rank(self) -> GroupValues:
        """1 / position of each group's first positive; see `tfstable.metrics.mrr`."""
        # Of a tie of n rows, m of them positive, behind `above` rows, the first positive is row j with probability
        #     C(n - j, m - 1) / C(n, m),  j = 1 .. n - m + 1,
        # of which what is beyond j = 40 n / m adds up to less than exp(-40).
        found = np.flatnonzero(self._positives > 0)
        group = self._group_of_tie[found]
        top = found[np.r_[group[1:] != group[:-1], True][: len(found)]]  # (groups that count,)
        n, m, above = (np.rint(counts[top]).astype(np.int64) for counts in (self._sizes, self._positives, self._above))
        terms = np.where(m > 1, np.minimum(n - m + 1, 40 * n // m + 1), 0)
        tie = np.repeat(np.arange(len(top)), terms)
        j = 1 + np.arange(len(tie)) - np.repeat(np.cumsum(terms) - terms, terms)
        log_factorial = np.r_[0.0, np.cumsum(np.log(np.arange(1, n[m > 1].max(initial=0) + 1)))]
        n_of, m_of = n[tie], m[tie]
        chance = np.exp(
            (log_factorial[n_of - m_of] - log_factorial[n_of] + log_factorial[m_of] - log_factorial[m_of - 1])
            + (log_factorial[n_of - j] - log_factorial[n_of - m_of + 1 - j])
        )
        expected = np.bincount(tie, chance / (above[tie] + j), len(top))
        # A single positive is each row of the tie with probability 1 / n.
        alone = _inverses(self._above[top], self._sizes[top]) / self._sizes[top]
        of_group = np.zeros(len(self._firsts))
        of_group[self._group_of_tie[top]] = np.where(m > 1, expected, alone)
        return self._per_group(of_group)

    def average_precision(self) -> GroupValues:
        """Mean precision at each group's positives; see `tfstable.metrics.mean_average_precision`."""
        # Of a tie as above, with A positives above it, a positive is row j with probability 1 / n, and then j - 1 rows
        # of the tie precede it, of which (j - 1)(m - 1) / (n - 1) are positive on average:
        #     E[precision] = 1/n sum_j (A + 1 + (j - 1)(m - 1)/(n - 1)) / (above + j)
        n, m, above = self._sizes, self._positives, self._above
        A = self._above_in_group(self._positives)
        inverses = _inverses(above, n)  # (ties,) sum_j 1 / (above + j)
        others = (m - 1) / np.where(n > 1, n - 1, 1)
        precision = ((A + 1) * inverses + others * (n - (above + 1) * inverses)) / n
        gains = self._by_tie(self._gains)
        return self._per_group(self._sums_of_ties(gains * precision) / self._counted(self._sums_of_ties(gains)))

    def auc(self, weighting: str = "impressions") -> GroupValues:
        """AUC of each group that has both classes; see `tfstable.metrics.gauc`."""
        positive, weights = self._labels == 1, self._each(self._weights)
        won = self._by_tie(np.where(positive, weights, 0.0))  # (ties,) weight of the positives
        lost = self._by_tie(np.where(positive, 0.0, weights))  # (ties,) weight of the negatives
        through = np.cumsum(lost)
        before_group = (through - lost)[self._firsts]  # (groups,)
        below = through - lost / 2 - before_group[self._group_of_tie]  # (ties,) negatives ranked below, ties half
        pairs_won = self._sums_of_ties(won * below)  # (groups,)
        positives, negatives = self._sums_of_ties(won), self._sums_of_ties(lost)  # (groups,)
        both = (positives > 0) & (negatives > 0)
        of_group = {"impressions": positives + negatives, "positives": positives}
        return GroupValues(pairs_won[both] / (positives * negatives)[both], of_group[weighting][both])

    @cached_property
    def _gains(self) -> np.ndarray:  # (rows,)
        return self._each(self._weights * self._labels)

    @cached_property
    def _sizes(self) -> np.ndarray:  # (ties,) rows of each tie
        if self._copies is not None:
            return self._by_tie(self._copies)
        return np.diff(np.r_[self._ties, len(self._labels)])

    @cached_property
    def _above(self) -> np.ndarray:  # (ties,) rows of the group that are ranked above each tie
        return self._above_in_group(self._sizes)

    @cached_property
    def _positives(self) -> np.ndarray:  # (ties,)
        return self._by_tie(self._each((self._labels > 0).astype(np.int64)))

    @cached_property
    def _counts(self) -> np.ndarray:  # (groups,) bool: a group counts if it has a gain
        return self._sums(self._labels) > 0

    def _each(self, of_rows: np.ndarray) -> np.ndarray:
        """What the copies of a row add up to."""
        return of_rows if self._copies is None else of_rows * self._copies

    def _by_tie(self, of_rows: np.ndarray) -> np.ndarray:
        return np.add.reduceat(of_rows, self._ties) if len(self._ties) else of_rows[:0]

    def _sums_of_ties(self, of_ties: np.ndarray) -> np.ndarray:
        return np.add.reduceat(of_ties, self._firsts) if len(self._firsts) else of_ties[:0]

    def _sums(self, of_rows: np.ndarray) -> np.ndarray:
        return self._sums_of_ties(self._by_tie(of_rows))

    def _above_in_group(self, of_ties: np.ndarray) -> np.ndarray:
        """Sums a count over the ties of the same group with a higher score."""
        through = np.cumsum(of_ties)
        ends = np.r_[self._firsts[1:], len(self._ties)][: len(self._firsts)] - 1  # (groups,) the last tie of each group
        return through[ends][self._group_of_tie] - through

    def _gained(self, top: np.ndarray) -> np.ndarray:
        """Expected gain per group, each position worth the step of `top`, `(k + 1,)` cumulative from 0."""
        worth = _until(self._above + self._sizes, top) - _until(self._above, top)  # (ties,)
        return self._sums_of_ties(self._by_tie(self._gains) / self._sizes * worth)

    def _ideal(self, discounts: np.ndarray) -> np.ndarray:
        """The greatest gain per group that any order has."""
        gaining = np.flatnonzero(self._gains > 0)
        group, gain = self._group_of_row[gaining], (self._weights * self._labels)[gaining]
        copies = np.ones(len(gaining), np.int64) if self._copies is None else self._copies[gaining]
        if len(gain) and gain.min() < gain.max():
            best = np.lexsort((-gain, group))
            group, gain, copies = group[best], gain[best], copies[best]
        through = np.cumsum(copies)
        firsts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]][: len(group)])
        before = np.repeat((through - copies)[firsts], np.diff(np.r_[firsts, len(group)]))  # (rows that gain,)
        worth = _until(through - before, discounts) - _until(through - before - copies, discounts)
        return np.bincount(group, gain * worth, len(self._firsts))

    def _counted(self, of_groups: np.ndarray) -> np.ndarray:
        """A denominator, 1 for the groups that do not count."""
        return np.where(self._counts, of_groups, 1.0)

    def _per_group(self, of_groups: np.ndarray) -> GroupValues:
        weights = self._sums(self._gains) / self._counted(self._sums(self._each(self._labels)))
        return GroupValues(of_groups[self._counts], weights[self._counts])


def _sorted(scores: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The order by group, then by score, from the lowest up; NumPy's stable sort of 16-bit integers is linear."""
    order, shift = np.argsort(scores, kind="stable"), 0
    while group.max(initial=0) >> shift:
        digit = (group >> shift & 0xFFFF).astype(np.uint16)
        order, shift = order[np.argsort(digit[order], kind="stable")], shift + 16
    return order


def _until(positions: np.ndarray, top: np.ndarray) -> np.ndarray:
    """The worth of the first `positions` positions; between two whole numbers on the line through them."""
    if positions.dtype.kind == "i":
        return top[np.minimum(positions, len(top) - 1)]
    return np.interp(positions, np.arange(len(top)), top)


def _inverses(above: np.ndarray, n: np.ndarray) -> np.ndarray:
    """1 / (above + 1) + ... + 1 / (above + n), for fractions by the digamma function."""
    if not len(n):
        return np.zeros(0)
    if n.dtype.kind == "i":
        harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, (above + n).max() + 1))]
        return harmonic[above + n] - harmonic[above]
    return _digamma(above + n + 1) - _digamma(above + 1)


def _digamma(x: np.ndarray) -> np.ndarray:
    """Of x >= 1, to 1e-14: psi(x) = psi(x + 8) - sum_i 1 / (x + i), and the asymptotic series there."""
    steps = sum(1 / (x + i) for i in range(8))
    y = 1 / (x + 8) ** 2
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))
    return np.log(x + 8) - 0.5 / (x + 8) - series - steps


def _at_least_1(k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return k
