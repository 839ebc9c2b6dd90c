"""Preprocesses a served request, all columns of one kind together.

A request is small, so starting operations takes more time than their work: ten operations for each of thirty columns
cost more than the model's matrices. Stacked to (columns, rows), all ids are hashed by one chain of operations, all
numbers scaled by another, and so on. The values equal the ones of `Preprocessor` bit for bit.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from tfstable.inputs.counters import CounterTable
from tfstable.inputs.id_table import IdTable
from tfstable.inputs.preprocessor import Preprocessor, as_float, hash_bucket, is_missing, scaled
from tfstable.inputs.statistics import Scaling, Statistics, is_several_valued, scaling, table_name
from tfstable.log_columns import single_columns
from tfstable.specs import Feature, HashFeature, NumericFeature, QuantileFeature, VectorFeature, living

SEARCHED = 1024  # Largest vocabulary to search by bisection; larger ones use their hash table.


class _Counted:
    """What rows see of a counter: of the keys that have occurred alone, found by bisection."""

    def __init__(self, table: CounterTable):
        buckets = np.append(table.buckets, np.int32(2**31 - 1))  # Behind the last, so that every search ends at one.
        self._buckets = tf.Variable(buckets, trainable=False, dtype=tf.int32)
        self._values = tf.Variable(table.values, trainable=False)

    def __call__(self, buckets: tf.Tensor) -> tf.Tensor:
        """Returns `(rows, width)` for buckets, `(rows,)` int32."""
        place = tf.searchsorted(self._buckets, buckets)
        there = tf.gather(self._buckets, place) == buckets
        return tf.gather(self._values, tf.where(there, 1 + place, 0))  # Row 0: of a key that has not occurred.


class PackedPreprocessor:
    """Turns raw columns into model inputs, with the same result as `Preprocessor`.

    Args:
        features: Feature specs by name.
        statistics: The result of `statistics.fit`.
        user_columns: Columns that may have another number of rows than the others; they are packed separately.
        counters: What rows see of each counter.
        ids: The rows of ids by table.

    Attributes:
        unpacked: The preprocessor of features that cannot be packed, with the hash tables that a SavedModel must hold.

    Shapes:
        As in `Preprocessor`.
    """

    def __init__(
        self,
        features: dict[str, Feature],
        statistics: Statistics,
        user_columns: Collection[str] = (),
        counters: Mapping[str, CounterTable] = MappingProxyType({}),
        ids: Mapping[str, IdTable] = MappingProxyType({}),
    ):
        self._features, self._statistics, self._column_of = features, statistics, single_columns(features)
        self._groups: dict[tuple, list[str]] = {}
        for name, feature in features.items():
            if (kind := self._kind(name, feature)) is not None:
                dtype, user = self._dtype(name), self._column_of[name] in user_columns
                self._groups.setdefault((kind, dtype, user), []).append(name)
        packed = {name for names in self._groups.values() for name in names}
        rest = {name: feature for name, feature in features.items() if name not in packed}
        self.unpacked = Preprocessor(rest, statistics, ids)
        self._counters = {name: _Counted(table) for name, table in counters.items()}

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = self.unpacked(raw)
        found |= {name: counted(found[name]) for name, counted in self._counters.items()}
        for (kind, _, _), names in self._groups.items():
            stacked = tf.stack([raw[self._column_of[name]] for name in names])  # (columns, rows)
            rows = _KINDS[kind](stacked, [self._features[name] for name in names], names, self._statistics)
            found |= zip(names, tf.unstack(rows, num=len(names)), strict=True)
        return {name: found[name] for name in self._features}

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the raw columns as named TensorSpecs with an open batch dimension."""
        return self.unpacked.signature()

    def _kind(self, name: str, feature: Feature) -> str | None:
        if isinstance(feature, NumericFeature):
            return "log1p" if feature.log1p else "numeric"
        if is_several_valued(name, feature, self._statistics) or name in living(self._features):
            return None
        if isinstance(feature, QuantileFeature):
            return "quantile"
        if isinstance(feature, VectorFeature) or name not in self._column_of or self._dtype(name) != "int64":
            return None
        if isinstance(feature, HashFeature):
            return "hash"
        return "vocabulary" if len(self._statistics.vocabularies[table_name(name, feature)]) <= SEARCHED else None

    def _dtype(self, name: str) -> str:
        return self._statistics.columns[self._column_of[name]].dtype


def _numeric(x: tf.Tensor, features: Sequence[Any], names: Sequence[str], statistics: Statistics) -> tf.Tensor:
    scales = [scaling(name, feature, statistics) for name, feature in zip(names, features, strict=True)]
    to = Scaling(*(np.array(values)[:, None] for values in zip(*scales, strict=True)))
    clip = None
    if any(feature.clip for feature in features):
        limits = zip(*(feature.clip or (-np.inf, np.inf) for feature in features), strict=True)
        clip = tuple(np.array(values)[:, None] for values in limits)
    return scaled(x, features[0].log1p, clip, to)


def _quantile(x: tf.Tensor, features: Sequence[Any], names: Sequence[str], statistics: Statistics) -> tf.Tensor:
    x, boundaries = as_float(x), [statistics.boundaries[name] for name in names]
    row = tf.searchsorted(_padded(boundaries, np.inf, np.float64), x, side="right")
    return tf.where(tf.math.is_finite(x), row + 1, 0)  # The padding is above every finite x.


def _hash(x: tf.Tensor, features: Sequence[Any], names: Sequence[str], statistics: Statistics) -> tf.Tensor:
    buckets = _column([feature.buckets for feature in features], tf.int64)
    rows = tf.where(is_missing(x), tf.constant(0, tf.int64), 1 + hash_bucket(x, buckets))
    return tf.cast(rows, tf.int32)


def _vocabulary(x: tf.Tensor, features: Sequence[Any], names: Sequence[str], statistics: Statistics) -> tf.Tensor:
    vocabularies = [statistics.vocabularies[table_name(n, f)] for n, f in zip(names, features, strict=True)]
    orders = [np.argsort(values, kind="stable") for values in vocabularies]
    values = _padded([np.array(v)[order] for v, order in zip(vocabularies, orders, strict=True)], 2**63 - 1, np.int64)
    rows = _padded([order + 1 for order in orders], 0, np.int32)
    place = tf.minimum(tf.searchsorted(values, x), values.shape[1] - 1)
    found = tf.equal(tf.gather(values, place, batch_dims=1), x)
    return tf.where(found, tf.gather(rows, place, batch_dims=1), 0)


_KINDS: dict[str, Callable] = {
    "numeric": _numeric,
    "log1p": _numeric,
    "quantile": _quantile,
    "hash": _hash,
    "vocabulary": _vocabulary,
}


def _column(values: Iterable[int], dtype: tf.DType) -> tf.Tensor:
    return tf.constant(list(values), dtype)[:, None]


def _padded(lists: Sequence[Any], padding: float, dtype: type[np.generic]) -> np.ndarray:
    """(lists, longest)"""
    width = max(1, *(len(values) for values in lists))
    table = np.full((len(lists), width), padding, dtype)
    for row, values in zip(table, lists, strict=True):
        row[: len(values)] = values
    return table
