"""Initial kernels: gains against closed forms, the mean square through 50 layers, Keras's Orthogonal."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import build
from tests.reference_weights import mean_squares_through_layers
from tfstable.layers import GeneralisedSmeLU, MeanSquareOrthogonal, SmeLU, activation_gain
from tfstable.models.blocks import dense_stack
from tfstable.options import RankingOptions

DEPTH, WIDTH, ROWS = 50, 192, 64


def smelu_mean_square(beta):
    """E f(z)^2 of SmeLU and its standard error, of a million draws."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=1_000_000)
    f = np.where(z >= beta, z, np.where(z <= -beta, 0, (z + beta) ** 2 / (4 * beta)))
    return np.mean(f**2), np.std(f**2) / 1000


def test_gains_of_relu_linear_and_leaky_relu_are_exact():
    assert activation_gain(keras.activations.relu) == pytest.approx(np.sqrt(2), rel=1e-9)
    assert activation_gain(keras.activations.linear) == pytest.approx(1, rel=1e-9)
    slope = GeneralisedSmeLU(1e-6, 1e-6, 0.25, dtype="float64")  # Almost a leaky ReLU: He et al., 2015, equation (15).
    assert activation_gain(slope) == pytest.approx(np.sqrt(2 / (1 + 0.25**2)), rel=1e-5)
    with pytest.raises(ValueError, match="positive and finite"):
        activation_gain(tf.zeros_like)


def test_smelu_has_the_gain_of_a_large_sample_and_relu_in_the_limit():
    for beta in (0.3, 1.0, 2.0):
        mean, error = smelu_mean_square(beta)
        assert abs(activation_gain(SmeLU(beta, dtype="float64")) ** -2 - mean) < 4 * error
    assert activation_gain(SmeLU(1e-5, dtype="float64")) == pytest.approx(np.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (32, 128), (128, 32)])
def test_orthogonal_against_keras(shape):
    n_in, n_out = shape
    ours = MeanSquareOrthogonal(1.5, seed=3)(shape).numpy()
    keras_ = np.asarray(keras.initializers.Orthogonal(1.5, seed=3)(shape))
    np.testing.assert_allclose(ours, np.sqrt(max(1, n_out / n_in)) * keras_, rtol=1e-6)
    gram = ours.T @ ours if n_in >= n_out else ours @ ours.T
    np.testing.assert_allclose(gram, 1.5**2 * max(1, n_out / n_in) * np.eye(min(shape)), atol=1e-4)
    np.testing.assert_allclose(np.mean(ours**2), 1.5**2 / n_in, rtol=1e-5)  # Exactly: the convention itself.
    assert MeanSquareOrthogonal.from_config(MeanSquareOrthogonal(1.5, 3).get_config()).get_config()["gain"] == 1.5


def test_bad_gains_and_shapes_are_refused():
    with pytest.raises(ValueError, match="gain must be positive and finite, got 0"):
        MeanSquareOrthogonal(0.0)
    with pytest.raises(ValueError, match=r"got the shape \(3, 4, 5\)"):
        MeanSquareOrthogonal()((3, 4, 5))


# ReLU keeps what one draw of a layer adds: the logarithm of the mean square wanders by about sqrt(5 depth / width). The
# others come back to 1. Under other activations than ReLU He's kernels let it drift off, by orders of magnitude.
@pytest.mark.parametrize(
    ("kind", "keys", "least", "most"),
    [
        ("orthogonal", {"activation": "relu"}, 0.1, 3),
        ("orthogonal", {"activation": "smelu", "beta": 2.0}, 0.8, 1.25),
        ("fan_in", {"activation": "smelu", "beta": 2.0}, 0.8, 1.25),
        ("orthogonal", {"activation": "tanh", "activation_clip": 0.8}, 0.8, 1.25),
        ("he", {"activation": "swish"}, 0, 1e-9),
        ("he", {"activation": "smelu", "beta": 2.0}, 2, 50),
    ],
)
def test_the_mean_square_through_fifty_layers(kind, keys, least, most):
    keras.utils.set_random_seed(1)
    options = RankingOptions(kernel_initializer=kind, **keys)
    stack = dense_stack(options, (WIDTH,) * DEPTH, "bottom", False, "float32", linear_input=True)
    x = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
    stack.build(x.shape)
    dense = [layer for layer in stack.layers if layer.weights]
    pre = dense[-1](keras.Sequential(stack.layers[: stack.layers.index(dense[-1])])(x)).numpy()
    assert least <= np.mean(pre**2) <= most


def test_the_mean_square_follows_the_recursion_of_wide_layers():
    expected = mean_squares_through_layers(lambda z: np.maximum(z, 0), 2, DEPTH)
    np.testing.assert_allclose(expected, 1, rtol=1e-6)
    swish = mean_squares_through_layers(lambda z: z / (1 + np.exp(-z)), 2, DEPTH)
    assert swish[-1] < 1e-12  # Why `he` under swish loses its signal: sqrt(2) is below its gain.
    gain = activation_gain(keras.activations.tanh)
    np.testing.assert_allclose(mean_squares_through_layers(np.tanh, gain**2, DEPTH), 1, rtol=1e-6)


def test_the_default_is_he_normal_and_others_reach_experts_towers_and_outputs():
    model = build(units=(8, 8), tower_units=(4,))
    kernels = [layer.kernel_initializer for layer in model.bottom.layers if hasattr(layer, "kernel_initializer")]
    assert [type(kernel) for kernel in kernels] == [keras.initializers.HeNormal] * 2
    assert type(model.outputs_of["click"].kernel_initializer) is keras.initializers.GlorotUniform
    keys = {"bottom": {"kind": "mmoe", "experts": 2, "units": (4,)}, "tower_units": (4,)}
    model = build(units=(8, 8), kernel_initializer="orthogonal", activation="relu", **keys)
    model.build()
    first, second = (layer for layer in model.bottom.layers if layer.weights)
    assert first.kernel_initializer.gain == 1  # It reads no activation.
    assert second.kernel_initializer.gain == pytest.approx(2**0.5)
    expert = next(iter(model.expert_bottom.levels[0].stacks.values())).layers[0]
    assert expert.kernel_initializer.gain == pytest.approx(activation_gain(keras.activations.swish))  # Its own.
    assert model.towers["click"].layers[0].kernel_initializer.gain == pytest.approx(2**0.5)
    output = model.outputs_of["click"].kernel
    np.testing.assert_allclose(np.sum(output.numpy() ** 2), 1, rtol=1e-5)  # One orthonormal column.
