"""What is learned from the first window before step 1: vocabularies, moments, quantiles, base rates.

The result is plain JSON. Training, every later window and the exported signature use the same one.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tfstable.data.columns import ARROW, RawColumn, numbers
from tfstable.data.types import cast, is_list
from tfstable.errors import InputError
from tfstable.specs import (
    MISSING_INT,
    BinaryTask,
    Categorical,
    Feature,
    HashFeature,
    NumericFeature,
    QuantileFeature,
    RegressionTask,
    Spec,
    TaskSpec,
    VocabularyFeature,
    feature_columns,
    label_columns,
)

SAMPLE = 200_000  # Values kept for the quantiles of a column.


class Statistics(Spec):
    """Everything about the log that features and model need besides their specs.

    Attributes:
        columns: Raw columns that the features read, by column.
        vocabularies: Values by table, the most frequent first; row i + 1 of the table is value i.
        moments: (mean, standard deviation) by numeric feature, after log1p and clip.
        boundaries: Inner boundaries by quantile feature, increasing.
        base_rates: Mean label by task, after the task's transform; (positives + 1/2) / (labels + 1) of a binary one,
            for a label that has not been seen yet is not impossible.
    """

    columns: dict[str, RawColumn]
    vocabularies: dict[str, list[int] | list[str]] = Field(default_factory=dict)
    moments: dict[str, tuple[float, float]] = Field(default_factory=dict)
    boundaries: dict[str, list[float]] = Field(default_factory=dict)
    base_rates: dict[str, float] = Field(default_factory=dict)


def table_name(name: str, feature: Feature) -> str:
    """Returns the embedding table of a feature: the one it names, or its own."""
    return getattr(feature, "table", None) or name


def table_rows(name: str, feature: Feature, statistics: Statistics) -> int:
    """Returns the number of rows of the feature's embedding table, row 0 (missing, unknown) included."""
    if isinstance(feature, HashFeature):
        return feature.buckets + 1
    if isinstance(feature, VocabularyFeature):
        return len(statistics.vocabularies[table_name(name, feature)]) + 1
    return len(statistics.boundaries[name]) + 2


def is_several_valued(name: str, feature: Feature, statistics: Statistics) -> bool:
    """Returns whether an example may have several values of the feature: a column of lists, or a delimited string."""
    if not isinstance(feature, Categorical):
        return False
    return feature.delimiter is not None or statistics.columns[feature.column or name].width is not None


def fit(
    features: dict[str, Feature], tasks: dict[str, TaskSpec], columns: dict[str, RawColumn], batches: Iterable[pa.Table]
) -> Statistics:
    """Reads the first window once, in pieces, and returns its statistics.

    Args:
        features: Feature specs by name.
        tasks: Task specs by name.
        columns: Raw columns of the features.
        batches: The window's rows with the features' and labels' columns, in pieces.

    Raises:
        InputError: If a numeric column is infinite somewhere and not clipped, a vocabulary comes out empty, features
            that share one differ in type, a task has no label at all, or a label is none (see `check_labels`).
    """
    column_of, label_of = feature_columns(features), label_columns(tasks)
    _check_shared_types(features, columns)
    counts: dict[str, dict] = {
        table_name(name, f): {} for name, f in features.items() if isinstance(f, VocabularyFeature)
    }
    sums = {name: np.zeros(3) for name, f in features.items() if isinstance(f, NumericFeature) and f.standardise}
    samples = {name: _Sample() for name, f in features.items() if isinstance(f, QuantileFeature)}
    label_sums = {name: np.zeros(2) for name in tasks}
    for batch in batches:
        for name, feature in features.items():
            array = batch[column_of[name]]
            if isinstance(feature, VocabularyFeature):
                _count(array, feature, column_of[name], columns[column_of[name]], counts[table_name(name, feature)])
            elif name in sums:
                x = transform(numbers(array).astype(np.float64), feature)
                if not np.isfinite(x).all():
                    raise InputError(
                        f"features.{name}: column {column_of[name]} has infinite values; "
                        f"set features.{name}.clip: [lowest, highest]"
                    )
                sums[name] += len(x), x.sum(), np.square(x).sum()
            elif name in samples:
                samples[name].add(numbers(array))
        for name, task in tasks.items():
            label_sums[name] += _labels(name, task, numbers(batch[label_of[name]]), label_of[name])
    for name, (known, _) in label_sums.items():
        if not known:
            raise InputError(f"tasks.{name}: column {label_of[name]} has no label in the first window; drop the task")
    return Statistics(
        columns=columns,
        vocabularies={
            table: _most_frequent(table_counts, *_first_of(table, features)) for table, table_counts in counts.items()
        },
        moments={name: _moments(*total) for name, total in sums.items()},
        boundaries={name: samples[name].boundaries(features[name].buckets) for name in samples},
        base_rates={name: _base_rate(tasks[name], known, total) for name, (known, total) in label_sums.items()},
    )


