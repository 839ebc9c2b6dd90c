"""Statistics of the first window, fitted before step 1: vocabularies, moments, quantiles, base rates.

The result is plain JSON. Training, every later window and the exported signature use the same statistics.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tfstable.data.arrays import to_numpy
from tfstable.data.columns import ARROW, RawColumn
from tfstable.data.maturity import UsedLabels
from tfstable.data.types import cast, is_list
from tfstable.errors import InputError
from tfstable.inputs import quantiles
from tfstable.inputs.base_rates import BaseRate
from tfstable.inputs.moments import RESOLUTION, Moments
from tfstable.inputs.remarks import Seen, numeric_remark, quantile_remark, vocabulary_remark
from tfstable.inputs.targets import Targets
from tfstable.log_columns import single_columns
from tfstable.specs import (
    MISSING_INT,
    OFFSET,
    Categorical,
    CounterFeature,
    Feature,
    HashFeature,
    IdFeature,
    NumericFeature,
    QuantileFeature,
    Spec,
    TaskSpec,
    VectorFeature,
    VocabularyFeature,
    implicit_rates,
    labelled,
    living,
)


class Statistics(Spec):
    """Everything that features and model need to know about the log, in addition to their specs.

    Attributes:
        columns: Raw columns that the features read, by column.
        vocabularies: Values by table, the most frequent first; value i has row i + 1 of the table.
        moments: (mean, standard deviation) of the known values by numeric feature, after log1p and clip. A deviation of
            0 means that the values do not vary; the feature is then held at 0.
        stand_ins: What a missing value counts as, by numeric feature, after log1p and clip, if that is not the mean.
        boundaries: Inner boundaries by quantile feature, increasing.
        base_rates: Mean label by task, after the task's transform. For a binary task (positives + 1/2) / (labels + 1),
            because an unseen label is not impossible.
        remarks: Lines about the fit that the user should read before training.
    """

    columns: dict[str, RawColumn]
    vocabularies: dict[str, list[int] | list[str]] = Field(default_factory=dict)
    moments: dict[str, tuple[float, float]] = Field(default_factory=dict)
    stand_ins: dict[str, float] = Field(default_factory=dict)
    boundaries: dict[str, list[float]] = Field(default_factory=dict)
    base_rates: dict[str, float] = Field(default_factory=dict)
    remarks: list[str] = Field(default_factory=list)


class Scaling(NamedTuple):
    """How a numeric feature is scaled after log1p and clip: (x - offset) * scale, and the value for a missing one.

    Numbers for one feature, `(features, 1)` arrays for several at once.
    """

    offset: float | np.ndarray
    scale: float | np.ndarray
    missing: float | np.ndarray


def scaling(name: str, feature: NumericFeature, statistics: Statistics) -> Scaling:
    """Returns how the feature is scaled. A missing value becomes 0 if standardised, unless `missing` replaces it."""
    mean, deviation = statistics.moments.get(name, (0.0, 1.0))
    offset, scale = (mean, 1 / deviation if deviation else 0.0) if feature.standardise else (0.0, 1.0)
    stand_in = statistics.stand_ins.get(name, mean)
    if feature.missing is not None:
        stand_in = float(transform(np.asarray(feature.missing, np.float64), feature))
    return Scaling(offset, scale, (stand_in - offset) * scale)


def table_name(name: str, feature: Feature) -> str:
    """Returns the embedding table of a feature: the one it names, or its own."""
    return getattr(feature, "table", None) or name


def table_keys(feature: Feature) -> tuple[str, bool, float, bool]:
    """Returns how values are pooled, if the table is trained, its relative rate, and if rows of it start anew."""
    if isinstance(feature, Categorical):
        return feature.pooling, feature.trainable, feature.rate, bool(living({"": feature}))
    return "mean", True, 1.0, False


def table_rows(name: str, feature: Feature, statistics: Statistics) -> int:
    """Returns the number of rows of the feature's embedding table, row 0 (missing, unknown) included."""
    if isinstance(feature, HashFeature):
        return feature.buckets + 1
    if isinstance(feature, IdFeature):
        return feature.capacity + 1
    if isinstance(feature, VocabularyFeature):
        return (feature.max_size if feature.grow else len(statistics.vocabularies[table_name(name, feature)])) + 1
    return len(statistics.boundaries[name]) + 2


