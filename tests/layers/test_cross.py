"""Cross layers against NumPy, against TFRS with the same weights, and as a tower."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.layers import CrossMixture, CrossTower

WIDTH, RANK = 6, 3
# Two layers of TFRS's Cross, of full and of low rank. Prints inputs, weights, outputs and gradients of the input.
PEER = """
import json, sys
import numpy as np, tensorflow as tf, tensorflow_recommenders as tfrs

rng, results = np.random.default_rng(7), {}
for name, rank in {"full": None, "low_rank": 3}.items():
    x = tf.constant(rng.normal(size=(4, 6)), tf.float32)
    layers = [tfrs.layers.dcn.Cross(projection_dim=rank) for _ in range(2)]
    layers[1](x, layers[0](x, x))
    for weight in (w for layer in layers for w in layer.weights):
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers[1](x, layers[0](x, x))
    weights = [w.numpy().tolist() for layer in layers for w in layer.weights]
    gradient = tape.gradient(y, x).numpy().tolist()
    results[name] = {"x": x.numpy().tolist(), "weights": weights, "y": y.numpy().tolist(), "gradient": gradient}
print(json.dumps(results))
"""


def _weights(layer, seed=0):
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    return [weight.numpy() for weight in layer.weights]


def _x(seed=1):
    return np.random.default_rng(seed).normal(size=(5, WIDTH))


@pytest.mark.parametrize("rank", [None, RANK])
def test_tower_is_the_formula(rank):
    tower, x0 = CrossTower(3, rank, dtype="float64"), _x()
    tower(x0)
    weights, x = iter(_weights(tower)), x0
    for _ in range(3):
        W = next(weights) if rank is None else next(weights) @ next(weights)
        x = x0 * (x @ W + next(weights)) + x
    np.testing.assert_allclose(tower(x0), x, rtol=1e-12)


def test_mixture_is_the_formula_expert_by_expert():
    layer, x0, x = CrossMixture(4, RANK, dtype="float64"), _x(1), _x(2)
    layer(x0, x)
    _weights(layer)
    V, C, U, G, b = (w.numpy() for w in (layer.V, layer.C, layer.U, layer.gate, layer.bias))
    expected = x.copy()
    for n in range(len(x)):  # One example at a time, one expert at a time, as the paper writes it.
        scores = np.exp(x[n] @ G)
        for k in range(4):
            expert = np.tanh(np.tanh(x[n] @ V[:, k]) @ C[k]) @ U[k] + b
            expected[n] += scores[k] / scores.sum() * x0[n] * expert
    np.testing.assert_allclose(layer(x0, x), expected, rtol=1e-12)


def test_mixture_has_the_gradients_of_finite_differences():
    layer, x0, x = CrossMixture(3, RANK, dtype="float64"), tf.constant(_x(1)), tf.constant(_x(2))
    layer(x0, x)
    _weights(layer)
    with tf.GradientTape() as tape:
        tape.watch([x0, x])
        loss = tf.reduce_sum(layer(x0, x) ** 2)
    gradients = tape.gradient(loss, [x0, x, *(w.value for w in layer.weights)])
    h, rng = 1e-6, np.random.default_rng(3)
    for i, gradient in enumerate(gradients):
        step, inputs, weight = h * rng.normal(size=gradient.shape), [x0, x], None
        if i >= 2:
            weight, start = layer.weights[i - 2], layer.weights[i - 2].numpy()
        ends = []
        for sign in (1, -1):
            if weight is not None:
                weight.assign(start + sign * step)
            moved = [v + sign * step if j == i else v for j, v in enumerate(inputs)]
            ends.append(float(tf.reduce_sum(layer(*moved) ** 2)))
        if weight is not None:
            weight.assign(start)
        np.testing.assert_allclose(tf.reduce_sum(gradient * step / h), (ends[0] - ends[1]) / (2 * h), rtol=1e-5)


def test_equal_experts_are_one_expert():
    one, four, x = CrossMixture(1, RANK), CrossMixture(4, RANK), _x().astype(np.float32)
    one(x, x), four(x, x)
    _weights(one)
    four.V.assign(np.repeat(one.V.numpy(), 4, axis=1))
    four.C.assign(np.repeat(one.C.numpy(), 4, axis=0))
    four.U.assign(np.repeat(one.U.numpy(), 4, axis=0))
    four.bias.assign(one.bias)  # Whatever the gates say, they sum to one.
    np.testing.assert_allclose(four(x, x), one(x, x), rtol=1e-5, atol=1e-6)


def test_gates_choose_by_the_input():
    layer, x = CrossMixture(2, RANK), np.abs(_x()).astype(np.float32)
    layer(x, x)
    _weights(layer)
    layer.gate.assign(np.outer(np.ones(WIDTH), [50.0, -50.0]))
    alone = CrossMixture(1, RANK)
    alone(x, x)
    for name, part in {"V": layer.V[:, :1], "C": layer.C[:1], "U": layer.U[:1], "bias": layer.bias}.items():
        getattr(alone, name).assign(part)
    np.testing.assert_allclose(layer(x, x), alone(x, x), rtol=1e-5)


def test_experts_start_as_dense_layers_do():
    layer = CrossMixture(8, 32)
    layer.build((None, 64))
    for weight, fans in ((layer.V, 96), (layer.C, 64), (layer.U, 96)):
        np.testing.assert_allclose(weight.numpy().std(), np.sqrt(2 / fans), rtol=0.05)  # Glorot's


# --- TFRS.


def test_tower_computes_what_tfrs_computes():
    quiet = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}  # TFRS knows Keras 2 only: its own process.
    run = subprocess.run([sys.executable, "-c", PEER], check=True, env=os.environ | quiet, stdout=subprocess.PIPE)
    for kind, theirs in json.loads(run.stdout).items():
        tower = CrossTower(2, None if kind == "full" else RANK)
        tower.build((None, WIDTH))
        tower.set_weights([np.float32(w) for w in theirs["weights"]])
        x = tf.constant(theirs["x"], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tower(x)
        np.testing.assert_allclose(y, theirs["y"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(tape.gradient(y, x), theirs["gradient"], rtol=1e-6, atol=1e-5)


# --- The tower.


def test_tower_of_experts_is_its_layers_on_the_first_input():
    tower, x0 = CrossTower(2, RANK, experts=4), _x().astype(np.float32)
    tower(x0)
    _weights(tower)
    first, second = tower.layers
    np.testing.assert_array_equal(tower(x0), second(x0, first(x0, x0)))
    assert isinstance(second, CrossMixture)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CrossTower(0), "must be at least 1, got depth=0"),
        (lambda: CrossTower(1, 0), "rank=0"),
        (lambda: CrossTower(1, 2, 0), "experts=0"),
        (lambda: CrossTower(1, experts=2), "experts=2 needs a rank"),
        (lambda: CrossMixture(0, 2), "experts=0"),
        (lambda: CrossMixture(2, 0), "rank=0"),
    ],
)
def test_arguments_outside_their_domain_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_tower_learns_a_product_that_no_linear_model_can():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(512, 4)).astype(np.float32)
    y = x[:, :1] * x[:, 1:2]
    linear = np.linalg.lstsq(np.hstack([x, np.ones((512, 1))]), y, rcond=None)[1][0] / 512
    model = keras.Sequential([CrossTower(1), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.03), "mse")
    losses = model.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert linear > 0.8  # The variance of y is 1.
    assert losses[-1] < 0.02