def check_labels(name: str, task: TaskSpec, labels: np.ndarray, column: str) -> None:
    """Raises an InputError if a label of a binary task is not 0, 1 or NaN, or one of a regression has no finite target.

    Args:
        name: The task's name.
        task: Its spec.
        labels: `(rows,)` floats, NaN where masked.
        column: The label column, for the message.
    """
    if isinstance(task, BinaryTask):
        wrong, rule = labels[(labels != 0) & (labels != 1) & ~np.isnan(labels)], "a binary label is 0, 1 or null"
    elif task.transform == "log1p":
        wrong, rule = labels[(labels <= -1) | np.isinf(labels)], "log1p needs finite labels above -1, or null"
    else:
        wrong, rule = labels[np.isinf(labels)], "a label is finite or null"
    if len(wrong):
        raise InputError(f"tasks.{name}: column {column} holds {wrong[0]:g}; {rule}")


def transform(x: np.ndarray, feature: NumericFeature) -> np.ndarray:
    """Missing, log1p and clip of a numeric feature, as `features.Preprocessor` does them."""
    x = np.where(np.isnan(x), feature.missing, x)
    if feature.log1p:
        x = np.sign(x) * np.log1p(np.abs(x))
    return np.clip(x, *feature.clip) if feature.clip else x


class _Sample:
    """A sample of a column: every k-th value, k doubled whenever the sample is full. Needs no random numbers."""

    def __init__(self):
        self.values, self.every, self.skip = np.empty(0, np.float32), 1, 0

    def add(self, x: np.ndarray):
        x = x[~np.isnan(x)]
        self.values = np.concatenate([self.values, x[self.skip :: self.every]])
        self.skip = (self.skip - len(x)) % self.every
        while len(self.values) > SAMPLE:
            last = len(self.values) - 1
            self.skip += 0 if last % 2 else self.every  # The next sample has number last + 1: kept if that is even.
            self.values, self.every = self.values[::2], 2 * self.every

    def boundaries(self, buckets: int) -> list[float]:
        if not len(self.values):
            return []
        inner = np.quantile(self.values, np.arange(1, buckets) / buckets, method="higher")
        return np.unique(inner[(inner > self.values.min()) & np.isfinite(inner)]).tolist()


def _check_shared_types(features: dict[str, Feature], columns: dict[str, RawColumn]):
    first: dict[str, tuple[str, str]] = {}
    for name, feature in features.items():
        if isinstance(feature, VocabularyFeature):
            dtype = columns[feature.column or name].dtype
            other, expected = first.setdefault(table_name(name, feature), (name, dtype))
            if dtype != expected:
                raise InputError(
                    f"features.{name}: shares the vocabulary of features.{other}, but one column is {dtype} and the "
                    f"other {expected}; give features.{name} a table of its own"
                )


def _count(array: pa.ChunkedArray, feature: VocabularyFeature, name: str, column: RawColumn, counts: dict):
    dtype = ARROW[column.dtype]
    try:
        if feature.delimiter:
            array = pc.split_pattern(cast(array, dtype), feature.delimiter)
        if is_list(array.type):
            array = pc.list_flatten(array)
        values = pc.value_counts(cast(array, dtype))
    except pa.ArrowInvalid as error:
        raise InputError(f"column {name}: {str(error)[:160]}; expected {column.dtype}") from error
    for value, count in zip(values.field(0).to_pylist(), values.field(1).to_pylist(), strict=True):
        if value is not None and value != "" and value != MISSING_INT:
            counts[value] = counts.get(value, 0) + count


def _first_of(table: str, features: dict[str, Feature]) -> tuple[str, VocabularyFeature]:
    return next((n, f) for n, f in features.items() if isinstance(f, VocabularyFeature) and table_name(n, f) == table)


def _most_frequent(counts: dict, name: str, feature: VocabularyFeature) -> list:
    if not counts:
        raise InputError(
            f"features.{name}: column {feature.column or name} is null in the whole first window; drop the feature"
        )
    kept = [value for value, count in counts.items() if count >= feature.min_count]
    if not kept:
        raise InputError(
            f"features.{name}: no value of column {feature.column or name} occurs {feature.min_count} times in the "
            f"first window; lower features.{name}.min_count"
        )
    return sorted(kept, key=lambda value: (-counts[value], value))[: feature.max_size]


def _moments(rows: float, total: float, squares: float) -> tuple[float, float]:
    mean = total / rows
    deviation = np.sqrt(max(squares / rows - mean**2, 0.0))
    return float(mean), float(deviation) if deviation > 1e-6 * max(1.0, abs(mean)) else 1.0  # A constant stays 0.


def _base_rate(task: TaskSpec, known: float, total: float) -> float:
    return float((total + 0.5) / (known + 1)) if isinstance(task, BinaryTask) else float(total / known)


def _labels(name: str, task: TaskSpec, y: np.ndarray, column: str) -> tuple[int, float]:
    check_labels(name, task, y, column)
    y = y[~np.isnan(y)].astype(np.float64)
    if isinstance(task, RegressionTask) and task.transform == "log1p":
        y = np.log1p(y)
    return len(y), y.sum()
