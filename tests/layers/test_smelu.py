"""SmeLU and its generalised form: values, slopes, and the ends of the number line."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.layers import GeneralisedSmeLU, SmeLU, smelu

INFINITY, NAN = float("inf"), float("nan")
BETAS = [0.01, 0.3, 1.0, 2.0, 1000.0]


def _reference(x, beta):
    """The three cases of the definition, in float64."""
    x = np.asarray(x, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # The parabola is not taken where it overflows.
        return np.where(x <= -beta, 0.0, np.where(x >= beta, x, (x + beta) ** 2 / (4 * beta)))


def _slope(x, beta):
    return np.clip((np.asarray(x, np.float64) + beta) / (2 * beta), 0.0, 1.0)


def _value_and_slope(f, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    return y, tape.gradient(y, x)


def _every_half(dtype):
    """All 65,536 numbers of a 16-bit type."""
    return tf.bitcast(tf.constant(np.arange(2**16, dtype=np.uint16)), dtype)


@pytest.mark.parametrize("beta", BETAS)
def test_value_and_slope_are_the_definition(beta):
    x = np.concatenate([np.linspace(-3 * beta, 3 * beta, 1001), [-beta, beta, 0.0]]).astype(np.float32)
    y, slope = _value_and_slope(SmeLU(beta), x)
    np.testing.assert_allclose(y, _reference(x, beta), rtol=2e-6, atol=1e-7 * beta)
    np.testing.assert_allclose(slope, _slope(x, beta), rtol=2e-6, atol=1e-7)


def test_a_point_by_hand():
    # (0.5 + 1)^2 / (4 * 1) = 0.5625, slope 1.5 / 2 = 0.75
    y, slope = _value_and_slope(lambda x: smelu(x, 1.0), [0.5])
    assert (float(y[0]), float(slope[0])) == (0.5625, 0.75)


def test_slope_agrees_with_finite_differences():
    x, h = tf.constant(np.random.default_rng(0).normal(size=100)), 1e-5
    _, slope = _value_and_slope(lambda x: smelu(x, 0.7), x)
    np.testing.assert_allclose(slope, (smelu(x + h, 0.7) - smelu(x - h, 0.7)) / (2 * h), atol=1e-5)


def test_curvature_is_that_of_the_parabola():
    x = tf.constant([-2.0, -0.5, 0.5, 2.0])
    with tf.GradientTape() as outer:
        outer.watch(x)
        _, slope = _value_and_slope(lambda x: smelu(x, 1.0), x)
    np.testing.assert_array_equal(outer.gradient(slope, x), [0.0, 0.5, 0.5, 0.0])  # 1 / (2 beta) inside


@pytest.mark.parametrize("beta", [0.3, 1.0, 7.0])
def test_slope_is_continuous_and_the_tails_are_exact(beta):
    joints = np.float32([-beta, beta])
    around = np.stack([np.nextafter(joints, np.float32(-9)), joints, np.nextafter(joints, np.float32(9))])
    _, slope = _value_and_slope(SmeLU(beta), around)
    np.testing.assert_allclose(slope, np.broadcast_to([0.0, 1.0], (3, 2)), atol=1e-6)
    tail = np.float32(beta) * np.linspace(1.01, 50, 500, dtype=np.float32)
    y, slope = _value_and_slope(SmeLU(beta), np.concatenate([-tail, tail]))
    np.testing.assert_array_equal(y, np.concatenate([np.zeros_like(tail), tail]))
    np.testing.assert_array_equal(slope, np.repeat([0.0, 1.0], len(tail)))


def test_tends_to_relu():
    x = np.linspace(-2, 2, 401).astype(np.float32)
    for beta in (1.0, 1e-2, 1e-6, 1e-30):
        np.testing.assert_allclose(smelu(x, beta), tf.nn.relu(x), atol=beta / 4 + 1e-7)  # They differ most at 0.
    assert float(smelu(0.0, 1.0)) == 0.25


def test_is_beta_times_sparse_plus_of_x_over_beta():
    x = np.linspace(-3, 3, 301).astype(np.float32)
    np.testing.assert_allclose(smelu(x, 0.8), 0.8 * keras.ops.sparse_plus(x / 0.8), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("beta", [1e-4, 0.3, 1.0, 1000.0])
def test_every_16_bit_number(dtype, beta):
    x = _every_half(dtype)
    wide = tf.cast(x, tf.float64).numpy()
    y, slope = _value_and_slope(SmeLU(beta), x)
    assert y.dtype == slope.dtype == dtype
    finite = np.isfinite(wide)
    y, slope = (tf.cast(v, tf.float64).numpy() for v in (y, slope))
    assert np.isfinite(y[finite]).all()
    ulp = 2.0**-10 if dtype == tf.float16 else 2.0**-7
    tiny = 2.0**-24 if dtype == tf.float16 else 0.0  # The steps of float16 near zero.
    expected = _reference(wide[finite], beta)
    np.testing.assert_allclose(y[finite], expected, rtol=ulp, atol=tiny + 1e-12 * beta)
    np.testing.assert_allclose(slope[finite], _slope(wide[finite], beta), rtol=ulp, atol=1e-6)


@pytest.mark.parametrize("beta", [1e-30, 1e-3, 1.0, 1e30])
def test_float32_of_any_bits_stays_finite(beta):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    extremes = np.float32([0.0, -0.0, 1e-45, -1e-45, 1.2e-38, 3.4e38, -3.4e38])
    x = np.concatenate([bits[np.isfinite(bits)], extremes])
    y, slope = _value_and_slope(SmeLU(beta), x)
    np.testing.assert_allclose(y, _reference(x, beta), rtol=1e-5, atol=1e-9 * beta)
    assert ((slope.numpy() >= 0) & (slope.numpy() <= 1)).all()


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
@pytest.mark.parametrize("jit", [False, True])
def test_infinities_and_nan_come_out_as_relus(dtype, jit):
    x = tf.constant([INFINITY, -INFINITY, NAN], dtype)
    y, slope = tf.function(lambda x: _value_and_slope(SmeLU(0.3), x), jit_compile=jit)(x)
    np.testing.assert_array_equal(tf.cast(y, tf.float32), tf.nn.relu(tf.cast(x, tf.float32)))  # inf, 0, NaN
    np.testing.assert_array_equal(tf.cast(slope, tf.float32)[:2], [1.0, 0.0])


@pytest.mark.parametrize("beta", [0.0, -1.0, 1e-31, 1e31, INFINITY, NAN])
def test_half_width_outside_its_domain_is_refused(beta):
    with pytest.raises(ValueError, match="beta must be in"):
        SmeLU(beta)


def test_serves_as_activation_by_function_and_by_layer(tmp_path):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, activation=smelu)(inputs)
    x = smelu(keras.layers.Dense(4, activation=SmeLU(0.5))(x), 0.2)
    model = keras.Model(inputs, x)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    data = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(again(data), model(data))
    assert again.layers[2].activation.beta == 0.5


# --- Two slopes.


def _generalised_reference(x, a, b, below, above, t):
    """The three polynomials, their coefficients worked out one by one."""
    A, B = (above - below) / (2 * (a + b)), (a * above + b * below) / (a + b)
    C = t + (a**2 * (above + below) + 2 * a * b * below) / (2 * (a + b))
    line = above * x + t + ((a + b) * below + (a - b) * above) / 2
    return np.where(x <= -a, below * x + t + below * a, np.where(x >= b, line, A * x**2 + B * x + C))


@pytest.mark.parametrize("arguments", [(1, 1, 0, 1, 0), (0.5, 2, 0.1, 1.5, -0.3), (-0.5, 2, 1.0, -0.2, 1)])
def test_generalised_is_its_three_polynomials(arguments):
    x = np.linspace(-4, 4, 1001)
    layer = GeneralisedSmeLU(*arguments, dtype="float64")
    y, slope = _value_and_slope(layer, x)
    np.testing.assert_allclose(y, _generalised_reference(x, *arguments), atol=1e-12)
    h = 1e-6
    np.testing.assert_allclose(slope, (layer(x + h) - layer(x - h)).numpy() / (2 * h), atol=1e-5)


def test_generalised_with_slopes_0_and_1_is_smelu():
    x = np.linspace(-4, 4, 1001).astype(np.float32)
    for got, expected in zip(
        _value_and_slope(GeneralisedSmeLU(0.7, 0.7), x), _value_and_slope(SmeLU(0.7), x), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("slopes", [(0, 1), (0.1, 1), (0.5, -0.5), (1, 0)])
def test_generalised_at_infinity_is_a_line(slopes):
    below, above = slopes
    y, slope = _value_and_slope(GeneralisedSmeLU(1, 2, below, above), tf.constant([-INFINITY, INFINITY, NAN]))
    left, right = -below * INFINITY if below else 0.0, above * INFINITY if above else (below + above) * 3 / 2
    np.testing.assert_array_equal(y, [left, right, NAN])
    np.testing.assert_allclose(slope[:2], slopes, atol=1e-7)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_generalised_of_every_16_bit_number_is_finite(dtype):
    x = _every_half(dtype)
    y, slope = _value_and_slope(GeneralisedSmeLU(0.5, 2, 0.1, 0.9), x)
    finite = np.isfinite(tf.cast(x, tf.float32))
    assert np.isfinite(tf.cast(y, tf.float32)[finite]).all()
    assert np.isfinite(tf.cast(slope, tf.float32)[finite]).all()


@pytest.mark.parametrize("arguments", [{"a": -1.0}, {"a": NAN}, {"slope_above": INFINITY}, {"shift": NAN}])
def test_generalised_arguments_outside_their_domain_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        GeneralisedSmeLU(**arguments)
