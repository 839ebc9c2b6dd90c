"""Training steps and updates of which the cost is measured."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from tfstable.optimizers import ClippyAdagrad
from tfstable.optimizers.rows import sum_duplicates

WIDTH, BATCH = 16, 4096


def make_table(height):
    """A table as a layer of tfstable makes it: a Keras variable, looked up by rows."""
    table = keras.Variable(tf.random.stateless_uniform([height, WIDTH], [1, 2], -0.05, 0.05), name="ids")
    table.is_embedding_table = True
    return table


def embedding_step(tables, optimizer, ids, units=(64,)):
    """One whole training step: look up, dense layers, squared error, gradients, update."""
    sizes = [len(tables) * WIDTH, *units, 1]
    kernels = [tf.Variable(tf.random.stateless_normal([n, m], [3, 4]) * n**-0.5) for n, m in itertools.pairwise(sizes)]
    variables = [*tables, *kernels]
    handles = [t.value if isinstance(t, keras.Variable) else t for t in tables]
    optimizer.build(variables)
    numbers = iter(range(10**9))

    @tf.function
    def step(ids):
        with tf.GradientTape() as tape:
            hidden = tf.concat([tf.gather(handle, ids[:, i]) for i, handle in enumerate(handles)], axis=1)
            for kernel in kernels[:-1]:
                hidden = tf.nn.relu(hidden @ kernel)
            loss = tf.reduce_mean(tf.square(hidden @ kernels[-1] - 1.0))
        gradients = tape.gradient(loss, [*handles, *kernels])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return lambda: step(ids[next(numbers) % len(ids)])


def some_ids(height, tables=1, batches=8):
    """Batches of ids, (BATCH, tables): popular ones often, as in a log; equally many distinct ones for every height."""
    rng = np.random.default_rng(0)
    ids = (rng.zipf(1.2, size=(batches, BATCH, tables)) - 1) % 10_000 * (height // 10_000)
    return [tf.constant(batch, tf.int64) for batch in ids]


def table_update(table, height):
    optimizer = ClippyAdagrad(0.1)
    optimizer.build([table])
    values, ids = tf.random.stateless_normal([BATCH, WIDTH], [7, 8]), some_ids(height)
    numbers = iter(range(10**9))

    @tf.function
    def update(ids):
        optimizer.apply([tf.IndexedSlices(values, ids)], [table])

    return lambda: update(ids[next(numbers) % len(ids)][:, 0])


class Unguarded(ClippyAdagrad):
    """The same update with neither the flag nor the branch, to price them."""

    def _apply(self, gradients, variables):
        gradients = [
            sum_duplicates(g, v.shape[0]) if isinstance(g, tf.IndexedSlices) else g
            for g, v in zip(gradients, variables, strict=True)
        ]
        strategy = tf.distribute.get_strategy()
        tf.distribute.get_replica_context().merge_call(
            lambda *_: self.update_variables(strategy, list(zip(gradients, variables, strict=True)))
        )
        self.iterations.assign_add(1)


def dense_update(optimizer, layers=4, width=2048):
    """The update of `dense_step` alone."""
    kernels = [tf.Variable(tf.random.stateless_normal([width, width], [i, 1]) * width**-0.5) for i in range(layers)]
    gradients = [tf.random.stateless_normal([width, width], [i, 2]) for i in range(layers)]
    optimizer.build(kernels)
    return tf.function(lambda: optimizer.apply(gradients, kernels), autograph=False)


def dense_step(optimizer, layers=4, width=2048, batch=1024):
    kernels = [tf.Variable(tf.random.stateless_normal([width, width], [i, 1]) * width**-0.5) for i in range(layers)]
    out = tf.Variable(tf.random.stateless_normal([width, 1], [9, 1]) * width**-0.5)
    x = tf.random.stateless_normal([batch, width], [8, 1])
    optimizer.build([*kernels, out])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            h = x
            for kernel in kernels:
                h = tf.nn.relu(h @ kernel)
            loss = tf.reduce_mean(tf.square(h @ out - 1.0))
        gradients = tape.gradient(loss, [*kernels, out])
        optimizer.apply_gradients(zip(gradients, [*kernels, out], strict=True))

    return step
