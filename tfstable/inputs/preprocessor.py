"""Raw columns -> model inputs: one function for training and for the exported signature."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from tfstable.data.columns import MISSING
from tfstable.inputs.id_table import IdTable
from tfstable.inputs.statistics import Scaling, Statistics, scaling, table_name
from tfstable.log_columns import feature_columns
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
    living,
)

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15


class Preprocessor(tf.Module):
    """Turns raw columns into the inputs of `RankingModel`, on tensors, in any graph.

    Args:
        features: Feature specs by name.
        statistics: The result of `statistics.fit` on the first window.
        ids: The rows of ids by table, of features of `kind: id` and of vocabularies that grow.

    Attributes:
        features: Feature specs by name.
        columns_of: Raw columns by feature: several for crossed ids.
        counters: The counters among the features, by name.
        living: The features that `ids` is for, by name.

    Shapes:
        In: each raw column by its name, `(batch,)` int64, float32 or string, or `(batch, width)` for lists.
        Out: each feature by its name. Categorical and quantile features are int32 rows of their table: `(batch,)`, or
        `(batch, max_values)` padded with -1 if several-valued. Numeric features are `(batch,)` float32. Vectors are
        `(batch, width + 1)` float32; the last number is 1 for a missing vector. Counters are int32 buckets, `(batch,)`,
        whose values are gathered later: on the host in training, in the graph of an export.
    """

    def __init__(
        self,
        features: dict[str, Feature],
        statistics: Statistics,
        ids: Mapping[str, IdTable] = MappingProxyType({}),
    ):
        super().__init__(name="preprocessor")
        self.features, self.columns_of = dict(features), feature_columns(features)
        self.counters, self.living = counters(features), living(features)
        self._statistics, self._ids = statistics, dict(ids)
        dtypes = {
            table_name(name, f): statistics.columns[self.columns_of[name][0]].dtype
            for name, f in features.items()
            if isinstance(f, VocabularyFeature) and name not in self.living
        }
        self._lookups = {table: _lookup(statistics.vocabularies[table], dtype) for table, dtype in dtypes.items()}

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = self.of_rows(raw) | self.buckets(self.hashes(raw))
        found |= {name: rows_of(found[name], self._ids, table_name(name, f)) for name, f in self.living.items()}
        return {name: found[name] for name in self.features}

    def of_rows(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the features that are no counters; of those in `living` the ids, as `rows_of` takes them."""
        return {
            name: self._feature(name, feature, [raw[column] for column in self.columns_of[name]])
            for name, feature in self.features.items()
            if name not in self.counters
        }

    def hashes(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns a hash of each value of the counters' columns, int64; the columns may differ in number of rows."""
        columns = dict.fromkeys(column for counter in self.counters.values() for column in counter.by)
        return {column: hash_value(raw[column]) for column in columns}

    def buckets(self, hashes: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the bucket of each row by counter, int32, from the `hashes` of its columns; a null is a value."""
        return {
            name: tf.cast(combined([hashes[column] for column in counter.by]) % counter.buckets, tf.int32)
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

    def _feature(self, name: str, feature: Feature, columns: list[tf.Tensor]) -> tf.Tensor:
        x = columns[0] if len(columns) == 1 else crossed(columns)
        if isinstance(feature, NumericFeature):
            return scaled(x, feature.log1p, feature.clip, scaling(name, feature, self._statistics))
        if isinstance(feature, QuantileFeature):
            x = _values(x, feature.max_values, feature.keep)
            rows = _bucket(as_float(x), self._statistics.boundaries[name])
            return tf.where(is_missing(x), -1, rows) if x.shape.rank == 2 else rows
        if isinstance(feature, VectorFeature):
            return _vector(x)
        assert isinstance(feature, Categorical)
        several = feature.delimiter is not None or x.shape.rank == 2
        if feature.delimiter is not None:
            x = _split(x, feature)
        x = _values(x, feature.max_values, feature.keep)
        if name in self.living:
            return x
        if isinstance(feature, HashFeature):
            rows = tf.where(is_missing(x), tf.constant(0, tf.int64), 1 + hash_bucket(x, feature.buckets))
        else:
            rows = self._lookups[table_name(name, feature)].lookup(x)
        rows = tf.cast(rows, tf.int32)
        return tf.where(is_missing(x), -1, rows) if several else rows


def rows_of(ids: tf.Tensor, tables: Mapping[str, IdTable], table: str) -> tf.Tensor:
    """Returns the rows of ids in a table, int32 of their shape; where there may be several, -1 for a missing one."""
    if table not in tables:
        raise ValueError(f"ids must have a table {table!r}, such as `LivingIds.before` returns; got {[*tables]}.")
    rows = tables[table](ids)
    return tf.where(is_missing(ids), -1, rows) if ids.shape.rank == 2 else rows


def _lookup(values: list, dtype: str) -> tf.lookup.StaticHashTable:
    keys = tf.constant([MISSING[dtype], *values], dtype)  # TensorFlow refuses an empty table.
    rows = tf.range(len(values) + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, rows), default_value=0)


def _split(x: tf.Tensor, feature: Categorical) -> tf.Tensor:
    """Splits delimited strings: (batch, max_values), padded with the empty string."""
    values = tf.strings.split(x, feature.delimiter)
    if feature.keep == "last":
        values = values[:, -feature.max_values :]
    return values.to_tensor("", shape=[None, feature.max_values])


def _values(x: tf.Tensor, max_values: int, keep: str) -> tf.Tensor:
    """Keeps `max_values` per example: (batch,), or (batch, max_values) padded with the missing value."""
    if x.shape.rank == 1 or x.shape[1] == max_values:
        return x
    width = tf.shape(x)[1]
    if keep == "last":
        x = tf.cond(width > max_values, lambda: _last(x, max_values), lambda: x)
    x = x[:, :max_values]
    missing = tf.constant(MISSING[x.dtype.name], x.dtype)
    x = tf.pad(x, [[0, 0], [0, max_values - tf.shape(x)[1]]], constant_values=missing)
    return tf.ensure_shape(x, [None, max_values])


def _last(x: tf.Tensor, max_values: int) -> tf.Tensor:
    """Keeps the last values per row. A batch is as wide as its longest list; missing values at an end are padding."""
    ends = tf.where(is_missing(x), 0, tf.range(1, tf.shape(x)[1] + 1))  # (batch, width)
    first = tf.maximum(tf.reduce_max(ends, axis=1) - max_values, 0)  # (batch,)
    return tf.gather(x, first[:, None] + tf.range(max_values), batch_dims=1)


def hash_bucket(x: tf.Tensor, buckets: int) -> tf.Tensor:
    """Hashes strings by FarmHash, integers by SplitMix64's finaliser (four times as fast as hashing their digits)."""
    if x.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(x, buckets)
    return tf.bitwise.bitwise_and(_mixed(x), tf.int64.max) % buckets


def crossed(columns: Sequence[tf.Tensor]) -> tf.Tensor:
    """Combines ids of several columns to one id: from h = 0, h = mix(h + mix(id) + 0x9E3779B97F4A7C15) per column.

    Text enters by its 63 bits of FarmHash. The order of the columns matters.

    Args:
        columns: int64 or string tensors that broadcast against each other: `rank` has one row of the user's.

    Returns:
        int64, at least 0; the missing value where one of the columns has none.
    """
    missing = tf.constant(False)
    for x in columns:
        missing = tf.logical_or(missing, is_missing(x))
    return tf.where(missing, tf.constant(MISSING_INT, tf.int64), combined([hash_value(x) for x in columns]))


def combined(hashes: Sequence[tf.Tensor]) -> tf.Tensor:
    """Combines what `hash_value` says of several values to one int64, at least 0; see `crossed`."""
    joined = tf.constant(0, tf.int64)
    for x in hashes:
        joined = _mixed(joined + x + tf.constant(_GOLDEN, tf.int64))
    return tf.bitwise.bitwise_and(joined, tf.int64.max)


def hash_value(x: tf.Tensor) -> tf.Tensor:
    """Returns mix(id) of each value, int64; text enters by its 63 bits of FarmHash."""
    return _mixed(tf.strings.to_hash_bucket_fast(x, 2**63 - 1) if x.dtype == tf.string else x)


def _mixed(x: tf.Tensor) -> tf.Tensor:
    """The finaliser of SplitMix64, on int64: the products wrap, the shifts carry the sign."""
    x = x * tf.constant(_GOLDEN, tf.int64)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(32, tf.int64)))
    x = x * tf.constant(-4658895280553007687, tf.int64)  # 0xBF58476D1CE4E5B9
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(29, tf.int64)))


