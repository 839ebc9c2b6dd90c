"""Embedding tables on the SparseCores of TPUs, behind the interface of `Embeddings`.

Its SparseCore path has not run on TPU hardware: the tests run it on a CPU, where `keras_rs` keeps the tables on the
default device.
"""

from collections.abc import Mapping
from typing import Any

import keras
import keras_rs
import numpy as np
import tensorflow as tf

from tfstable.layers.embedding import Embeddings
from tfstable.layers.shapes import Shape


class SparseCoreEmbeddings(keras.layers.Layer):
    """Looks up every feature of an `Embeddings` layer in a `keras_rs.layers.DistributedEmbedding`.

    SparseCores update their tables themselves, inside the backward pass, by stock Adagrad: without clipping and without
    skipping steps that are not finite. The layer starts from the host layer's tables and writes its own back to it;
    exports and runs on other devices use the host layer. Adagrad's accumulators stay on the TPU: a run that moves to or
    from the TPU starts them again.

    Args:
        host: The layer to replace; gives its features, offsets and tables.
        batch_size: Examples per step over all replicas: SparseCores need static shapes.
        learning_rate: Adagrad's learning rate, at least 0.
        initial_accumulator: Adagrad's G_0, at least 0.
        placement: "sparsecore", or "default_device" to run without SparseCores.

    Shapes:
        As in `Embeddings`.

    Raises:
        ValueError: From `keras_rs`, if placed on a SparseCore outside a TPUStrategy.
    """

    def __init__(
        self,
        host: Embeddings,
        batch_size: int,
        learning_rate: float,
        initial_accumulator: float = 0.1,
        placement: str = "sparsecore",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not host.built:
            host.build()
        self._host = lambda: host  # A function, so that Keras does not track the host's variables as this layer's.
        optimizer = keras.optimizers.Adagrad(learning_rate, initial_accumulator_value=initial_accumulator)
        tables = {
            name: keras_rs.layers.TableConfig(
                name=name,
                vocabulary_size=len(rows),
                embedding_dim=rows.shape[1],
                initializer=keras.initializers.RandomNormal(stddev=host.stddev),
                optimizer=optimizer,
                combiner="sum",
                placement=placement,
            )
            for name, rows in host.tables().items()
        }
        self._pooling = {name: feature.pooling for name, feature in host.features.items()}
        self._batch_size, self._tables = batch_size, tables
        self._table_of = {name: feature.table for name, feature in host.features.items()}

    def build(self, input_shape: Mapping[str, Shape]) -> None:
        features = {}
        for name in self._table_of:  # The inputs may hold more features.
            shape = input_shape[name]
            table, values = self._tables[self._table_of[name]], shape[1] if len(shape) == 2 else 1
            features[name] = keras_rs.layers.FeatureConfig(
                name, table, (self._batch_size, values), (self._batch_size, table.embedding_dim)
            )
        self.distributed = keras_rs.layers.DistributedEmbedding(features, dtype="float32")
        self.distributed.build({name: feature.input_shape for name, feature in features.items()})
        self.read_from(self._host())
        self.built = True

    def call(self, inputs: Mapping[str, tf.Tensor], joined: bool = False) -> tf.Tensor | dict[str, tf.Tensor]:
        vectors = self._vectors(inputs)
        return tf.concat(list(vectors.values()), axis=1) if joined else vectors

    def _vectors(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if tf.distribute.in_cross_replica_context():
            # SparseCores answer only inside `strategy.run`; zeros give a model the shapes to build its other layers.
            return {
                name: tf.zeros([len(inputs[name]), self._tables[table].embedding_dim], self.compute_dtype)
                for name, table in self._table_of.items()
            }
        rows, weights = {}, {}
        for name in self._table_of:
            value = inputs[name]
            row = value[:, None] if value.shape.rank == 1 else value  # (batch, values)
            present = tf.cast(row >= 0, tf.float32)
            if self._pooling[name] == "mean":  # Weights of 1 / count: the mean of no values is then 0, not NaN.
                present = present / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1)
            rows[name], weights[name] = tf.maximum(row, 0), present
        vectors = self.distributed(rows, weights)
        return {name: tf.cast(vector, self.compute_dtype) for name, vector in vectors.items()}

    def read_from(self, host: Embeddings) -> None:
        """Copies the tables of a host layer into this layer."""
        for name, rows in host.tables().items():
            self._assign(name, rows)

    def write_to(self, host: Embeddings) -> None:
        """Copies the tables of this layer into a host layer."""
        host.assign_tables({name: np.asarray(rows) for name, rows in self.distributed.get_embedding_tables().items()})

    def _assign(self, name: str, rows: np.ndarray) -> None:
        on_device = getattr(self.distributed, "_default_device_embedding_layers", None)
        if on_device:
            feature = next(feature for feature, table in self._table_of.items() if table == name)
            on_device[feature].embeddings.assign(rows)
            return
        values = self.distributed._tpu_embedding.embedding_tables[name].values
        of_a_chip = tf.distribute.get_strategy().extended.tpu_hardware_feature.num_embedding_devices_per_chip
        for shard, part in zip(values, shards(rows, values, len(values) * of_a_chip), strict=True):
            shard.assign(part)


def shards(rows: np.ndarray, values: list, cores: int) -> list[np.ndarray]:
    """Cuts a table into one part per TPU device.

    Row r lies on SparseCore r mod n; a device holds the rows of its SparseCores one core after the other. Rows and
    columns are padded with zeros to the devices' shapes.

    Args:
        rows: The table, `(rows, dim)`.
        values: One array per device, in order: `(rows of the device, padded dim)`.
        cores: n, the number of SparseCores over all devices.

    Returns:
        One array per device, of the shape of its entry in `values`.
    """
    padded_rows = sum(value.shape[0] for value in values)
    table = np.zeros((padded_rows, values[0].shape[1]), np.float32)
    table[: len(rows), : rows.shape[1]] = rows
    by_core = table.reshape(padded_rows // cores, cores, -1).swapaxes(0, 1)  # (cores, rows of a core, dim)
    return np.split(by_core.reshape(padded_rows, -1), len(values))
