"""Embedding tables that are read by rows, never whole."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfstable.layers.shapes import Shape


class EmbeddingFeature(NamedTuple):
    """One categorical input of `Embeddings`.

    Attributes:
        table: Name of its table; features with the same table share its rows.
        rows: Rows of the table.
        dim: Width of the table.
        pooling: How the rows of a several-valued example become one: "mean" or "sum".
        trainable: Whether the table is trained.
        rate: Learning rate of the table, relative to that of its optimizer.
        renewed: Whether rows of the table start anew in the course of training.
        stacked: Whether the table may lie in one variable with others of its width.
    """

    table: str
    rows: int
    dim: int
    pooling: str = "mean"
    trainable: bool = True
    rate: float = 1.0
    renewed: bool = False
    stacked: bool = True

    @property
    def stack(self) -> str:
        """Which variable the table lies in: tables of one width that are trained alike lie in one."""
        own = "" if self.stacked else f"__{self.table}".replace("/", "_")
        if not self.trainable:
            return f"{self.dim}_frozen{own}"
        rate = "" if self.rate == 1 else f"_rate_{self.rate:g}".replace(".", "_")
        return f"{self.dim}{rate}{own}"


@keras.saving.register_keras_serializable(package="tfstable")
class Embeddings(keras.layers.Layer):
    """Looks up every categorical feature, one gather for all tables of one width.

    Tables of equal width are stacked into one variable `tables_<dim>`; a table is a range of its rows. (Frozen tables,
    and those of another rate, have variables of their own.) The lookup of 1000 features is then a handful of
    operations, and so is the sparse update. Rows are gathered from the variable itself. `keras.layers.Embedding` reads
    the whole variable, which copies the tables in every step.

    Args:
        features: Inputs by name.
        stddev: Standard deviation of the initial rows, normal. Non-negative.
        columns_apart: Whether the columns are weights of their own, such as one per task, rather than coordinates of
            one vector. `Adagrad(accumulator="row")` then keeps a number per weight.

    Shapes:
        In: a dict with the rows per feature, `(batch,)` int, or `(batch, values)` padded with -1. Each row must be
            below the feature's `rows`: tables are adjacent, and no step checks this.
        Out: a dict with `(batch, dim)` per feature; zeros if every value is padding. With `joined=True`, one tensor of
            all vectors in order, `(batch, sum of the dims)`, or of those in `names`. This avoids splitting and joining
            the vectors and gradients.

    Raises:
        ValueError: If features that share a table differ in its rows or width, a table is empty, a pooling is unknown,
            or `stddev` is negative.
    """

    def __init__(
        self, features: Mapping[str, EmbeddingFeature], stddev: float = 0.01, columns_apart: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if not stddev >= 0:
            raise ValueError(f"stddev must be non-negative, got {stddev}")
        self.features = {name: EmbeddingFeature(*feature) for name, feature in features.items()}
        self.stddev = stddev
        self.columns_apart = columns_apart
        tables: dict[str, EmbeddingFeature] = {}
        for name, feature in self.features.items():
            if feature.rows < 1 or feature.dim < 1 or feature.pooling not in ("mean", "sum"):
                raise ValueError(
                    f"feature {name} must have at least 1 row and 1 dim, and pooling mean or sum, got {feature}"
                )
            other = tables.setdefault(feature.table, feature)
            if (other.rows, other.stack) != (feature.rows, feature.stack):
                raise ValueError(
                    f"feature {name} needs table {feature.table} with {feature.rows} rows of {feature.dim}, another "
                    f"feature with {other.rows} of {other.dim}, or another trainable or rate; give them equal sizes, "
                    "trainable and rate, or separate tables"
                )
        self._offsets: dict[str, int] = {}
        self._stacked: dict[str, int] = {}  # Rows of the stacked tables, by `EmbeddingFeature.stack`.
        self._of_stack: dict[str, EmbeddingFeature] = {}  # A feature of each.
        for table, feature in tables.items():
            self._offsets[table] = self._stacked.get(feature.stack, 0)
            self._stacked[feature.stack] = self._offsets[table] + feature.rows
            self._of_stack.setdefault(feature.stack, feature)

    def build(self, input_shape: Mapping[str, Shape] | None = None) -> None:
        self._tables = {}
        for stack, rows in self._stacked.items():
            table = self.add_weight(
                shape=(rows, self._of_stack[stack].dim),
                initializer=keras.initializers.RandomNormal(stddev=self.stddev),
                trainable=self._of_stack[stack].trainable,
                name=f"tables_{stack}",
                autocast=False,  # Else mixed precision would cast the whole table in every step.
            )
            table.is_embedding_table = True  # Read by tfstable.optimizers: sparse rules, never dense work.
            table.relative_rate = self._of_stack[stack].rate  # Read by tfstable.optimizers, too.
            table.columns_apart = self.columns_apart  # And this, by Adagrad.
            table.is_renewed = any(f.renewed and f.stack == stack for f in self.features.values())  # By averages.
            self._tables[stack] = table
            if not table.trainable:  # A checkpoint finds trainable ones by the optimizer, and looks into no dict.
                setattr(self, f"tables_{stack}", table)
        self.built = True

    def call(
        self, inputs: Mapping[str, tf.Tensor], joined: bool = False, names: Sequence[str] | None = None
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        if joined:
            return self._joined(inputs, list(self.features) if names is None else names)
        embedded: dict[str, tf.Tensor] = {}
        for stack in self._stacked:
            names = [name for name, feature in self.features.items() if feature.stack == stack]
            embedded |= self._lookup(stack, names, inputs)
        return {name: embedded[name] for name in self.features}

    def _joined(self, inputs: Mapping[str, tf.Tensor], wanted: Sequence[str]) -> tf.Tensor:
        """Leaves neighbouring single-valued features of one width as they were gathered."""
        gathered, column_of = {}, {}
        for stack in self._stacked:
            if not (names := [name for name in wanted if self.features[name].stack == stack]):
                continue
            columns, gathered[stack] = self._gather(stack, names, inputs)
            start = 0
            for name, column in zip(names, columns, strict=True):
                column_of[name] = start, column
                start += column.shape[1]

        def run(name: str) -> tuple[str, str | None]:  # Equal for neighbours that need no split.
            several = tf.convert_to_tensor(inputs[name]).shape.rank == 2
            return self.features[name].stack, name if several else None

        parts = []
        for (stack, several), neighbours in itertools.groupby(wanted, run):
            names = list(neighbours)
            first, last = column_of[names[0]], column_of[names[-1]]
            start, end = first[0], last[0] + last[1].shape[1]
            vectors = gathered[stack]
            if end - start < vectors.shape[1]:  # The gradient of even a whole slice is a copy.
                vectors = vectors[:, start:end]
            if several:
                parts.append(_pool(vectors, first[1], self.features[several].pooling))
            else:
                parts.append(tf.reshape(vectors, [-1, len(names) * self._of_stack[stack].dim]))
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)

    def side_by_side(self, names: Sequence[str], inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the vectors of some features of one stack in one tensor, `(batch, names, dim)`."""
        (stack,) = {self.features[name].stack for name in names}
        several = [name for name in names if tf.convert_to_tensor(inputs[name]).shape.rank == 2]
        if several:
            vectors = self._lookup(stack, list(names), inputs)
            return tf.stack([vectors[name] for name in names], axis=1)
        offsets = [self._offsets[self.features[name].table] for name in names]
        dtype = tf.int32 if self._stacked[stack] < 2**31 else tf.int64
        rows = tf.stack([tf.cast(inputs[name], dtype) for name in names], axis=1) + tf.constant(offsets, dtype)
        return tf.cast(tf.gather(self._tables[stack].value, rows), self.compute_dtype)

    def unpooled(self, names: Sequence[str], inputs: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Returns the vector of every value, padding included, which reads row 0.

        Args:
            names: Features whose inputs have one shape, `(batch,)` or `(batch, values)`.
            inputs: Rows by feature.

        Returns:
            In order, one tensor for neighbours of one stack: `(batch, [values,] neighbours, dim)`.
        """
        parts = []
        for stack, neighbours in itertools.groupby(names, lambda name: self.features[name].stack):
            group = list(neighbours)
            dtype = tf.int32 if self._stacked[stack] < 2**31 else tf.int64
            rows = tf.stack([tf.cast(tf.maximum(inputs[name], 0), dtype) for name in group], axis=-1)
            rows += tf.constant([self._offsets[self.features[name].table] for name in group], dtype)
            parts.append(tf.cast(tf.gather(self._tables[stack].value, rows), self.compute_dtype))
        return parts

    def _lookup(self, stack: str, names: Sequence[str], inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        columns, vectors = self._gather(stack, names, inputs)
        result, widths = {}, [column.shape[1] for column in columns]
        for name, column, part in zip(names, columns, tf.split(vectors, widths, axis=1), strict=True):
            several = tf.convert_to_tensor(inputs[name]).shape.rank == 2
            result[name] = _pool(part, column, self.features[name].pooling) if several else part[:, 0]
        return result

    def _gather(
        self, stack: str, names: Sequence[str], inputs: Mapping[str, tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The rows of every feature, `(batch, values)`, values = 1 for single-valued ones, and the vectors of all."""
        columns = []
        for name in names:
            rows = tf.convert_to_tensor(inputs[name])
            columns.append(rows[:, None] if rows.shape.rank == 1 else rows)
        rows = tf.concat(columns, axis=1)  # (batch, sum of widths)
        offsets = np.repeat([self._offsets[self.features[name].table] for name in names], [c.shape[1] for c in columns])
        dtype = tf.int32 if self._stacked[stack] < 2**31 else tf.int64
        absolute = tf.cast(tf.maximum(rows, 0), dtype) + tf.constant(offsets, dtype)
        return columns, tf.cast(tf.gather(self._tables[stack].value, absolute), self.compute_dtype)

    def places(self) -> dict[str, tuple[str, int, int]]:
        """Returns the variable in which each table lies, its first row there, and its rows, by its name."""
        found = {f.table: (f"tables_{f.stack}", self._offsets[f.table], f.rows) for f in self.features.values()}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def tables(self) -> dict[str, np.ndarray]:
        """Returns a copy of each table, `(rows, dim)` float32, by its name."""
        found = {}
        for feature in self.features.values():
            if feature.table not in found:
                start = self._offsets[feature.table]
                found[feature.table] = self._tables[feature.stack].value[start : start + feature.rows].numpy()
        return found

    def place(self, table: str) -> tuple[keras.Variable, int]:
        """Returns the variable that a table lies in, and the row of it where the table begins."""
        stack = next(feature.stack for feature in self.features.values() if feature.table == table)
        return self._tables[stack], self._offsets[table]

    def assign_tables(self, tables: Mapping[str, np.ndarray]) -> None:
        """Sets every table to the rows given by its name."""
        stack_of = {feature.table: feature.stack for feature in self.features.values()}
        for stack, variable in self._tables.items():
            stacked = sorted((name for name in stack_of if stack_of[name] == stack), key=self._offsets.__getitem__)
            variable.assign(np.concatenate([tables[name] for name in stacked]))

    def compute_output_spec(
        self, inputs: Mapping[str, Any], joined: bool = False, names: Sequence[str] | None = None
    ) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
        spec = {n: keras.KerasTensor((inputs[n].shape[0], f.dim), self.compute_dtype) for n, f in self.features.items()}
        if not joined:
            return spec
        width = sum(self.features[name].dim for name in (self.features if names is None else names))
        return keras.KerasTensor((next(iter(spec.values())).shape[0], width), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        features = {name: list(feature) for name, feature in self.features.items()}
        return {
            **super().get_config(),
            "features": features,
            "stddev": self.stddev,
            "columns_apart": self.columns_apart,
        }


def _pool(vectors: tf.Tensor, rows: tf.Tensor, pooling: str) -> tf.Tensor:
    """(batch, values, dim) -> (batch, dim) over the values that are not padding."""
    present = tf.cast(rows >= 0, vectors.dtype)[..., None]  # (batch, values, 1)
    total = tf.reduce_sum(vectors * present, axis=1)
    return total if pooling == "sum" else total / tf.maximum(tf.reduce_sum(present, axis=1), 1)
