"""Counters: how often the labels of a key were positive on earlier days, as numbers for a model.

Of a counter with half-life h, the sums of a bucket at the end of calendar day x are

    S(x) = sum over days e <= x of the log  2^(-(x - e) / h) * (sum over the rows of day e in that bucket)

for the number of rows and, per task, for the weighted labels and their weights (a null label adds to neither). With the
totals over all buckets as base, a row of day d has from S(d - 1 - delay) of its bucket

    binary task:  log odds of (positives + s b) / (labels + s)  -  log odds of b,  b = (positives + 1/2) / (labels + 1)
    regression:   (sum + s b) / (labels + s)  -  b,                                b = sum / labels, transformed
    and once:     log(1 + rows)

where s is the smoothing. All of it is 0 for a bucket without a row. Sums are float64, in the log's order, one day after
the other; so they are a function of the log's days and of nothing else.

NumPy alone: `counted_days` reads the log, and the hash that finds the bucket is TensorFlow's, the same as in serving.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfstable.specs import BinaryTask, CounterFeature, RegressionTask, TaskSpec

ROWS, PER_TASK = 1, 2  # Sums of a bucket: its rows; then, per task, weighted labels and their weights.


@dataclass(frozen=True)
class Sums:
    """Sums per bucket; immutable.

    Attributes:
        buckets: `(keys,)` int32, ascending: the buckets that have had a row.
        values: `(1 + 2 tasks, keys)` float64, a row per sum.
    """

    buckets: np.ndarray
    values: np.ndarray

    @classmethod
    def none(cls, counter: CounterFeature) -> "Sums":
        """Returns the sums before the first row."""
        return cls(np.zeros(0, np.int32), np.zeros((ROWS + PER_TASK * len(counter.of), 0)))

    def decayed(self, counter: CounterFeature) -> "Sums":
        """Returns the sums one calendar day later."""
        if counter.half_life_days is None:
            return self
        return Sums(self.buckets, self.values * 0.5 ** (1 / counter.half_life_days))

    def plus(self, day: "Sums") -> "Sums":
        """Returns the sums of both."""
        place = np.searchsorted(self.buckets, day.buckets)
        new = np.append(self.buckets, -1).take(place) != day.buckets
        buckets = np.insert(self.buckets, place[new], day.buckets[new])
        values = np.insert(self.values, place[new], day.values[:, new], axis=1)
        place += np.cumsum(new) - new  # Behind those that were inserted before it.
        values[:, place[~new]] += day.values[:, ~new]
        return Sums(buckets, values)


class DayCounts:
    """The sums of one day, from its rows in pieces. How the rows are cut into pieces changes no bit.

    Args:
        counter: The counter.
    """

    def __init__(self, counter: CounterFeature):
        self._sums = Sums.none(counter)

    def add(self, buckets: np.ndarray, summands: Sequence[np.ndarray]) -> None:
        """Adds rows.

        Args:
            buckets: `(rows,)` integers.
            summands: What `summands` returns for the counter's tasks, in order.
        """
        own, of_row = np.unique(buckets, return_inverse=True)
        self._sums = self._sums.plus(Sums(own.astype(np.int32), np.zeros((len(self._sums.values), len(own)))))
        places = np.searchsorted(self._sums.buckets, own)[of_row]
        np.add.at(self._sums.values[0], places, 1.0)  # `bincount` of each piece would add the pieces in another order.
        for values, summand in zip(self._sums.values[1:], summands, strict=True):
            np.add.at(values, places, summand)

    def sums(self) -> Sums:
        """Returns the sums of the rows so far."""
        return self._sums


def summands(task: TaskSpec, labels: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weighted labels of a task and their weights, 0 for a null, `(rows,)` float64 each.

    Args:
        task: The task. The labels of a regression are transformed.
        labels: `(rows,)` floats, NaN where masked.
        weight: `(rows,)` floats: the examples' weights.
    """
    known = ~np.isnan(labels)
    y = np.where(known, labels, 0.0).astype(np.float64)
    if isinstance(task, RegressionTask) and task.transform == "log1p":
        y = np.log1p(y)
    weight = np.where(known, weight, 0.0).astype(np.float64)
    return y * weight, weight


@dataclass(frozen=True)
class CounterTable:
    """What the rows of one day see of a counter.

    Attributes:
        buckets: `(keys,)` int32, ascending.
        values: `(1 + keys, width)` float32; row 0: of every other bucket.
    """

    buckets: np.ndarray
    values: np.ndarray

    def gather(self, buckets: np.ndarray) -> np.ndarray:
        """Returns the values of rows in these buckets, `(rows, width)` float32."""
        own, of_row = np.unique(buckets, return_inverse=True)  # Sorted, they are found several times as fast.
        place = np.searchsorted(self.buckets, own)
        there = np.append(self.buckets, -1).take(place) == own
        return self.values.take(np.where(there, 1 + place, 0)[of_row], axis=0)


def table(counter: CounterFeature, tasks: Mapping[str, TaskSpec], sums: Sums) -> CounterTable:
    """Returns what rows see that see these sums."""
    every = np.concatenate([np.zeros((len(sums.values), 1)), sums.values], axis=1)  # (sums, 1 + keys)
    values = np.empty((every.shape[1], len(counter.of) + 1), np.float32)
    for i, name in enumerate(counter.of):
        of_task = _log_odds if isinstance(tasks[name], BinaryTask) else _mean
        labels, weights = every[ROWS + PER_TASK * i], every[ROWS + PER_TASK * i + 1]
        values[:, i] = of_task(labels, weights, counter.smoothing)
    values[:, -1] = np.log1p(every[0])
    return CounterTable(sums.buckets, values)


def _log_odds(positives: np.ndarray, labels: np.ndarray, smoothing: float) -> np.ndarray:
    negatives = labels - positives
    # Not 1 - base: of one example that weighs 1e30, that would be 0.
    base, rest = (x.sum() + 0.5 for x in (positives, negatives))
    base, rest = base / (labels.sum() + 1), rest / (labels.sum() + 1)
    odds = np.log(positives + smoothing * base) - np.log(negatives + smoothing * rest)
    return odds - odds[0]  # Of no label, the base's: so that it is exactly 0 there.


def _mean(total: np.ndarray, labels: np.ndarray, smoothing: float) -> np.ndarray:
    base = total.sum() / labels.sum() if labels.sum() else 0.0
    return (total - base * labels) / (labels + smoothing)  # (total + s b) / (labels + s) - b