def is_missing(x: tf.Tensor) -> tf.Tensor:
    if x.dtype.is_floating:
        return tf.math.is_nan(x)
    return tf.equal(x, "" if x.dtype == tf.string else tf.constant(MISSING_INT, x.dtype))


def as_float(x: tf.Tensor) -> tf.Tensor:
    """Numbers in float64, exact enough for a time in milliseconds; NaN where missing."""
    if x.dtype.is_floating:
        return tf.cast(x, tf.float64)
    return tf.where(is_missing(x), tf.constant(np.nan, tf.float64), tf.cast(x, tf.float64))


def scaled(x: tf.Tensor, log1p: bool, clip: tuple | None, to: Scaling) -> tf.Tensor:
    """Returns a numeric feature as the model takes it: log1p, clip, standardise.

    A value that is missing, or infinite after this, becomes `to.missing`.

    Args:
        x: `(rows,)` numbers, or `(columns, rows)` with `(columns, 1)` arrays in `clip` and `to`.
        log1p: Whether to take the logarithm.
        clip: Lowest and highest value, or None.
        to: The scale.

    Returns:
        Numbers of the shape of `x`, float32.
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
    """Row 0 if x is missing or infinite, else 1 + the number of boundaries <= x."""
    row = tf.searchsorted(tf.constant(boundaries, tf.float64), tf.reshape(x, [-1]), side="right")
    row = tf.reshape(row, tf.shape(x))
    return tf.where(tf.math.is_finite(x), row + 1, 0)
