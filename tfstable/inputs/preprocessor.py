"""Raw columns -> model inputs: one function for training and for the exported signature."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfstable.data.columns import MISSING
from tfstable.inputs.statistics import Scaling, Statistics, scaling, table_name
from tfstable.specs import (
    MISSING_INT,
    Categorical,
    Feature,
    HashFeature,
    NumericFeature,
    QuantileFeature,
    VectorFeature,
    VocabularyFeature,
    counters,
    feature_columns,
)


class Preprocessor(tf.Module):
    """Turns raw columns into what `RankingModel` takes, on tensors, in any graph.

    Args:
        features: Feature specs by name.
        statistics: What `statistics.fit` learned from the first window.

    Attributes:
        features: Feature specs by name.
        column_of: The raw column of each feature that reads one alone, by the feature's name.
        counters: The counters among the features, by name.

    Shapes:
        In: each raw column by its name, `(batch,)` int64, float32 or string, or `(batch, width)` for lists.
        Out: each feature by its name. Categorical and quantile features are int32 rows of their table, `(batch,)`, or
        `(batch, max_values)` where several-valued, padded with -1. Numeric features are `(batch,)` float32. Vectors
        are `(batch, width + 1)` float32, of which the last is 1 for a missing vector. Counters are int32 buckets,
        `(batch,)`, whose values are gathered later: on the host in training, in the graph of an export.
    """

    def __init__(self, features: dict[str, Feature], statistics: Statistics):
        super().__init__(name="preprocessor")
        self.features, self.column_of = dict(features), feature_columns(features)
        self.counters = counters(features)
        self._statistics = statistics
        dtypes = {
            table_name(name, f): statistics.columns[self.column_of[name]].dtype
            for name, f in features.items()
            if isinstance(f, VocabularyFeature)
        }
        self._lookups = {table: _lookup(statistics.vocabularies[table], dtype) for table, dtype in dtypes.items()}

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = self.of_columns(raw) | self.buckets(self.hashes(raw))
        return {name: found[name] for name in self.features}

    def of_columns(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the features that read one column alone; the columns may have different numbers of rows."""
        return {name: self._feature(name, self.features[name], raw[column]) for name, column in self.column_of.items()}

    def hashes(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns a hash of each value of the counters' columns, int64; the columns may differ in number of rows."""
        columns = dict.fromkeys(column for counter in self.counters.values() for column in counter.by)
        return {column: hash_value(raw[column]) for column in columns}

    def buckets(self, hashes: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the bucket of each row by counter, int32, from the `hashes` of its columns."""
        return {
            name: combined_bucket([hashes[column] for column in counter.by], counter.buckets)
            for name, counter in self.counters.items()
        }

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the raw columns as named TensorSpecs with an open batch dimension."""
        return {
            name: tf.TensorSpec(
                [None] if column.width is None else [None, column.width if column.vector else None],
                column.dtype,
                name=name,
            )
            for name, column in self._statistics.columns.items()
        }

    def _feature(self, name: str, feature: Feature, x: tf.Tensor) -> tf.Tensor:
        if isinstance(feature, NumericFeature):
            return scaled(x, feature.log1p, feature.clip, scaling(name, feature, self._statistics))
        if isinstance(feature, QuantileFeature):
            return _bucket(as_float(x), self._statistics.boundaries[name])
        if isinstance(feature, VectorFeature):
            return _vector(x)
        assert isinstance(feature, Categorical)
        several = feature.delimiter is not None or x.shape.rank == 2
        x = _values(x, feature)
        if isinstance(feature, HashFeature):
            rows = tf.where(is_missing(x), tf.constant(0, tf.int64), 1 + hash_bucket(x, feature.buckets))
        else:
            rows = self._lookups[table_name(name, feature)].lookup(x)
        rows = tf.cast(rows, tf.int32)
        return tf.where(is_missing(x), -1, rows) if several else rows


def _lookup(values: list, dtype: str) -> tf.lookup.StaticHashTable:
    keys = tf.constant([MISSING[dtype], *values], dtype)  # TensorFlow makes no empty table.
    rows = tf.range(len(values) + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, rows), default_value=0)


def _values(x: tf.Tensor, feature: Categorical) -> tf.Tensor:
    """Splits delimited strings and keeps `max_values` of each example: (batch,) or (batch, max_values)."""
    if feature.delimiter is not None:
        x = tf.strings.split(x, feature.delimiter).to_tensor("", shape=[None, feature.max_values])
    elif x.shape.rank == 2:
        x = x[:, : feature.max_values]
        missing = tf.constant(MISSING_INT if x.dtype == tf.int64 else "", x.dtype)
        x = tf.pad(x, [[0, 0], [0, feature.max_values - tf.shape(x)[1]]], constant_values=missing)
    return tf.ensure_shape(x, [None, feature.max_values]) if x.shape.rank == 2 else x


def hash_bucket(x: tf.Tensor, buckets: int) -> tf.Tensor:
    """Strings by FarmHash, integers by the finaliser of SplitMix64 (four times as fast as hashing their digits)."""
    return tf.strings.to_hash_bucket_fast(x, buckets) if x.dtype == tf.string else hash_value(x) % buckets


def combined_bucket(hashes: Sequence[tf.Tensor], buckets: int) -> tf.Tensor:
    """Returns one bucket for several values in their order, int32, from what `hash_value` says of each.

    Of one value it is that of `hash_bucket`, for integers.
    """
    joined = hashes[0]
    for other in hashes[1:]:
        joined = hash_value(joined * tf.constant(31, tf.int64) + other)  # Not symmetric: (1, 2) is not (2, 1).
    return tf.cast(joined % buckets, tf.int32)


def hash_value(x: tf.Tensor) -> tf.Tensor:
    """Returns a hash of each value, int64 from 0 on; see `hash_bucket`."""
    if x.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(x, tf.int64.max)
    x = x * tf.constant(-7046029254386353131, tf.int64)  # 0x9E3779B97F4A7C15; the product wraps.
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(32, tf.int64)))
    x = x * tf.constant(-4658895280553007687, tf.int64)  # 0xBF58476D1CE4E5B9
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(29, tf.int64)))
    return tf.bitwise.bitwise_and(x, tf.int64.max)


