"""Rates at which plain descent diverges and clipped descent does not.

The quadratic is that of figure 3 of the paper, f(w) = (20 w_1^2 + w_2^2) / 2: descent is stable up to a rate of 2/20.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.optimizers import SGD, AdaptiveGradient, Clippy, GradientNorm, TrustRatio

CURVATURE = np.array([20.0, 1.0])


def descend(rate, clipping, steps=100):
    w = keras.Variable([1.0, 1.0], dtype="float64", name="w")
    optimizer = SGD(rate, clipping=clipping)
    losses = []
    for _ in range(steps):
        losses.append(float((CURVATURE * w.numpy() ** 2).sum() / 2))
        optimizer.apply([tf.constant(CURVATURE) * w.value], [w])
    return losses


def test_descent_converges_below_two_over_the_largest_eigenvalue_and_diverges_above():
    assert descend(0.09, None)[-1] < 1e-6
    diverging = descend(0.11, None)
    assert diverging[-1] > 1e6
    np.testing.assert_allclose(diverging[50], 10 * 1.2**100, rtol=1e-2)  # w_1 is multiplied by 1 - 0.11 * 20 = -1.2


@pytest.mark.parametrize("rate", [0.11, 0.2])
@pytest.mark.parametrize(
    "clipping", [GradientNorm(1.0), AdaptiveGradient(0.1), TrustRatio(1.0), Clippy()], ids=lambda c: type(c).__name__
)
def test_clipped_descent_stays_bounded_where_plain_descent_diverges(clipping, rate):
    losses = descend(rate, clipping)
    assert max(losses) <= losses[0]
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize("scope", ["tensor", "element"])
def test_clippy_bounds_every_coordinate_at_any_rate(scope):
    """A badly scaled logistic regression at a rate of 100: |dw_i| <= 0.5 |w_i| + 0.01 at every step."""
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(200, 6)) * [1, 3, 10, 30, 0.3, 1], rng.normal(size=6)
    y = x @ truth > 0
    w = keras.Variable(np.zeros(6), dtype="float64", name="w")
    optimizer = SGD(100.0, clipping=Clippy(scope=scope))
    for _ in range(100):
        before = w.numpy()
        gradient = x.T @ (1 / (1 + np.exp(-x @ before)) - y) / len(x)
        optimizer.apply([tf.constant(gradient)], [w])
        assert np.all(np.abs(w.numpy() - before) <= (0.5 * np.abs(before) + 0.01) * (1 + 1e-12))
    if scope == "tensor":  # which keeps the direction, and so gets there
        assert np.mean((x @ w.numpy() > 0) == y) > 0.95
