"""The SparseCore adapter on a CPU, where keras_rs keeps the tables on the default device: no TPU is to be had."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.layers import EmbeddingFeature, Embeddings
from tfstable.layers.sparsecore import SparseCoreEmbeddings, shards

FEATURES = {
    "user": EmbeddingFeature("user", 11, 4),
    "item": EmbeddingFeature("item", 7, 4),
    "history": EmbeddingFeature("item", 7, 4, "mean"),
    "tags": EmbeddingFeature("tags", 5, 2, "sum"),
}
INPUTS = {
    "user": [0, 10, 3, 3],
    "item": [6, 0, 1, 1],
    "history": [[1, 2, -1], [-1, -1, -1], [6, 6, 6], [0, -1, -1]],
    "tags": [[4, 0], [1, -1], [-1, -1], [2, 2]],
}


def layers() -> tuple[Embeddings, SparseCoreEmbeddings, dict[str, tf.Tensor]]:
    keras.utils.set_random_seed(0)
    host = Embeddings(FEATURES, stddev=1.0)
    host.build()
    adapter = SparseCoreEmbeddings(host, 4, learning_rate=0.1, placement="default_device")
    return host, adapter, {name: tf.constant(value, tf.int32) for name, value in INPUTS.items()}


def test_it_looks_up_what_the_host_layer_does():
    host, adapter, inputs = layers()
    ours, theirs = adapter(inputs), host(inputs)
    assert ours.keys() == theirs.keys()
    for name, vectors in theirs.items():
        np.testing.assert_allclose(ours[name], vectors, rtol=1e-6, err_msg=name)


def test_tables_go_to_the_host_form_and_back():
    host, adapter, inputs = layers()
    adapter(inputs)
    optimizer = keras.optimizers.Adagrad(0.1)
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(tf.square(vectors)) for vectors in adapter(inputs).values()])
    variables = adapter.trainable_variables
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, [v.value for v in variables])]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    before = host.tables()
    adapter.write_to(host)
    assert any(not np.array_equal(before[name], rows) for name, rows in host.tables().items())
    for name, vectors in adapter(inputs).items():
        np.testing.assert_allclose(host(inputs)[name], vectors, rtol=1e-6, err_msg=name)

    other = Embeddings(FEATURES, stddev=1.0)
    other.build()
    adapter.read_from(other)
    for name, vectors in other(inputs).items():
        np.testing.assert_allclose(adapter(inputs)[name], vectors, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(("devices", "cores"), [(1, 1), (2, 4), (4, 16)])
def test_shards_are_those_that_keras_rs_puts_together(devices, cores):
    rows, dim, padded = 37, 3, 8
    table = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    of_a_device = -(-rows // cores) * cores // devices
    parts = shards(table, [np.empty((of_a_device, padded))] * devices, cores)
    # keras_rs 0.4, DistributedEmbedding._sparsecore_get_embedding_tables.
    whole = np.concatenate([part[:, :dim] for part in parts], axis=0)
    whole = np.concatenate(np.split(whole, cores, axis=0), axis=1).reshape(-1, dim)
    np.testing.assert_array_equal(whole[:rows], table)


def test_on_a_sparse_core_it_needs_a_tpu():
    host, _, inputs = layers()
    with pytest.raises(ValueError, match="TPU"):
        SparseCoreEmbeddings(host, 4, learning_rate=0.1)(inputs)