def is_missing(x: tf.Tensor) -> tf.Tensor:
    return tf.equal(x, "" if x.dtype == tf.string else tf.constant(MISSING_INT, x.dtype))


def as_float(x: tf.Tensor) -> tf.Tensor:
    """Numbers in float64, which holds a time in milliseconds; NaN where missing."""
    if x.dtype.is_floating:
        return tf.cast(x, tf.float64)
    return tf.where(is_missing(x), tf.constant(np.nan, tf.float64), tf.cast(x, tf.float64))


def scaled(x: tf.Tensor, log1p: bool, clip: tuple | None, to: Scaling) -> tf.Tensor:
    """Returns a numeric feature as the model takes it, float32: log1p, clip, standardise.

    What is missing, or infinite then, becomes `to.missing`.

    Args:
        x: `(rows,)` numbers, or `(columns, rows)` with `(columns, 1)` arrays in `clip` and `to`.
        log1p: Whether to take the logarithm.
        clip: Lowest and highest value, or None.
        to: The scale.
    """
    x = as_float(x)
    if log1p:
        x = tf.sign(x) * tf.math.log1p(tf.abs(x))
    if clip is not None:
        x = tf.clip_by_value(x, *(tf.constant(limit, tf.float64) for limit in clip))
    offset, scale = (tf.constant(value, tf.float64) for value in (to.offset, to.scale))
    x = tf.cast((x - offset) * scale, tf.float32)
    return tf.where(tf.math.is_finite(x), x, tf.constant(to.missing, tf.float32))


def _vector(x: tf.Tensor) -> tf.Tensor:
    """`(batch, width)` -> `(batch, width + 1)`: zeros and a 1 where an element is missing or infinite."""
    known = tf.reduce_all(tf.math.is_finite(x), axis=1, keepdims=True)
    return tf.concat([tf.where(known, x, 0.0), tf.cast(~known, x.dtype)], axis=1)


def _bucket(x: tf.Tensor, boundaries: list[float]) -> tf.Tensor:
    """Row 0 for missing or infinite, else 1 + the number of boundaries that are not above x."""
    row = tf.searchsorted(tf.constant(boundaries, tf.float64), x, side="right")
    return tf.where(tf.math.is_finite(x), row + 1, 0)
