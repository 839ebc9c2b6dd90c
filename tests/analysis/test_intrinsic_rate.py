"""Scale-invariant weights under SGD with decay: which they are, how they turn, and what is told of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import LABELS, WEIGHTS, build, inputs
from tests.reference_weights import sphere_walk
from tfstable.analysis import Rotations, angular_step_at_equilibrium, scale_invariant
from tfstable.optimizers import SGD, Adagrad, Composite, Group

NORMALISED = {"hidden_normalisation": True, "normalisation_epsilon": 1e-12, "activation": "smelu"}


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_angular_step_of_a_simulation_at_equilibrium(momentum):
    rate, decay = 0.5, 8e-3
    angles, sizes = sphere_walk(rate, decay, momentum, steps=3000, size=300, seed=0)
    expected = angular_step_at_equilibrium(rate, decay, momentum)
    assert np.sqrt(np.mean(angles[1000:] ** 2)) == pytest.approx(expected, rel=0.01)
    size = (rate / (1 - momentum)) / np.sqrt(2 * rate * decay)  # Of gradients of norm 1 / ||w||.
    assert np.mean(sizes[1000:] ** 2) == pytest.approx(size, rel=0.05)


def test_the_squared_size_comes_to_its_equilibrium_at_the_rate_that_is_told():
    rate, decay = 0.5, 8e-3
    _, sizes = sphere_walk(rate, decay, 0.0, steps=1000, size=1000, seed=1, start=20.0)
    far = int(1 / (2 * rate * decay))  # 125 steps: the squared size is e times smaller.
    assert sizes[far] ** 2 == pytest.approx(sizes[0] ** 2 / np.e, rel=0.02)


def loss_and_gradients(model, variables):
    with tf.GradientTape() as tape:
        labels = {name: tf.constant(value) for name, value in LABELS.items()}
        loss = model.compute_loss(inputs(), labels, model.logits(inputs(), training=True), tf.constant(WEIGHTS))
    return loss, tape.gradient(loss, [v.value for v in variables])


def test_kernel_and_bias_before_a_normalisation_are_invariant_together_and_not_alone():
    keys = {"bottom": {"kind": "mmoe", "experts": 2, "units": (4,)}, "tower_units": (4,), "rezero": True}
    model = build(randomise=True, units=(8, 8), **NORMALISED, **keys)
    found = scale_invariant(model)
    paths = [tensor.path.split("/", 1)[1] for tensor in found]  # Without the model.
    assert {"bottom/dense_0", "tower_click/dense_0", "experts/level_0/shared_0/dense_0"} <= set(paths)
    assert len(found) == 2 + 2 + 3  # Bottom, one of them inside ReZero; experts; towers.
    for tensor in found:
        before, gradients = loss_and_gradients(model, tensor.variables)
        along = sum(float(tf.reduce_sum(g * v.value)) for g, v in zip(gradients, tensor.variables, strict=True))
        sizes = [np.linalg.norm(np.concatenate([np.ravel(x) for x in xs])) for xs in (gradients, tensor.variables)]
        assert abs(along) < 1e-4 * sizes[0] * sizes[1]  # The gradient is across the weights.
        for variable in tensor.variables:
            variable.assign(3 * variable.value)
        after, smaller = loss_and_gradients(model, tensor.variables)
        np.testing.assert_allclose(after, before, rtol=1e-5)
        np.testing.assert_allclose(smaller[0] * 3, gradients[0], rtol=1e-3, atol=1e-5)
    kernel, _ = found[0].variables
    kernel.assign(3 * kernel.value)
    assert abs(float(loss_and_gradients(model, [kernel])[0] - after)) > 1e-3
    assert not scale_invariant(build(units=(8, 8)))


def test_the_figures_of_a_step_against_numpy():
    model = build(randomise=True, units=(8, 8), **NORMALISED)
    tensors = scale_invariant(model)
    both = "|".join(v.path for tensor in tensors for v in tensor.variables)
    sgd = SGD(0.1, momentum=0.9, weight_decay=0.02)
    optimizer = Composite([Group(f"^({both})$", sgd), Group(f"^(?!({both})$)", Adagrad(0.1))])
    variables = model.trainable_variables
    optimizer.build(variables)
    rotations = Rotations(tensors, optimizer, every=2)
    for _ in range(3):  # The figures are those of the second.
        before = rotations.weights()
        _, gradients = loss_and_gradients(model, variables)
        optimizer.apply(gradients, variables)
        rotations.after_step(before)
        if int(optimizer.iterations) == 2:
            kept = before, rotations.weights()
    for number, tensor in enumerate(tensors):
        figures = rotations.figures()[tensor.path]
        w, after = (np.concatenate([np.ravel(part) for part in each[number]]).astype(np.float64) for each in kept)
        angle = np.arccos(w @ after / np.linalg.norm(w) / np.linalg.norm(after))
        assert figures["weight_norm"] == pytest.approx(np.linalg.norm(w), rel=1e-5)
        assert figures["angular_step"] == pytest.approx(angle, rel=1e-3)
        assert figures["lambda_e"] == pytest.approx(0.002)
        assert figures["effective_rate"] == pytest.approx(0.1 / (w @ w), rel=1e-5)
        assert figures["equilibrium_angular_step"] == pytest.approx(np.sqrt(2 * 0.002 * 0.1 / 1.9))
        assert figures["steps_to_equilibrium"] == pytest.approx(250)


def test_tiny_angles_and_weights_of_zero_have_figures():
    dense, norm = keras.layers.Dense(3, use_bias=False), keras.layers.LayerNormalization()
    model = keras.Sequential([keras.Input((2,)), dense, norm])
    (tensor,) = scale_invariant(model)
    assert tensor.variables == (dense.kernel,)
    optimizer = Composite([Group("dense", Adagrad(0.1))])
    optimizer.build(model.trainable_variables)
    rotations = Rotations([tensor], optimizer, every=1)
    dense.kernel.assign([[1, 0, 0], [0, 0, 0]])
    before = rotations.weights()
    dense.kernel.assign([[1, 1e-5, 0], [0, 0, 0]])
    rotations.after_step(before)
    figures = rotations.figures()[tensor.path]
    assert figures == {"weight_norm": 1.0, "angular_step": pytest.approx(1e-5, rel=1e-4)}  # Of Adagrad no rates.
    dense.kernel.assign(tf.zeros_like(dense.kernel))
    rotations.after_step(rotations.weights())
    assert rotations.figures()[tensor.path] == {"weight_norm": 0.0, "angular_step": 0.0}
