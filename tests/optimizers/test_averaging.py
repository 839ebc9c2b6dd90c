"""Averages of weights: the lazy one of tables is the dense one, and reading it changes nothing."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers.cases import HEIGHT, gradients, make_variables, spoil
from tests.optimizers.replicas import make_strategy, train
from tfstable.optimizers import Adagrad, ClippyAdagrad, Composite, Ema, Group, Swa


def make(averaging, **options):
    return Composite(
        [Group("embeddings", Adagrad(0.5)), Group("dense", ClippyAdagrad(0.5))], averaging=averaging, **options
    )


class DenseEma:
    """The definition: every weight of every variable, every step."""

    def __init__(self, horizon):
        self.horizon, self.t, self.average = horizon, 0, None

    def step(self, weights):
        self.t += 1
        weights = [w.astype(np.float64) for w in weights]
        before = self.average or weights
        self.average = [A + (w - A) / min(self.t, self.horizon) for A, w in zip(before, weights, strict=True)]


def assert_close(got, expected, dtype="float32"):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, rtol=0, atol={"float32": 2e-6, "float64": 1e-14}[dtype])


@pytest.mark.parametrize("averaging", [Ema(4), Swa()])
def test_averages_of_bfloat16_weights_are_kept_in_float32(averaging):
    variables, optimizer, seen = make_variables("bfloat16"), make(averaging), []
    optimizer.build(variables)
    for step in range(4):
        optimizer.apply(gradients(step, "bfloat16"))
        averaging.snapshot()
        seen.append([tf.cast(v.value, tf.float32).numpy() for v in variables])
    average = [np.mean(own, axis=0) for own in zip(*seen, strict=True)]
    assert_close(averaging.averaged_values(), average)
    weights = [v.numpy() for v in variables]
    with optimizer.averaged_weights():
        for variable, value in zip(variables, average, strict=True):
            np.testing.assert_allclose(np.float32(variable.numpy()), value, rtol=2**-8)
    for variable, weight in zip(variables, weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), weight)


# --- EMA.


@pytest.mark.parametrize(
    ("horizon", "dtype", "graph"),
    [(2, "float32", False), (7, "float64", True), (7, "float32", True), (1000, "float32", False)],
)
def test_equals_the_dense_average_with_duplicates_and_skipped_steps(horizon, dtype, graph):
    # Ids 1 and 8 in every step, 1 twice; the others once in nine steps, and the average is read in between.
    variables, optimizer = make_variables(dtype), make(Ema(horizon))
    optimizer.build(variables)
    apply = tf.function(optimizer.apply, autograph=False) if graph else optimizer.apply
    reference = DenseEma(horizon)
    assert_close(optimizer.averaging.averaged_values(), [v.numpy() for v in variables])  # Before the first step.
    for step in range(40):
        g = gradients(step, dtype)
        if step % 4 == 3:
            apply(spoil(g, step % 3, math.nan))
            g = gradients(step, dtype)
        apply(g)
        reference.step([v.numpy() for v in variables])
        if step % 5 == 0 or step > 35:
            assert_close(optimizer.averaging.averaged_values(), reference.average, dtype)
    assert int(optimizer.skipped_steps.numpy()) == 10
    assert any(np.abs(A - v.numpy()).max() > 0.01 for A, v in zip(reference.average, variables, strict=True))


def test_two_replicas_average_as_one_and_swap_on_both():
    # With the variables of `test_replicas`: two strategies of one process may not sum tensors of different shapes.
    averages, made = [], []

    def make_and_keep():
        made.append(make(Ema(3)))
        return made[-1]

    for replicas in (1, 2):
        train(make_and_keep, replicas, steps=7, bad_replica=replicas - 1)  # Every second step is skipped.
        optimizer, strategy = made[-1], make_strategy(replicas)
        assert int(optimizer.iterations.numpy()) == 4
        averages.append([value.numpy() for value in optimizer.averaging.averaged_values()])
        variables = optimizer.averaging.variables
        weights = [variable.numpy() for variable in variables]
        assert any(np.any(w != A) for A, w in zip(averages[-1], weights, strict=True))
        with optimizer.averaged_weights():
            for variable, A in zip(variables, averages[-1], strict=True):
                for copy in strategy.experimental_local_results(variable.value):
                    np.testing.assert_array_equal(copy.numpy(), A)
        for variable, w in zip(variables, weights, strict=True):
            for copy in strategy.experimental_local_results(variable.value):
                np.testing.assert_array_equal(copy.numpy(), w)
    for one, two in zip(*averages, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("horizon", [2, 50, 10**6])
def test_the_closed_form_is_the_product_of_the_decays(horizon):
    for s, t in [(0, 0), (0, 3), (3, 3), (1, 60), (40, 60), (60, 300), (10**7, 10**7 + 1000), (5, 2 * 10**5)]:
        product = math.exp(sum(math.log1p(-1 / min(u, horizon)) for u in range(s + 1, t + 1) if u > 1)) if s else 0.0
        got = Ema(horizon)._decay(tf.constant(s, tf.int64), tf.constant(t, tf.int64))
        assert float(got) == pytest.approx(product, rel=1e-5, abs=1e-7), (s, t)


def test_a_row_that_is_never_touched_keeps_its_weight_and_a_variable_may_miss_steps():
    variables, optimizer = make_variables(), make(Ema(5))
    optimizer.build(variables)
    reference = DenseEma(5)
    for step in range(12):
        rows, kernel, bias = gradients(step)
        rows = tf.IndexedSlices(rows.values, tf.constant([1, 2, 1, 8]))
        chosen = [0, 1, 2] if step % 3 else [0, 2]
        optimizer.apply([[rows, kernel, bias][i] for i in chosen], [variables[i] for i in chosen])
        reference.step([v.numpy() for v in variables])
    averages = optimizer.averaging.averaged_values()
    assert_close(averages, reference.average)
    np.testing.assert_array_equal(averages[0].numpy()[[0, 3, 4, 5, 6, 7]], variables[0].numpy()[[0, 3, 4, 5, 6, 7]])


def test_dense_gradients_of_tables_and_sparse_ones_of_other_variables():
    variables, optimizer = make_variables(), make(Ema(5))
    optimizer.build(variables)
    reference = DenseEma(5)
    for step in range(12):
        rng = np.random.default_rng(step)
        table = tf.constant(rng.normal(size=(HEIGHT, 3)), tf.float32)
        kernel = tf.IndexedSlices(tf.constant(rng.normal(size=(2, 5)), tf.float32), tf.constant([step % 7, 3]))
        optimizer.apply([table, kernel, gradients(step)[2]], variables)
        reference.step([v.numpy() for v in variables])
    assert_close(optimizer.averaging.averaged_values(), reference.average)


def heights_in_the_graph(optimizer, variables, g) -> set[int]:
    """The first dimension of every tensor that a step makes, in its branches too."""
    step = tf.function(lambda: optimizer.apply(g, variables), autograph=False).get_concrete_function()
    definition = step.graph.as_graph_def(add_shapes=True)
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    assert "ResourceScatterUpdate" in {node.op for node in nodes}  # The branch that updates is among them.
    shapes = [shape for node in nodes for shape in node.attr["_output_shapes"].list.shape]
    return {shape.dim[0].size for shape in shapes if shape.dim}


def test_a_step_never_reads_or_makes_a_whole_table():
    rows = tf.IndexedSlices(tf.ones([4, 3]), tf.constant([1, 2, 1, 8]))
    dense = gradients(0)[1:]
    for g, is_whole in (([rows, *dense], False), ([tf.ones([HEIGHT, 3]), rows_of_kernel(), dense[1]], True)):
        variables, optimizer = make_variables(), make(Ema(5))
        optimizer.build(variables)
        assert (HEIGHT in heights_in_the_graph(optimizer, variables, g)) == is_whole


def rows_of_kernel():
    return tf.IndexedSlices(tf.ones([2, 5]), tf.constant([1, 3]))


# --- Swapping.


def test_swapping_in_shows_the_averages_and_leaves_no_trace():
    variables, optimizer = make_variables(), make(Ema(3))
    optimizer.build(variables)
    for step in range(6):
        optimizer.apply(gradients(step), variables)
    before = [v.numpy() for v in [*variables, *optimizer.variables]]
    expected = [value.numpy() for value in optimizer.averaging.averaged_values()]
    with optimizer.averaged_weights(), optimizer.averaged_weights():
        for variable, value in zip(variables, expected, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
    with pytest.raises(KeyError), optimizer.averaged_weights():
        raise KeyError
    for variable, value in zip([*variables, *optimizer.variables], before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    with make(None).averaged_weights():
        pass


def test_averages_go_on_from_a_checkpoint_bitwise(tmp_path):
    variables, optimizer = make_variables(), make(Ema(4))
    optimizer.build(variables)
    for step in range(9):
        optimizer.apply(gradients(step), variables)
        if step == 4:
            path = tf.train.Checkpoint(variables=variables, optimizer=optimizer).save(str(tmp_path / "c"))
            optimizer.averaging.averaged_values()  # Reading them changes nothing.
    again, restored = make_variables(), make(Ema(4))
    restored.build(again)
    tf.train.Checkpoint(variables=again, optimizer=restored).restore(path).assert_consumed()
    for step in range(5, 9):
        restored.apply(gradients(step), again)
    for one, other in zip(optimizer.averaging.averaged_values(), restored.averaging.averaged_values(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


# --- SWA.


@pytest.mark.parametrize("horizon", [None, 2])
def test_swa_is_the_mean_of_the_snapshots(horizon):
    variables, optimizer = make_variables(), make(Swa(horizon))
    optimizer.build(variables)
    reference = DenseEma(horizon or 10**9)
    for step in range(9):
        optimizer.apply(gradients(step), variables)
        if step == 1:
            assert_close(optimizer.averaging.averaged_values(), [v.numpy() for v in variables])
        if step % 3 == 2:
            optimizer.averaging.snapshot()
            reference.step([v.numpy() for v in variables])
    optimizer.apply(gradients(9), variables)  # Not in the average before its snapshot.
    assert_close(optimizer.averaging.averaged_values(), reference.average)
    with optimizer.averaged_weights():
        assert_close([v.numpy() for v in variables], reference.average)


def test_swa_of_mirrored_weights_is_the_same_on_every_replica():
    strategy = make_strategy(2)
    with strategy.scope():
        w = keras.Variable([1.0, 3.0], name="w")
        optimizer = make(Swa())
        optimizer.build([w])
    for value in ([1.0, 3.0], [2.0, 5.0]):
        w.assign(value)
        optimizer.averaging.snapshot()
    for variable in (optimizer.averaging.snapshots, *optimizer.averaging._state[id(w)].values()):
        first, second = (copy.numpy().tolist() for copy in strategy.experimental_local_results(variable.value))
        assert first == second
    with optimizer.averaged_weights():
        for copy in strategy.experimental_local_results(w.value):
            assert copy.numpy().tolist() == [1.5, 4.0]
    assert w.numpy().tolist() == [2.0, 5.0]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="horizon must be an integer, at least 2; got 1"):
        Ema(1)
    with pytest.raises(ValueError, match="horizon must be an integer, at least 1; got 0"):
        Swa(0)
    with pytest.raises(ValueError, match="averaging must be None, an Ema or a Swa"):
        make("ema")
    for averaging in (Ema(7), Swa(), Swa(3)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(averaging))
        assert (type(again), again.horizon) == (type(averaging), averaging.horizon)
