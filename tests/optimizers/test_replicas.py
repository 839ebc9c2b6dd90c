"""Two replicas do what one does with the whole batch, and skip together."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers.cases import OPTIMIZERS
from tfstable.optimizers import Adagrad, Clippy, ClippyAdagrad, Composite, Group

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


@pytest.mark.parametrize("make", [OPTIMIZERS["AdaX"], OPTIMIZERS["Composite"]], ids=["rule", "groups"])
def test_two_replicas_equal_one(make):
    one, two = train(make, 1, steps=6), train(make, 2, steps=6)
    for path, (first, second) in two.items():
        np.testing.assert_array_equal(first, second, err_msg=f"replicas differ in {path}")
        np.testing.assert_array_equal(first, one[path][0], err_msg=f"two replicas differ from one in {path}")


@pytest.mark.parametrize("bad_replica", [0, 1])
def test_a_nan_on_either_replica_skips_the_step_of_all_groups_on_both(bad_replica):
    def make():
        return Composite([Group("embeddings", Adagrad(0.5)), Group("dense", ClippyAdagrad(0.5, weight_decay=0.125))])

    state = train(make, 2, steps=6, bad_replica=bad_replica)
    assert [int(c) for c in state["composite/skipped_steps"]] == [3, 3]
    assert [int(c) for c in state["composite/iteration"]] == [3, 3]
    for path, (first, second) in state.items():
        np.testing.assert_array_equal(first, second, err_msg=path)
        # Untracked, the diagnostics are NaN as at the start.
        assert np.all(np.isnan(first) if path.endswith("_diagnostics") else np.isfinite(first)), path
    # Steps 0, 2 and 4 alone, on one replica, by hand for one row: id 4 gets (2, 0, 1) * (1, 3, 5).
    w, G = np.float32(np.linspace(-1, 1, 27).reshape(9, 3)[4, 0]), np.float32(0.1)
    for g in (2.0, 6.0, 10.0):
        G += np.float32(g * g)
        w -= np.float32(0.5) * np.float32(g / np.sqrt(G))
    np.testing.assert_allclose(state["ids"][0][4, 0], w, rtol=1e-6)


def test_apply_outside_a_replica_is_refused():
    strategy = make_strategy(2)
    with strategy.scope():
        w = keras.Variable(np.ones(2), name="w")
        optimizer = Adagrad(0.1, clipping=Clippy())
        optimizer.build([w])
        with pytest.raises(ValueError, match=r"inside `strategy\.run`"):
            optimizer.apply([tf.ones(2)], [w])