def is_several_valued(name: str, feature: Feature, statistics: Statistics) -> bool:
    """Returns whether an example may have several values of the feature: from a list or a delimited string."""
    crossed = isinstance(feature, HashFeature) and feature.columns
    if crossed or not isinstance(feature, Categorical | QuantileFeature):
        return False
    width = statistics.columns[feature.column or name].width
    return width is not None or getattr(feature, "delimiter", None) is not None


def vector_width(feature: Feature) -> int:
    """Returns how many numbers a feature gives to the model that gives several: a vector, a counter; 0 for others."""
    if isinstance(feature, CounterFeature):
        return len(feature.of) + 1
    return feature.width + 1 if isinstance(feature, VectorFeature) else 0


def fit(
    features: dict[str, Feature],
    tasks: dict[str, TaskSpec],
    columns: dict[str, RawColumn],
    batches: Iterable[pa.Table],
    used: UsedLabels | None = None,
) -> Statistics:
    """Reads the first window once, in pieces, and returns its statistics.

    Args:
        features: Feature specs by name.
        tasks: Task specs by name.
        columns: Raw columns of the features.
        batches: The window's rows, in pieces, with the columns of features and labels.
        used: The labels that are used; None: all.

    Raises:
        InputError: If no value of a vocabulary is frequent enough, features that share one differ in type, a task has
            no label in the window, or a label is invalid (see `check_labels`).
    """
    targets = Targets(tasks, None)
    _check_shared_types(features, columns)
    features = {name: feature for name, feature in features.items() if name not in living(features)}
    column_of = single_columns(features)
    counts: dict[str, dict] = {
        table_name(name, f): {} for name, f in features.items() if isinstance(f, VocabularyFeature)
    }
    moments = {name: Moments() for name, f in features.items() if isinstance(f, NumericFeature) and not f.moments}
    samples = {
        name: quantiles.Sample() for name, f in features.items() if isinstance(f, QuantileFeature) and not f.boundaries
    }
    seen = {column_of[name]: Seen() for name in (*moments, *samples)}
    rates = {name: BaseRate(name, tasks[name]) for name in labelled(tasks)}
    for batch in batches:
        arrays = {name: _single(batch[name]) for name in seen}
        values = {name: _numbers(arrays[name], name, columns[name]) for name in seen}
        for name, x in values.items():
            seen[name].add(x, arrays[name], columns[name])
        for name, feature in features.items():
            column = column_of.get(name, "")
            if isinstance(feature, VocabularyFeature):
                _count(batch[column], feature, column, columns[column], counts[table_name(name, feature)])
            elif isinstance(feature, NumericFeature) and name in moments:
                moments[name].add(_known(values[column], feature))
            elif name in samples:
                samples[name].add(values[column][np.isfinite(values[column])])
        labels, _ = targets(batch, used)
        for name, rate in rates.items():
            rate.add(labels[name], labels.get(OFFSET + name))
    base_rates = {name: rate.result() for name, rate in rates.items()}
    found = Statistics(
        columns=columns,
        vocabularies={table: _most_frequent(of_table, table, features) for table, of_table in counts.items()},
        moments={
            name: (f.moments or _fitted(moments[name], columns[column_of[name]]))
            for name, f in features.items()
            if isinstance(f, NumericFeature)
        },
        boundaries={
            name: list(f.boundaries or quantiles.boundaries(samples[name].values, f.buckets))
            for name, f in features.items()
            if isinstance(f, QuantileFeature)
        },
        base_rates=base_rates | implicit_rates(tasks, base_rates),
    )
    remarks = [line for rate in rates.values() for line in rate.remarks()]
    return found.model_copy(update={"remarks": remarks + _remarks(features, found, seen, moments, samples, counts)})


