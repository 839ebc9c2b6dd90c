"""Looks up the rows of ids in TensorFlow's DenseHashTable: in training on the host, and in the graph of an export."""

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfstable.inputs.ids import IdMap

# Keys that a DenseHashTable cannot hold: its empty one, which is our missing value, and one for deleted places.
_EMPTY = {tf.int64: -(2**63), tf.string: ""}
_DELETED = {tf.int64: -(2**63) + 1, tf.string: "\x00tfstable\x00"}
_FULLEST = 0.7  # Share of the buckets in use: a look-up probes less than two.
_AT_A_TIME = 2**20  # Ids to insert at a time.


class IdTable(tf.Module):
    """The rows of ids, exact, as a table that a SavedModel keeps among its variables.

    Args:
        ids: The map.

    Shapes:
        In: int64 or string of any shape. Out: int32 of the same; 0 for an id without a row and for a missing value.
    """

    def __init__(self, ids: IdMap):
        super().__init__(name="id_table")
        values, rows = ids.mapped()
        self._dtype = tf.int64 if pa.types.is_integer(values.type) else tf.string
        places = 2 ** int(np.ceil(np.log2(max(len(values), 4) / _FULLEST)))
        with tf.device("CPU:0"):
            self._table = tf.lookup.experimental.DenseHashTable(
                self._dtype, tf.int64, 0, _EMPTY[self._dtype], _DELETED[self._dtype], initial_num_buckets=places
            )
            for start in range(0, len(rows), _AT_A_TIME):
                part = slice(start, start + _AT_A_TIME)
                keys = values[part].to_numpy(zero_copy_only=False)
                self._table.insert(tf.constant(keys, self._dtype), tf.constant(rows[part], tf.int64))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        unheld = tf.equal(x, tf.constant(_EMPTY[self._dtype], self._dtype))
        unheld |= tf.equal(x, tf.constant(_DELETED[self._dtype], self._dtype))
        stand_in = tf.constant(0 if self._dtype == tf.int64 else "-", self._dtype)
        rows = self._table.lookup(tf.reshape(tf.where(unheld, stand_in, x), [-1]))  # Of another shape it takes none.
        rows = tf.where(unheld, tf.constant(0, tf.int64), tf.reshape(rows, tf.shape(x)))
        return tf.ensure_shape(tf.cast(rows, tf.int32), x.shape)
