"""The metric of a ranked day that `tfstable tune-score` climbs: one of lists, or one's own. Imports no TensorFlow."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple, Protocol

import numpy as np

from tfstable.errors import InputError
from tfstable.log_columns import rate_column
from tfstable.metrics import GroupValues, Lists, list_bootstrap
from tfstable.specs import BinaryTask, is_implicit
from trainers.config import Config
from trainers.training.own_metrics import Function, imported

LEVEL = 0.95  # Of the intervals.
OF_LENGTH: dict[str, Callable[[Lists, int], GroupValues]] = {
    "ndcg": Lists.ndcg,
    "recall": Lists.recall,
    "dcg": Lists.dcg,
}
OF_BINARY: dict[str, Callable[[Lists], GroupValues]] = {
    "mrr": Lists.reciprocal_rank,
    "map": Lists.average_precision,
    "gauc": Lists.auc,
}


class ValuedRows(NamedTuple):
    """Rows of lists, each with what it is worth to whoever sees it.

    Attributes:
        gains: `(rows,)` float64.
        weights: `(rows,)` example weights, positive.
        groups: `(rows,)` ids of the lists, integers from 0.
    """

    gains: np.ndarray
    weights: np.ndarray
    groups: np.ndarray


class Paired(NamedTuple):
    """Two scores on the same rows.

    Attributes:
        first, second: The metric of each.
        interval: Of second - first, from a bootstrap that redraws groups.
    """

    first: float
    second: float
    interval: tuple[float, float]


class Metric(Protocol):
    """A metric of rows that are ranked by a score, the higher the better."""

    def value(self, rows: ValuedRows, scores: np.ndarray) -> float:
        """Returns the metric; NaN if no list counts."""

    def compare(self, rows: ValuedRows, first: np.ndarray, second: np.ndarray, samples: int) -> Paired:
        """Compares two scores of the same rows by `samples` draws of the groups."""


@dataclass(frozen=True)
class ListMetric:
    """A metric of `Lists`: a mean over groups.

    Attributes:
        measure: Takes the lists.
        binary: Whether gains must be 0 or 1.
    """

    measure: Callable[[Lists], GroupValues]
    binary: bool

    def value(self, rows: ValuedRows, scores: np.ndarray) -> float:
        return self._values(rows, scores).mean

    def compare(self, rows: ValuedRows, first: np.ndarray, second: np.ndarray, samples: int) -> Paired:
        found = list_bootstrap(self._values(rows, first), self._values(rows, second), samples=samples)
        return Paired(found.first, found.second, _interval(found.draws[:, 1] - found.draws[:, 0]))

    def _values(self, rows: ValuedRows, scores: np.ndarray) -> GroupValues:
        return self.measure(Lists(rows.gains, scores, rows.groups, rows.weights, binary=self.binary))


@dataclass(frozen=True)
class OwnMetric:
    """A function of one's own, called with gains for labels and scores for predictions.

    Attributes:
        path: Its import path, for messages.
        function: The function.
    """

    path: str
    function: Function

    def value(self, rows: ValuedRows, scores: np.ndarray) -> float:
        try:
            found = self.function(rows.gains, scores, rows.weights, rows.groups)
        except Exception as error:
            raise InputError(f"--metric {self.path}: {type(error).__name__}: {error}; mend the function") from error
        if not isinstance(found, Real):
            raise InputError(f"--metric {self.path} returned {type(found).__name__}, expected a number")
        return float(found)

    def compare(self, rows: ValuedRows, first: np.ndarray, second: np.ndarray, samples: int) -> Paired:
        order = np.argsort(rows.groups, kind="stable")
        _, sizes = np.unique(rows.groups, return_counts=True)
        ends, G, generator = np.cumsum(sizes), len(sizes), np.random.default_rng(0)
        draws = np.empty(samples)
        for draw in range(samples):
            drawn = generator.integers(0, G, G)
            many = sizes[drawn]
            within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
            taken = order[np.repeat(ends[drawn] - many, many) + within]
            again = ValuedRows(rows.gains[taken], rows.weights[taken], np.repeat(np.arange(G), many))
            draws[draw] = self.value(again, second[taken]) - self.value(again, first[taken])
        return Paired(self.value(rows, first), self.value(rows, second), _interval(draws))


def task_values(config: Config, given: list[str]) -> dict[str, float]:
    """Returns what a label of each task is worth, from operands of `--value`; by default 1 per binary task.

    Raises:
        InputError: If one is not TASK=NUMBER of a task with a label, or the log holds a sample of its negatives.
    """
    tasks = {name: task for name, task in config.tasks.items() if not is_implicit(task)}
    values: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            values[name] = float(number)
        except ValueError:
            raise InputError(f"--value {text}: write TASK=NUMBER, such as {next(iter(tasks))}=1") from None
        if name not in tasks:
            raise InputError(f"--value {text}: no task {name} with a label; there is {', '.join(tasks)}")
        if not 0 < values[name] < float("inf"):
            raise InputError(f"--value {text}: must be positive and finite")
    values = values or {name: 1.0 for name, task in tasks.items() if task.kind == "binary"}
    if not values:
        raise InputError(f"--value: name what a label is worth, such as {next(iter(tasks))}=1: no task is binary")
    for name in values:
        task = tasks[name]
        if rate_column(task) or (isinstance(task, BinaryTask) and isinstance(task.negative_rate, float)):
            raise InputError(f"tasks.{name}: the log holds a sample of its negatives, so its lists are not whole")
    return values


def find_metric(name: str, values: Mapping[str, float]) -> Metric:
    """Returns the metric with a name such as ndcg@10, or with an import path, for labels of these values by task.

    Raises:
        InputError: If there is none, it cannot be imported, or it does not take these values.
    """
    if (found := re.fullmatch(r"(\w+)@(\d+)", name)) and found[1] in OF_LENGTH and int(found[2]) > 0:
        measure, k = OF_LENGTH[found[1]], int(found[2])
        return ListMetric(lambda lists: measure(lists, k), binary=False)
    if name in OF_BINARY:
        if [*values.values()] != [1.0]:
            raise InputError(f"--metric {name}: measures positives, not what they are worth; name one, --value TASK=1")
        return ListMetric(OF_BINARY[name], binary=True)
    if "." in name:
        return OwnMetric(name, imported(name, "--metric"))
    known = ", ".join([*(f"{each}@K" for each in OF_LENGTH), *OF_BINARY])
    raise InputError(f"--metric {name}: no such metric; take {known}, or the import path of a function")


def _interval(differences: np.ndarray) -> tuple[float, float]:
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return float("nan"), float("nan")
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
