"""`VectorInput` against NumPy, and what it does to a missing vector."""

import numpy as np
import pytest
import tensorflow as tf

from tfstable.layers import VectorInput

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
FLAGGED = np.concatenate([X, np.float32([[0], [1], [0], [0], [1]])], axis=1)


def normalised(x: np.ndarray, normalise: str) -> np.ndarray:
    if normalise == "l2":
        return x / np.linalg.norm(x, axis=1, keepdims=True)
    return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True) if normalise == "layer" else x


@pytest.mark.parametrize("normalise", ["none", "l2", "layer"])
@pytest.mark.parametrize("projection", [None, 3])
def test_it_is_the_documented_formula(normalise, projection):
    layer = VectorInput(projection, normalise, epsilon=1e-12)
    y = layer(FLAGGED).numpy()
    expected = normalised(X.astype(np.float64), normalise)
    expected = expected if projection is None else expected @ layer.kernel.numpy()
    np.testing.assert_allclose(y[:, :-1], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y[:, -1], FLAGGED[:, -1])
    assert y.shape == layer.compute_output_shape(FLAGGED.shape)


@pytest.mark.parametrize("normalise", ["none", "l2", "layer"])
def test_a_vector_of_zeros_stays_zeros_with_finite_gradients(normalise):
    layer, x = VectorInput(2, normalise), tf.constant([[0.0, 0.0, 0.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_array_equal(y, [[0, 0, 1]])
    assert np.isfinite(tape.gradient(y, x)).all()


def test_arguments_outside_their_domain_are_refused():
    for arguments in ({"projection": 0}, {"normalise": "l1"}, {"epsilon": 0.0}):
        with pytest.raises(ValueError, match="must be"):
            VectorInput(**arguments)
