"""Rows of tables: read, written, and the unique ones of a batch, each with its duplicates summed."""

from typing import Any

import tensorflow as tf
from tensorflow.python.ops import control_flow_util  # TensorFlow offers no public way to ask for the XLA context.


def under_xla() -> bool:
    """Whether the ops made now are compiled by XLA (`jit_compile=True`), which needs static shapes."""
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def working_dtype(variable: Any) -> tf.DType:
    """The dtype of a variable's gradient, state and update: float32 for bfloat16, else the variable's own.

    Eight bits of mantissa can hold a weight, but not a sum: 256 + 1 is 256.
    """
    dtype = tf.as_dtype(variable.dtype)
    return tf.float32 if dtype == tf.bfloat16 else dtype


def sum_duplicates(slices: tf.IndexedSlices, height: int) -> tf.IndexedSlices:
    """Sums the values of equal indices, so that every row of the table occurs once.

    Args:
        slices: `tf.IndexedSlices`, values (n, ...), indices (n,), in which one index may occur many times.
        height: Number of rows of the table.

    Returns:
        `tf.IndexedSlices` with unique indices. Under XLA its length is still n: zeros with the index `height` follow
        the unique rows. That index is outside the table, where XLA scatters nothing.
    """
    if under_xla():
        return _sum_sorted(slices, height)
    # `tf.unique` allocates by the batch, not by the table, and is the fastest way on hosts.
    indices, position = tf.unique(slices.indices)
    values = tf.math.unsorted_segment_sum(slices.values, position, tf.size(indices))
    return tf.IndexedSlices(values, indices)


def _sum_sorted(slices: tf.IndexedSlices, height: int) -> tf.IndexedSlices:
    order = tf.argsort(slices.indices, stable=True)
    indices = tf.gather(slices.indices, order)  # (n,), ascending
    is_first = tf.concat([tf.ones_like(indices[:1], tf.bool), indices[1:] != indices[:-1]], axis=0)
    position = tf.cumsum(tf.cast(is_first, tf.int32)) - 1  # (n,): which unique row each value belongs to
    size = tf.size(indices)
    values = tf.math.unsorted_segment_sum(tf.gather(slices.values, order), position, size)
    unique = tf.math.unsorted_segment_min(indices, position, size)  # the dtype's maximum for an empty segment
    return tf.IndexedSlices(values, tf.minimum(unique, tf.cast(height, unique.dtype)))


def is_row(indices: tf.Tensor, height: int, rank: int) -> tf.Tensor:
    """(n, 1, ...) of this rank: True for rows of the table, False for the padding of `sum_duplicates` under XLA."""
    return tf.reshape(indices < tf.cast(height, indices.dtype), [-1] + [1] * (rank - 1))


def read_rows(variable: Any, indices: tf.Tensor | None = None) -> tf.Tensor:
    """The variable, or only some rows, gathered from the variable itself, so that the whole table is never read."""
    return tf.convert_to_tensor(variable) if indices is None else tf.gather(variable, indices)


def write_row_values(variable: Any, rows: tf.Tensor, values: tf.Tensor) -> None:
    """Assigns rows, for `strategy.extended.update`."""
    write_rows(variable, rows, tf.cast(values, variable.dtype))


def write_rows(variable: Any, indices: tf.Tensor | None, value: tf.Tensor) -> None:
    """Assigns the variable, or only some rows."""
    if indices is None:
        variable.assign(value)
    else:
        variable.scatter_update(tf.IndexedSlices(value, indices))
