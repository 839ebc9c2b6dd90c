"""A table, a kernel and a bias trained on one device or two."""

import math

import keras
import numpy as np
import tensorflow as tf

HEIGHT, WIDTH = 9, 3


def make_strategy(replicas):
    if replicas == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])


def train(make, replicas, steps, bad_replica=None):
    """`steps` steps of a loop in the graph on halves of the batch. Returns the state on each replica."""
    strategy = make_strategy(replicas)
    with strategy.scope():
        table = keras.Variable(np.linspace(-1, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH), dtype="float32", name="ids")
        table.is_embedding_table = True
        kernel = keras.Variable(np.linspace(-1, 1, 10).reshape(5, 2), dtype="float32", name="kernel")
        bias = keras.Variable(np.zeros(2), dtype="float32", name="bias")
        variables = [table, kernel, bias]
        optimizer = make()
        optimizer.build(variables)

    def step(number):
        # Powers of two: a sum of halves is then exact in any order, and replicas can agree bitwise with the whole.
        ids = tf.constant([1, 4, 1, 8], tf.int64)
        values = tf.constant([[1, 2, 0.5], [2, 0, 1], [-0.5, 1, 1], [0.25, 4, 1]]) * tf.cast(number + 1, tf.float32)
        dense = tf.constant([[1.0, -2.0], [0.5, 4.0]]) / tf.cast(number + 1, tf.float32)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        if replicas == 2:
            ids, values, dense = (
                tf.split(x, 2)[0] if replica == 0 else tf.split(x, 2)[1] for x in (ids, values, dense)
            )
        kernel_gradient = tf.tile(tf.reduce_sum(dense, 0, keepdims=True), [5, 1])
        if bad_replica is not None:
            is_bad = (replica == bad_replica) & (number % 2 == 1)
            kernel_gradient = tf.where(is_bad, math.nan, kernel_gradient)
        optimizer.apply([tf.IndexedSlices(values, ids), kernel_gradient, tf.reduce_sum(dense, 0)], variables)

    @tf.function
    def loop(count):
        for number in tf.range(count):
            strategy.run(step, args=(number,))

    loop(tf.constant(steps))
    state = [*variables, *optimizer.variables]
    copies = [strategy.experimental_local_results(v.value) for v in state]
    return {v.path: [c.numpy() for c in copy] for v, copy in zip(state, copies, strict=True)}
