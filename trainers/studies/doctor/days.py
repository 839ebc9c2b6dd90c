"""Reads a day of the log once: every value of the ids, every label, and a sample of the rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.log import DayLog, read
from tfstable.inputs.moments import Moments
from tfstable.inputs.reader import ExampleReader
from tfstable.log_columns import feature_columns, label_columns
from tfstable.specs import Categorical, RegressionTask, TaskSpec, labelled
from trainers.config import Config
from trainers.studies.doctor.values import IDS, Values, values

ROWS = 50_000  # Most rows of a day's sample: a share of 1% is then known to within 0.1%.


@dataclass(frozen=True)
class LabelFacts:
    """A task's labels on a day, over the rows of positive weight that have one.

    Attributes:
        labels: Rows.
        positives: Rows with a label other than 0.
        mean, deviation: Of the labels, after the task's transform; 0 without a label.
    """

    labels: int
    positives: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class DayRows:
    """What is kept of a day's rows.

    Attributes:
        day: The day.
        rows: Rows of the day.
        sample: Every n-th of them, at most `ROWS`, with the columns of `ExampleReader.columns`.
        ids: Values of each categorical feature, by its name.
        labels: By task.
    """

    day: date
    rows: int
    sample: pa.Table
    ids: Mapping[str, Values]
    labels: Mapping[str, LabelFacts]


def read_day(config: Config, log: DayLog, reader: ExampleReader, day: date) -> DayRows:
    """Reads a day, in memory for its sample and at most `IDS` ids per column.

    Raises:
        InputError: If a file cannot be read or does not fit the config.
    """
    every, start = -(-log.rows(day) // ROWS), 0
    columns_of = {n: c for n, c in feature_columns(config.features).items() if _is_id(config, n)}
    parts: dict[tuple[tuple[str, ...], str | None], list[Values]] = {}
    labels = {name: _Labels(config.tasks[name]) for name in labelled(config.tasks)}
    sample = []
    for batch in read(log.units(day), reader.columns):
        sample.append(batch.take(pa.array(np.arange(-start % every, batch.num_rows, every))))
        start += batch.num_rows
        for key in dict.fromkeys((columns, _delimiter(config, n)) for n, columns in columns_of.items()):
            of_key = parts.setdefault(key, [])
            of_key.append(values([batch[column] for column in key[0]], key[1]))
            if sum(len(part.hashes) for part in of_key) > 4 * IDS:  # Joined now and then: a day may have any size.
                parts[key] = [Values.of(of_key)]
        weight = numbers(pa.chunked_array([batch[config.data.weight]])) if config.data.weight else None
        for name, column in label_columns(config.tasks).items():
            labels[name].add(numbers(pa.chunked_array([batch[column]])), weight)
    joined = {key: Values.of(of_batches) for key, of_batches in parts.items()}
    ids = {name: joined[columns, _delimiter(config, name)] for name, columns in columns_of.items()}
    return DayRows(day, start, pa.Table.from_batches(sample), ids, {n: each.facts() for n, each in labels.items()})


class _Labels:
    """Counts the labels of a task."""

    def __init__(self, task: TaskSpec):
        self._is_log = isinstance(task, RegressionTask) and task.transform == "log1p"
        self._moments, self._positives = Moments(), 0

    def add(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        y = y[~np.isnan(y) if weight is None else ~np.isnan(y) & (weight > 0)].astype(np.float64)
        self._positives += int((y != 0).sum())
        self._moments.add(np.log1p(y) if self._is_log else y)

    def facts(self) -> LabelFacts:
        moments = self._moments
        deviation = moments.deviation(0.0) if moments.count else 0.0
        return LabelFacts(moments.count, self._positives, moments.mean, deviation)


def _is_id(config: Config, name: str) -> bool:
    return isinstance(config.features[name], Categorical)


def _delimiter(config: Config, name: str) -> str | None:
    return getattr(config.features[name], "delimiter", None)
