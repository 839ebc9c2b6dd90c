"""ReZero, and its deep stack."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.gated import HISTORY, X, opened
from tfstable.layers import CrossTower, ReZero, ReZeroStack, SmeLU
from tfstable.optimizers import Adagrad

# --- The wrapper.


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (keras.layers.Dense(8, "relu"), X),
        (keras.Sequential([keras.layers.Dense(3, "tanh"), keras.layers.Dense(8)]), X),
        (CrossTower(2), X),
        (keras.layers.MultiHeadAttention(2, 4), HISTORY),
        (keras.layers.GRU(8, return_sequences=True), HISTORY),
    ],
)
def test_is_the_identity_at_the_start_and_the_formula_later(layer, x):
    gated = ReZero(layer)
    np.testing.assert_array_equal(gated(x), x)
    opened(gated)
    branch = layer(x, x) if isinstance(layer, keras.layers.MultiHeadAttention) else layer(x)
    np.testing.assert_allclose(gated(x), x + float(gated.alpha) * np.asarray(branch), rtol=1e-5, atol=1e-6)
    assert float(gated.alpha) != 0


def test_at_the_start_only_the_gate_has_a_gradient():
    gated = ReZero(keras.layers.Dense(8))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gated(X) ** 2)
    alpha, kernel = tape.gradient(loss, [gated.alpha.value, gated.layer.kernel.value])
    assert float(alpha) != 0
    np.testing.assert_array_equal(kernel, np.zeros((8, 8)))


def test_training_and_masks_reach_the_branch():
    noisy = ReZero(keras.layers.Dropout(0.5))
    noisy(X)
    noisy.alpha.assign(1.0)
    np.testing.assert_allclose(noisy(X, training=False), 2 * X)
    model = keras.Sequential([keras.layers.Identity(), noisy])
    assert not np.allclose(model(X, training=True), 2 * X)
    attention = ReZero(keras.layers.MultiHeadAttention(2, 4))
    attention(HISTORY)
    opened(attention)
    masked = attention(HISTORY, attention_mask=np.array([True, True, False, False, False])[None, None])
    np.testing.assert_allclose(masked[:, :2], attention(HISTORY[:, :2]), atol=1e-6)


# --- The stack.


def _reference(x, kernel, bias, alpha):
    for W, b, a in zip(kernel, bias, alpha, strict=True):
        x = x + a * np.maximum(x @ W + b, 0)
    return x


@pytest.mark.parametrize("depth", [1, 9, 10, 30, 37])
def test_stack_is_its_layers_one_after_the_other(depth):
    stack = ReZeroStack(depth, dtype="float64")
    stack(X)
    opened(stack)
    kernel, bias, alpha = (w.numpy() for w in (stack.kernel, stack.bias, stack.alpha))
    np.testing.assert_allclose(stack(X), _reference(X.astype(np.float64), kernel, bias, alpha), rtol=1e-12)


@pytest.mark.parametrize("depth", [9, 20, 33])
def test_stack_has_the_gradients_of_its_layers(depth):
    stack = ReZeroStack(depth, SmeLU(0.5), dtype="float64")
    stack(X)
    opened(stack)
    weights, x = [w.value for w in stack.weights], tf.constant(X, tf.float64)

    def unrolled(x, kernel, bias, alpha):
        for i in range(depth):
            x += alpha[i] * SmeLU(0.5)(x @ kernel[i] + bias[i])
        return x

    results = []
    for f in (lambda: stack(x), lambda: unrolled(x, *weights)):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            loss = tf.reduce_sum(tf.sin(f()))
        results.append(tape.gradient(loss, [x, *weights]))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, tf.convert_to_tensor(expected), rtol=1e-9, atol=1e-12)


def test_stack_has_the_gradient_of_finite_differences():
    stack = ReZeroStack(12, "tanh", dtype="float64")
    stack(X)
    opened(stack)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(stack(X) ** 2)
    gradients = tape.gradient(loss, [w.value for w in stack.weights])
    for weight, gradient in zip(stack.weights, gradients, strict=True):
        direction, h, start = np.random.default_rng(2).normal(size=weight.shape), 1e-6, weight.numpy()
        ends = []
        for sign in (1, -1):
            weight.assign(start + sign * h * direction)
            ends.append(float(tf.reduce_sum(stack(X) ** 2)))
        weight.assign(start)
        np.testing.assert_allclose(tf.reduce_sum(gradient * direction), (ends[0] - ends[1]) / (2 * h), rtol=1e-5)


def _operations(depth):
    stack = ReZeroStack(depth)
    stack.build((None, 4))

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(stack(x))
        return tape.gradient(loss, [w.value for w in stack.weights])

    graph = step.get_concrete_function().graph.as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def test_the_graph_does_not_grow_with_depth():
    assert _operations(10_000) == _operations(1_000)


def test_each_layer_starts_as_he_normal():
    stack = ReZeroStack(50)
    stack.build((None, 32))
    layers = stack.kernel.numpy().std(axis=(1, 2))
    np.testing.assert_allclose(layers, np.sqrt(2 / 32), rtol=0.15)  # 1024 weights a layer: 2.2 % standard error
    assert not stack.alpha.numpy().any()


@pytest.mark.parametrize("position", [0, 7, 25])
def test_stack_with_inserted_layers_predicts_bit_for_bit_the_same(position):
    stack = ReZeroStack(25, "tanh")
    stack(X)
    opened(stack)
    deeper = stack.insert(position, 8)
    assert deeper.depth == 33
    np.testing.assert_array_equal(deeper(X), stack(X))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(deeper(X) ** 2)
    assert np.all(tape.gradient(loss, deeper.alpha.value).numpy()[position : position + 8])  # All of them learn.


def test_1000_layers_train():
    keras.utils.set_random_seed(0)
    stack, output, optimizer = ReZeroStack(1000), keras.layers.Dense(1), Adagrad(0.003)
    x, y = tf.constant(X), tf.constant(np.random.default_rng(1).normal(size=(6, 1)), tf.float32)
    output(stack(x))
    variables = stack.trainable_variables + output.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((output(stack(x)) - y) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, [v.value for v in variables]), variables, strict=True))
        return loss

    losses = [float(step()) for _ in range(25)]
    assert losses[-1] < 0.3 * losses[0]
