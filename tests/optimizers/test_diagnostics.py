import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.optimizers import SGD, Adagrad, Adam, Clippy, Composite, GradientNorm, Group


def test_figures_of_the_last_tracked_step():
    kernel = keras.Variable([3.0, 4.0], dtype="float32", name="kernel")
    optimizer = SGD(0.5, clipping=GradientNorm(5.0), track_every=2)
    optimizer.build([kernel])
    assert all(math.isnan(x) for x in optimizer.diagnostics()["kernel"].values())
    optimizer.apply([tf.zeros(2)], [kernel])
    assert all(math.isnan(x) for x in optimizer.diagnostics()["kernel"].values())  # step 1 of 2
    optimizer.apply([tf.constant([6.0, 8.0])], [kernel])
    expected = {"clipping_factor": 5 / 10, "update_norm": 0.5 * 0.5 * 10, "gradient_norm": 10, "weight_norm": 5}
    assert optimizer.diagnostics() == {"kernel": pytest.approx(expected)}
    optimizer.apply([tf.constant([1.0, 0.0])], [kernel])
    optimizer.apply([tf.constant([math.nan, 0.0])], [kernel])  # would be step 4, but is skipped
    assert optimizer.diagnostics() == {"kernel": pytest.approx(expected)}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_sparse_figures_are_of_the_touched_rows(jit_compile):
    table = keras.Variable([[3.0, 4.0], [9.0, 9.0], [0.0, 1.0]], dtype="float32", name="ids")
    table.is_embedding_table = True
    optimizer = SGD(1.0, clipping=Clippy(0.5, 1.0, scope="row"), track_every=1)
    optimizer.build([table])

    @tf.function(jit_compile=jit_compile)
    def apply(ids):
        optimizer.apply([tf.IndexedSlices(tf.constant([[2.0, 0.0], [2.0, 3.0], [2.0, 0.0]]), ids)], [table])

    apply(tf.constant([2, 0, 2]))
    # Row 2: g = (4, 0), bound (1, 1.5), factor 1/4, step (1, 0). Row 0: g = (2, 3), bound (2.5, 3), factor 1.
    expected = {
        "clipping_factor": 0.25,
        "update_norm": math.sqrt(1 + 4 + 9),
        "gradient_norm": math.sqrt(16 + 4 + 9),
        "weight_norm": math.sqrt(1 + 9 + 16),
    }
    assert optimizer.diagnostics() == {"ids": pytest.approx(expected)}
    np.testing.assert_allclose(table.numpy(), [[1, 1], [9, 9], [-1, 1]], rtol=1e-6)


def test_tracking_changes_nothing_and_a_composite_gathers_its_groups():
    def train(track_every):
        rng = np.random.default_rng(0)
        a, b = (keras.Variable(rng.normal(size=(5, 4)), dtype="float32", name=name) for name in "ab")
        groups = [Group("a", SGD(0.5, clipping=Clippy(), track_every=track_every)), Group("b", SGD(0.5))]
        optimizer = Composite(groups)
        optimizer.build([a, b])
        apply = tf.function(lambda *g: optimizer.apply(g, [a, b]), autograph=False)
        for _ in range(6):
            apply(*(tf.constant(rng.normal(size=(5, 4)), tf.float32) for _ in "ab"))
        return a.numpy(), b.numpy(), optimizer.diagnostics()

    tracked, plain = train(2), train(0)
    np.testing.assert_array_equal(tracked[0], plain[0])
    np.testing.assert_array_equal(tracked[1], plain[1])
    assert list(tracked[2]) == ["a"]
    assert plain[2] == {}


def test_tracking_can_be_switched_on_over_an_untracked_checkpoint(tmp_path):
    def make(track_every):
        kernel = keras.Variable([3.0, 4.0], name="kernel")
        optimizer = SGD(0.5, track_every=track_every)
        optimizer.build([kernel])
        return kernel, optimizer, tf.train.Checkpoint(optimizer=optimizer, kernel=kernel)

    kernel, untracked, checkpoint = make(0)
    untracked.apply([tf.constant([1.0, 0.0])], [kernel])
    assert untracked.diagnostics() == {}
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    kernel, tracked, checkpoint = make(1)
    checkpoint.read(path).assert_consumed()
    tracked.apply([tf.constant([0.0, 2.0])], [kernel])
    assert tracked.diagnostics()["kernel"]["gradient_norm"] == 2
    assert tracked.iterations == 2


@pytest.mark.parametrize(
    ("kind", "own"),
    [(Adagrad, {"initial_accumulator": 1e-4}), (Adagrad, {"accumulator": "row"}), (Adam, {}), (SGD, {"momentum": 0.9})],
)
def test_touched_rows_are_those_of_the_gradients(kind, own):
    table, rule = keras.Variable(np.ones((5, 2), np.float32), name="table"), kind(0.1, **own)
    table.is_embedding_table = True
    rule.build([table])
    assert not rule.touched_rows(table).numpy().any()
    for row in (3, 1):
        rule.apply([tf.IndexedSlices(tf.ones([1, 2]), tf.constant([row]), tf.constant([5, 2]))], [table])
    assert rule.touched_rows(table).numpy().tolist() == [False, True, False, True, False]


def test_a_rule_without_slots_cannot_tell():
    table = keras.Variable(np.ones((5, 2), np.float32), name="table")
    (rule := SGD(0.1)).build([table])
    assert rule.touched_rows(table) is None
