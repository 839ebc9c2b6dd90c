"""The loss on a plane in weight space."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.analysis import filter_normalised_direction, local_minima, loss_surface

RNG = np.random.default_rng(0)
KERNEL, BIAS = RNG.normal(size=(3, 2)), RNG.normal(size=2)
STEPS = np.linspace(-1.0, 1.0, 5)


def variables():
    return [keras.Variable(KERNEL, dtype="float64"), tf.Variable(BIAS)]


def test_surface_is_the_loss_at_each_point_and_leaves_the_weights():
    w = variables()
    directions = tuple([RNG.normal(size=(3, 2)), RNG.normal(size=2)] for _ in range(2))
    got = loss_surface(lambda: tf.reduce_sum(w[0].value ** 2) + tf.reduce_prod(w[1]), w, directions, STEPS)
    for i, a in enumerate(STEPS):
        for j, b in enumerate(STEPS):
            kernel, bias = (v + a * d + b * e for v, d, e in zip((KERNEL, BIAS), *directions, strict=True))
            np.testing.assert_allclose(got[i, j], (kernel**2).sum() + bias.prod(), rtol=1e-12)
    np.testing.assert_array_equal(w[0], KERNEL)
    np.testing.assert_array_equal(w[1], BIAS)


def test_weights_come_back_after_an_error():
    w = variables()
    ones = [np.ones((3, 2)), np.ones(2)]

    def fails():
        with tf.control_dependencies([tf.debugging.assert_less(w[1], BIAS + 0.7)]):
            return tf.reduce_sum(w[1])

    with pytest.raises(tf.errors.InvalidArgumentError):
        loss_surface(fails, w, (ones, ones), STEPS)
    np.testing.assert_array_equal(w[1], BIAS)
    with pytest.raises(ValueError, match="the second direction must have one array per variable"):
        loss_surface(fails, w, (ones, ones[:1]), STEPS)
    with pytest.raises(ValueError, match="steps must be ascending"):
        loss_surface(fails, w, (ones, ones), [0.0, 0.0])


def test_direction_has_the_norms_of_the_filters_and_leaves_biases():
    kernel, bias = filter_normalised_direction(variables(), seed=1)
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), np.linalg.norm(KERNEL, axis=0))
    assert not bias.any()
    assert np.abs(kernel - filter_normalised_direction(variables(), seed=2)[0]).max() > 0.1
    filters = np.random.default_rng(1).normal(size=(3, 3, 4, 5)).astype(np.float32)
    (direction,) = filter_normalised_direction([tf.Variable(filters)])
    for j in range(5):
        np.testing.assert_allclose(np.linalg.norm(direction[..., j]), np.linalg.norm(filters[..., j]), rtol=1e-5)


def brute_force(surface):
    """Interior points below all of their neighbours."""
    return sorted(
        [i, j]
        for i in range(1, len(surface) - 1)
        for j in range(1, len(surface[0]) - 1)
        if (surface[i - 1 : i + 2, j - 1 : j + 2] > surface[i, j]).sum() == 8
    )


@pytest.mark.parametrize("seed", range(3))
def test_minima_without_ties(seed):
    surface = np.random.default_rng(seed).normal(size=(12, 15))
    minima = local_minima(surface)
    assert sorted(minima.tolist()) == brute_force(surface)
    assert (np.diff(surface[tuple(minima.T)]) > 0).all()


def test_minima_by_depth_and_plateaus():
    surface = np.full((4, 9), 9.0)
    surface[1, 1:8] = [2.0, 5.0, 0.0, 3.0, 1.0, 1.5, 1.25]  # Depths 3, without bound, 2 and 0.25.
    assert local_minima(surface, 0.25).tolist() == [[1, 3], [1, 5], [1, 7], [1, 1]]
    assert local_minima(surface, 2.0).tolist() == [[1, 3], [1, 5], [1, 1]]
    assert local_minima(surface, 2.5).tolist() == [[1, 3], [1, 1]]
    surface[1:3, 3:5] = 0.0  # One floor of four points.
    assert local_minima(surface, 2.5).tolist() == [[1, 3], [1, 1]]
    surface[3, 4] = 0.0  # The floor now reaches the border,
    assert local_minima(surface, 2.5).tolist() == [[1, 1]]
    surface[3, 4] = -1.0  # and now drains there.
    assert local_minima(surface, 2.5).tolist() == [[1, 1]]
    assert local_minima(np.zeros((5, 5))).tolist() == []
    with pytest.raises(ValueError, match="depth=-1"):
        local_minima(surface, -1)
