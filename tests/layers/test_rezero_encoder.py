"""The transformer encoder with ReZero in place of layer normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.gated import HISTORY, opened
from tfstable.layers import ReZeroEncoder


def test_encoder_is_two_gated_branches():
    encoder = ReZeroEncoder(2, 12, "tanh")
    np.testing.assert_array_equal(encoder(HISTORY), HISTORY)
    opened(encoder)
    attention, forward = encoder.attention, encoder.feed_forward
    middle = HISTORY + float(attention.alpha) * np.asarray(attention.layer(HISTORY, HISTORY))
    inner, _, outer = forward.layer.layers
    branch = np.tanh(middle @ inner.kernel.numpy() + inner.bias.numpy()) @ outer.kernel.numpy() + outer.bias.numpy()
    np.testing.assert_allclose(encoder(HISTORY), middle + float(forward.alpha) * branch, rtol=1e-4, atol=1e-5)


def test_encoder_does_not_look_at_padding():
    encoder = ReZeroEncoder(2, 12)
    encoder(HISTORY)
    opened(encoder)
    mask = np.array([[True] * n + [False] * (5 - n) for n in (2, 5, 3)])
    y = encoder(HISTORY, mask=mask)
    np.testing.assert_allclose(y[0, :2], encoder(HISTORY[:1, :2])[0], atol=1e-6)
    embedding = keras.layers.Embedding(9, 8, mask_zero=True)
    rows = np.array([[3, 4, 0, 0], [1, 2, 3, 4]])
    np.testing.assert_allclose(encoder(embedding(rows))[0, :2], encoder(embedding(rows[:1, :2]))[0], atol=1e-6)


def _singular_values(f):
    """Of the Jacobian of the flattened output in the flattened input, for one sequence."""
    x = tf.constant(HISTORY[:1, :2])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = tf.reshape(f(x), (1, -1))
    jacobian = tf.reshape(tape.jacobian(y, x, experimental_use_pfor=False), (y.shape[1], y.shape[1]))
    return np.linalg.svd(jacobian.numpy(), compute_uv=False)


def test_jacobian_of_a_deep_encoder_is_the_identity_at_the_start_and_the_plain_ones_is_not():
    keras.utils.set_random_seed(0)
    encoders = [ReZeroEncoder(2, 16) for _ in range(8)]

    def gated(x):
        for encoder in encoders:
            x = encoder(x)
        return x

    def plain(x):
        for encoder in encoders:
            x = encoder.feed_forward.layer(encoder.attention.layer(x, x))
        return x

    np.testing.assert_allclose(_singular_values(gated), 1.0, atol=1e-6)
    assert _singular_values(plain).mean() < 0.1


@pytest.mark.slow
def test_64_encoder_layers_train_without_warm_up():
    keras.utils.set_random_seed(0)
    encoders = [ReZeroEncoder(2, 16) for _ in range(64)]
    model = keras.Sequential([*encoders, keras.layers.Flatten(), keras.layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(16, 5, 8)).astype(np.float32)
    y = (x[:, 0] * x[:, 1]).sum(axis=1, keepdims=True)  # Products of elements, which attention can see.
    model(x)
    losses = []
    for _ in range(5):  # Eagerly: tracing 64 layers of attention takes longer than a few steps.
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        variables = [v.value for v in model.trainable_variables]
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(1e-2 * tf.sign(gradient))  # Adam's first step, in every step.
        losses.append(float(loss))
    assert losses[-1] < 0.75 * losses[0]
    assert max(losses) == losses[0]  # No jump, at the full rate from the first step.
