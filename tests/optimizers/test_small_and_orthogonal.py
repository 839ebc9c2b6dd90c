"""The rules for dense variables alone, Adafactor and Muon, and Adagrad with a sum per row, by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers.cases import gradients, make_variables
from tests.optimizers.test_clippings import step
from tfstable.optimizers import Adafactor, Adagrad, Muon


@pytest.mark.parametrize("make", [Adafactor, Muon])
def test_rules_of_dense_variables_are_refused_for_tables(make):
    table, kernel = keras.Variable(np.ones((3, 2)), name="embeddings"), keras.Variable(np.ones((3, 2)), name="kernel")
    with pytest.raises(ValueError, match=f"{make.__name__} is for dense variables, and 'embeddings' is an embedding"):
        make(0.1).build([table, kernel])
    with pytest.raises(ValueError, match=f"{make.__name__} is for dense variables, and 'kernel' is"):
        make(0.1).apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([0]))], [kernel])


def test_a_number_per_row_is_for_tables():
    with pytest.raises(
        ValueError, match=r"accumulator must be 'element' for 'kernel', which is no .* table; got 'row'"
    ):
        Adagrad(0.1, accumulator="row").build([keras.Variable(np.ones((3, 2)), name="kernel")])


def test_adafactor_by_hand():
    # V = g^2 in the first step, so U is the sign, and RMS(w) = 5: with the rate 1/8 of it. A zero weight counts as 1/4.
    assert step(Adafactor(0.125), [7.0, 1.0], [0.5, -4.0]).tolist() == pytest.approx([7 - 0.625, 1 + 0.625])
    assert step(Adafactor(0.5, epsilon_2=0.25), [0.0], [3.0]) == pytest.approx([-0.125])
    # In step 16 the relative step is at most 1/4, whatever the rate; a factor on the rate lowers even that.
    for factor in (1.0, 0.5):
        optimizer, w = Adafactor(1.0), keras.Variable([1.0], dtype="float64", name="w")
        optimizer.build([w])
        optimizer.iterations.assign(15)
        optimizer.rate_factor.assign(factor)
        optimizer.apply([tf.constant([2.0], tf.float64)], [w])
        assert w.numpy() == pytest.approx([1 - factor / 4])


def test_state_is_as_small_as_promised():
    shapes = {"t": (100, 16), "k": (30, 20), "b": (20,)}
    table, kernel, bias = (keras.Variable(np.ones(shape, np.float32), name=n) for n, shape in shapes.items())
    table.is_embedding_table = True
    rows, factored = Adagrad(0.1, accumulator="row"), Adafactor(0.1)
    rows.build([table])
    factored.build([kernel, bias])
    assert rows.accumulator(table).shape == (100, 1)
    wide = keras.Variable(np.ones((100, 3), np.float32), name="wide")
    wide.is_embedding_table = wide.columns_apart = True  # A column per task.
    (of_wide := Adagrad(0.1, accumulator="row")).build([wide])
    assert of_wide.accumulator(wide).shape == (100, 3)
    of_wide.apply([tf.IndexedSlices(tf.constant([[1.0, 2, 3]]), tf.constant([4]))], [wide])
    np.testing.assert_allclose(of_wide.accumulator(wide).numpy()[4], [1.1, 4.1, 9.1], rtol=1e-6)
    sizes = {v.name: int(np.prod(v.shape)) for v in factored.variables if v.name.endswith(("row", "column", "square"))}
    assert sizes == {"k_row": 30, "k_column": 20, "b_square": 20}


def test_muon_steps_equally_far_in_all_directions():
    """Singular values of 1, 0.1 and 0.01 come out between 0.7 and 1.2, times 0.2 sqrt(8)."""
    left, right = (np.linalg.qr(np.random.default_rng(s).normal(size=(n, 3)))[0] for s, n in ((0, 8), (1, 5)))
    moved = -step(Muon(1.0), np.zeros((8, 5)), left @ np.diag([1.0, 0.1, 0.01]) @ right.T)
    values = np.linalg.svd(moved)[1][:3] / (0.2 * np.sqrt(8))
    assert np.all((values > 0.65) & (values < 1.25))
    np.testing.assert_allclose(np.linalg.svd(moved)[1][3:], 0, atol=1e-12)


@pytest.mark.parametrize("make", [Adafactor, Muon])
def test_eager_and_graph_agree_bitwise_without_a_clipping(make):
    """A product with a number, such as the scale of a step, must not be reordered with the rate."""
    ends = []
    for graph in (False, True):
        _, *variables = make_variables()
        optimizer = make(0.1)
        optimizer.build(variables)

        def apply(g, optimizer=optimizer, variables=variables):
            optimizer.apply(g, variables)

        compiled = tf.function(lambda *g, apply=apply: apply(g), autograph=False)
        for number in range(4):
            own = gradients(number)[1:]
            compiled(*own) if graph else apply(own)
        ends.append([v.numpy() for v in variables])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)
