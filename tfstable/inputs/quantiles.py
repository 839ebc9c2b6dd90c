"""Boundaries that cut a column into buckets, as gradient-boosted trees bin a number."""

import heapq

import numpy as np

SAMPLE = 200_000  # Sampled values per column, from which its boundaries are computed.


class Sample:
    """A uniform sample of a column that arrives in pieces: the `SAMPLE` values whose positions hash smallest.

    It depends only on the column, not on a random generator or on how the column is cut into pieces. Unlike every k-th
    value, it is independent of the column's order, which is sorted or periodic in many logs.

    Attributes:
        values: `(values,)` float64.
        count: Values of the whole column so far.
    """

    def __init__(self) -> None:
        self.values, self._hashes, self.count = np.empty(0), np.empty(0, np.uint64), 0

    def add(self, x: np.ndarray) -> None:
        """Adds a piece, `(values,)` finite float64."""
        hashes = _mix(np.arange(self.count, self.count + len(x), dtype=np.uint64))
        self.count += len(x)
        self.values, self._hashes = np.concatenate([self.values, x]), np.concatenate([self._hashes, hashes])
        if len(self.values) > SAMPLE:
            smallest = np.argpartition(self._hashes, SAMPLE)[:SAMPLE]
            self.values, self._hashes = self.values[smallest], self._hashes[smallest]


def boundaries(sample: np.ndarray, buckets: int) -> list[float]:
    """Returns increasing inner boundaries that cut a sample into min(`buckets`, different values) buckets.

    Bucket i holds the x with boundary i <= x < boundary i + 1. A value frequent enough to fill a bucket gets its own,
    and the other values share the remaining buckets by quantiles: in a column of zeros with a tail, the zeros take one
    bucket. Boundaries lie midway between neighbouring values.

    Args:
        sample: `(values,)` finite float64.
        buckets: Largest number of buckets.

    Reference:
        Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", 2017, whose bins are found similarly.
    """
    values, counts = np.unique(sample, return_counts=True)
    if not len(values):
        return []
    cuts = _cuts(counts, buckets)
    below, above = values[:-1][cuts], values[1:][cuts]
    middle = below + (above - below) / 2
    return np.where(middle > below, middle, above).tolist()


def _cuts(counts: np.ndarray, buckets: int) -> np.ndarray:
    """Whether a boundary follows each value except the last, `(values - 1,)`, for values that occur `counts` times."""
    heavy = _heavy(counts, buckets)
    cuts = heavy[:-1] | heavy[1:]
    while cuts.sum() >= buckets:  # More runs of light values between heavy ones than buckets are left.
        heavy[np.flatnonzero(heavy)[np.argmin(counts[heavy])]] = False
        cuts = heavy[:-1] | heavy[1:]
    ends = [*(np.flatnonzero(cuts) + 1), len(counts)]
    runs = list(zip([0, *ends[:-1]], ends, strict=True))  # Values between two boundaries.
    shares = [1] * len(runs)
    # The next bucket goes to the run whose buckets are fullest.
    fullest = [(-float(counts[a:b].sum()), i) for i, (a, b) in enumerate(runs) if b - a > 1]
    heapq.heapify(fullest)
    for _ in range(buckets - len(runs)):
        if not fullest:
            break
        _, i = heapq.heappop(fullest)
        shares[i] += 1
        begin, end = runs[i]
        if shares[i] < end - begin:
            heapq.heappush(fullest, (-int(counts[begin:end].sum()) / shares[i], i))
    for (begin, end), share in zip(runs, shares, strict=True):
        cuts[begin + _split(counts[begin:end], share)] = True
    return cuts


def _heavy(counts: np.ndarray, buckets: int) -> np.ndarray:
    """Which values fill a bucket: they hold at least an equal share of the rows that heavier values leave."""
    if len(counts) <= buckets:
        return np.ones(len(counts), bool)
    heavy = np.zeros(len(counts), bool)
    while True:
        more = ~heavy & (counts * (buckets - heavy.sum()) >= counts[~heavy].sum())
        if not more.any():
            return heavy
        heavy |= more


def _split(counts: np.ndarray, parts: int) -> np.ndarray:
    """The last value of each of `parts` runs of about equal weight, without the last run."""
    total, last, ends = np.cumsum(counts), -1, []
    for left in range(parts, 1, -1):
        done = total[last] if last >= 0 else 0
        wanted = done + (total[-1] - done) / left
        end = int(np.searchsorted(total, wanted))
        if end > 0 and wanted - total[end - 1] < total[end] - wanted:
            end -= 1
        last = min(max(end, last + 1), len(counts) - left)
        ends.append(last)
    return np.array(ends, int)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's hash of unsigned integers (Steele, Lea, Flood, "Fast Splittable Pseudorandom Generators", 2014)."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