def transform(x: np.ndarray, feature: NumericFeature) -> np.ndarray:
    """Applies log1p and clip of a numeric feature in float64, as `Preprocessor` does."""
    if feature.log1p:
        x = np.sign(x) * np.log1p(np.abs(x))
    return np.clip(x, *feature.clip) if feature.clip else x


def _numbers(array: pa.ChunkedArray, name: str, column: RawColumn) -> np.ndarray:
    """A column as preprocessing sees it, `(rows,)` float64: rounded to its raw dtype, NaN where missing."""
    x = to_numpy(array, name, RawColumn(dtype=column.dtype))
    if column.dtype == "int64":
        return np.where(x == MISSING_INT, np.nan, x.astype(np.float64))
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, 0.0, x.astype(np.float64))  # TensorFlow flushes these to 0.


def _single(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with one value per row; of lists, all their values one after the other."""
    return pc.list_flatten(array) if is_list(array.type) else array


def _known(x: np.ndarray, feature: NumericFeature) -> np.ndarray:
    """The values to take moments of, after log1p and clip; `missing`, if set, replaces nulls."""
    x = transform(x, feature)
    known = np.isfinite(x)
    if feature.missing is None:
        return x[known]
    return np.where(known, x, transform(np.asarray(feature.missing, np.float64), feature))


def _fitted(moments: Moments, column: RawColumn) -> tuple[float, float]:
    return moments.mean, moments.deviation(RESOLUTION[column.dtype])


def _check_shared_types(features: dict[str, Feature], columns: dict[str, RawColumn]) -> None:
    first: dict[str, tuple[str, str]] = {}
    for name, feature in features.items():
        if isinstance(feature, VocabularyFeature | IdFeature):
            dtype = columns[feature.column or name].dtype
            other, expected = first.setdefault(table_name(name, feature), (name, dtype))
            if dtype != expected:
                raise InputError(
                    f"features.{name}: shares the vocabulary of features.{other}, but one column is {dtype} and the "
                    f"other {expected}; give features.{name} a table of its own"
                )


def _count(array: pa.ChunkedArray, feature: VocabularyFeature, name: str, column: RawColumn, counts: dict) -> None:
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


def _most_frequent(counts: dict, table: str, features: dict[str, Feature]) -> list:
    name, feature = next(
        (n, f) for n, f in features.items() if isinstance(f, VocabularyFeature) and table_name(n, f) == table
    )
    kept = [value for value, count in counts.items() if count >= feature.min_count]
    if counts and not kept:
        raise InputError(
            f"features.{name}: no value of column {feature.column or name} occurs {feature.min_count} times in the "
            f"first window; lower features.{name}.min_count"
        )
    return sorted(kept, key=lambda value: (-counts[value], value))[: feature.max_size]


def _remarks(
    features: dict[str, Feature],
    found: Statistics,
    seen: dict[str, Seen],
    moments: dict[str, Moments],
    samples: dict[str, quantiles.Sample],
    counts: dict[str, dict],
) -> list[str]:
    column_of, lines = single_columns(features), []
    users: dict[str, dict[str, str]] = {}
    for name, feature in features.items():
        if isinstance(feature, VocabularyFeature):
            users.setdefault(table_name(name, feature), {})[name] = column_of[name]
    for name, feature in features.items():
        column = column_of.get(name, "")
        if isinstance(feature, NumericFeature) and name in moments:
            reach = moments[name].reach(RESOLUTION[found.columns[column].dtype])
            lines.append(numeric_remark(name, feature, column, seen[column], reach))
        elif isinstance(feature, QuantileFeature) and name in samples:
            sampled = samples[name].count > len(samples[name].values)
            lines.append(quantile_remark(name, feature, column, seen[column], len(found.boundaries[name]), sampled))
        elif isinstance(feature, VocabularyFeature) and next(iter(users[table := table_name(name, feature)])) == name:
            columns = list(dict.fromkeys(users[table].values()))
            lines.append(vocabulary_remark(name, columns, list(counts[table])))
    return [line for line in lines if line]
