"""Weights of losses that are learned: against NumPy, in Keras and in files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import LABELS, TASKS, WEIGHTS, build, inputs
from tfstable.models.loss_weights import DECAY, HORIZON, Famo, Uncertainty
from tfstable.specs import BinaryTask

TWO = {"a": BinaryTask(kind="binary", weight=3.0), "b": BinaryTask(kind="binary")}


def scalars(a, b):
    return {"a": tf.constant(a), "b": tf.constant(b)}


def test_uncertainty_tends_to_the_inverse_of_twice_the_loss_per_label():
    weights = Uncertainty(TASKS, dtype="float32")
    weights.build()
    losses = dict(zip(TASKS, (0.6, 0.001, 0.5), strict=True))  # Like: 0.01 per label, which one in ten examples has.
    shares = dict(zip(TASKS, (1.0, 0.1, 1.0), strict=True))
    for _ in range(60):
        with tf.GradientTape() as tape:
            total = weights.total(losses, shares)
        weights.log_variance.assign_sub(1.0 * tape.gradient(total, weights.log_variance.value))
    # Like's weight in its spec is 10, a factor of both of its terms; time is a regression.
    np.testing.assert_allclose(weights.weights_now(), [1 / 1.2, 10 / 0.02, 1 / (2 * 0.5)], rtol=1e-3)


def test_famo_against_numpy():
    weights = Famo(TWO, dtype="float32")
    weights.build()
    np.testing.assert_allclose(weights.weights_now(), [3.0, 1.0])  # Until losses are known.
    rng, xi, seen = np.random.default_rng(0), np.zeros(2), np.zeros((2, 2))
    for step in range(30):
        losses, shares = rng.uniform(0.1, 1.0, 2) * (0.95**step, 1.0), np.array([1.0, 0.5])
        if step == 7:
            losses[1] = shares[1] = 0.0  # A batch without labels of b says nothing of it.
        weights.after_step(scalars(*losses), scalars(*shares), tf.constant(8))
        before, seen = seen, (1 - 1 / HORIZON) * seen + 8 * np.stack([losses, shares])
        if step:
            d = np.log(before[0] / before[1]) - np.log(seen[0] / seen[1])
            z = np.array([3.0, 1.0]) * np.exp(xi) / (np.array([3.0, 1.0]) * np.exp(xi)).sum()
            xi = (1 - DECAY) * xi - 2 * z * (d - (z * d).sum())
    np.testing.assert_allclose(weights.xi, xi, atol=1e-5)
    z = np.array([3.0, 1.0]) * np.exp(xi)
    expected = z / (seen[0] / seen[1])
    np.testing.assert_allclose(weights.weights_now(), 4 * expected / expected.sum(), rtol=1e-4)
    assert xi[0] < xi[1]  # a's loss fell more.
    state = [variable.numpy() for variable in weights.variables]
    weights.after_step(scalars(9.0, 9.0), scalars(1.0, 1.0), tf.constant(8), applied=False)
    weights.after_step(scalars(np.nan, 9.0), scalars(1.0, 1.0), tf.constant(8))
    for variable, value in zip(weights.variables, state, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("kind", ["uncertainty", "famo"])
def test_a_model_trains_evaluates_and_comes_back(kind, tmp_path):
    model = build(loss_weights=kind)
    model.build()
    model.compile(optimizer=keras.optimizers.SGD(0.01), run_eagerly=True)
    plain = build()
    plain.build()
    plain.compile(optimizer=keras.optimizers.SGD(0.01), run_eagerly=True)
    assert model.evaluate(inputs(), LABELS, sample_weight=WEIGHTS, verbose=0) == pytest.approx(
        plain.evaluate(inputs(), LABELS, sample_weight=WEIGHTS, verbose=0)
    )
    model.fit(inputs(), LABELS, sample_weight=WEIGHTS, epochs=2, verbose=0)
    assert any(variable.numpy().any() for variable in model.task_weights.variables)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(model.task_weights.variables, again.task_weights.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
