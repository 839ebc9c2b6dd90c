"""The pieces of the penalties against NumPy, and the expansions that say what each of them does, with its condition."""

import numpy as np
import pytest
import tensorflow as tf

from tests.penalties_reference import (
    Network,
    half_mean_square,
    kl,
    second_order_of_noise,
    sigmoid,
    unit,
    virtual,
)
from tfstable.models.penalties import (
    adversarial_move,
    curvatures,
    divergence,
    flooding_sign,
    mean_square,
    normal_rows,
    squared_gradient,
    unit_rows,
    virtual_move,
)
from tfstable.models.targets import Rows
from tfstable.specs import BinaryTask, RegressionTask

TASKS = {"click": BinaryTask(kind="binary", weight=2.0), "time": RegressionTask(kind="regression", label="seconds")}
X = np.random.default_rng(1).normal(size=(6, 3))


def in_tensorflow(net: Network, x: tf.Tensor) -> tf.Tensor:
    W, b, V, c = (tf.constant(value, x.dtype) for value in (net.W, net.b, net.V, net.c))
    return tf.tanh(x @ W + b) @ V + c


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_against_numpy(dtype, tolerance):
    net, rng = Network(), np.random.default_rng(2)
    d, w, g = unit(rng.normal(size=X.shape)), np.array([1, 2, 0, 0.5, 1, 1.0]), rng.normal(size=X.shape)
    g[2] = 0
    np.testing.assert_allclose(unit_rows(tf.constant(g, dtype)), unit(g), rtol=tolerance)
    np.testing.assert_allclose(adversarial_move(tf.constant(g, dtype), 0.5), 0.5 * unit(g), rtol=tolerance)
    np.testing.assert_allclose(mean_square(tf.constant(g, dtype)), half_mean_square(g), rtol=tolerance)
    np.testing.assert_allclose(mean_square(tf.constant(g, dtype), w), half_mean_square(g, w), rtol=tolerance)
    x, moved = tf.constant(X, dtype), net(X + 0.3 * d)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        f = in_tensorflow(net, x)
    by_task, other = ({"click": a[:, 0], "time": a[:, 1]} for a in (f, tf.constant(moved, dtype)))
    p = sigmoid(net(X)[:, 0])
    bend = np.stack([2 * p * (1 - p), np.ones(6)], axis=1)
    found = virtual_move(tape, x, f, curvatures(TASKS, by_task), tf.constant(d, dtype), 0.5)
    np.testing.assert_allclose(found, virtual(net.jacobian(X), bend, d, 0.5), rtol=tolerance, atol=tolerance)
    each = 2 * kl(p, sigmoid(moved[:, 0])), (net(X)[:, 1] - moved[:, 1]) ** 2 / 2
    weights = {"click": tf.constant(w, dtype), "time": None}
    expected = (w * each[0]).mean() + each[1].mean()
    np.testing.assert_allclose(divergence(TASKS, by_task, other, weights), expected, rtol=10 * tolerance)


def test_directions_of_any_size_and_what_is_not_finite():
    tiny, huge = tf.constant([[3e-30, 4e-30]]), tf.constant([[3e30, -4e30]])
    np.testing.assert_allclose(unit_rows(tiny), [[0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(unit_rows(huge), [[0.6, -0.8]], rtol=1e-6)
    for value in (np.nan, np.inf):
        assert np.isnan(unit_rows(tf.constant([[1.0, value]])).numpy()).any()
    assert [float(flooding_sign(tf.constant(loss), 1.0)) for loss in (1.5, 0.5, 1.0)] == [1, -1, 0]
    assert np.isnan(flooding_sign(tf.constant(np.nan), 1.0))


def test_noise_is_normal_and_the_same_for_any_number_of_replicas():
    seed, whole = tf.constant([7, 3]), Rows(0, 4000)
    z = normal_rows(seed, whole, 4000, 30).numpy()
    np.testing.assert_array_equal(normal_rows(seed, Rows(1000, 4000), 500, 30), z[1000:1500])
    compiled = tf.function(lambda: normal_rows(seed, whole, 4000, 30), jit_compile=True)()
    np.testing.assert_allclose(compiled, z, rtol=1e-4, atol=1e-5)
    assert (z != normal_rows(tf.constant([7, 4]), whole, 4000, 30).numpy()).mean() > 0.99
    moments = [z.mean(), z.var() - 1, (z**3).mean(), (z**4).mean() - 3]
    np.testing.assert_allclose(moments, 0, atol=0.05)  # 120,000 numbers: three standard errors of the last are 0.08.
    assert np.abs(np.corrcoef(z[:-1].ravel(), z[1:].ravel())[0, 1]) < 0.01


# --- Expansions. Errors fall as a power of the size: halving it shows which. ---


def order(error, size: float) -> float:
    """The power of its argument with which an error falls."""
    return np.log2(np.abs(error(size)).max() / np.abs(error(size / 2)).max())


def mean_under_noise(function, x, stddev):
    """The mean of function(x + stddev e), e standard normal in three dimensions, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(nodes, nodes, nodes), axis=-1).reshape(-1, 3)
    of_grid = np.einsum("i,j,k->jik", weights, weights, weights).ravel()
    values = function((x[:, None] + stddev * grid).reshape(-1, 3)).reshape(len(x), -1)
    return values @ of_grid


def test_noise_adds_a_gradient_penalty_and_a_laplacian():
    net, y = Network(outputs=1), np.array([1, 0, 1, 1, 0, 0])
    f = net(X)[:, 0]
    J, laplacian = net.jacobian(X)[:, 0], net.laplacian(X)[:, 0]
    p = sigmoid(f)

    def log_loss(x, y=y):
        f = net(x)[:, 0].reshape(len(y), -1)
        return (np.logaddexp(0, f) - y[:, None] * f).ravel()

    def error(stddev, laplacian):
        expected = log_loss(X) + second_order_of_noise(f, p - y, p * (1 - p), J, laplacian, stddev)
        return mean_under_noise(log_loss, X, stddev) - expected

    assert order(lambda s: error(s, laplacian), 0.05) == pytest.approx(4, abs=0.1)
    assert order(lambda s: error(s, 0), 0.05) == pytest.approx(2, abs=0.1)  # Without it, only the order 2 is right.

    # Half the squared error: the bare penalty is right where the fit is, and off by residual * laplacian elsewhere.
    def error_of_squares(stddev, residual):
        of_rows = (f - residual)[:, None]
        found = mean_under_noise(lambda x: ((net(x)[:, 0].reshape(6, -1) - of_rows) ** 2 / 2).ravel(), X, stddev)
        return found - residual**2 / 2 - stddev**2 / 2 * (J**2).sum(axis=1)

    assert order(lambda s: error_of_squares(s, 0.0), 0.05) == pytest.approx(4, abs=0.1)
    assert order(lambda s: error_of_squares(s, 1.0), 0.05) == pytest.approx(2, abs=0.1)


def test_fgm_adds_the_length_of_the_gradient():
    net = Network(outputs=1)
    g = (sigmoid(net(X)) - 1) * net.jacobian(X)[:, 0]  # Of log(1 + exp(-f)).
    loss = lambda x: np.logaddexp(0, -net(x)[:, 0])  # noqa: E731

    def error(epsilon, signs=1.0):
        moved = X + signs * adversarial_move(tf.constant(g), epsilon).numpy()
        return loss(moved) - loss(X) - epsilon * np.sqrt((g**2).sum(axis=1))

    assert order(error, 1e-3) == pytest.approx(2, abs=0.05)
    assert (loss(X + adversarial_move(tf.constant(g), 1e-3).numpy()) > loss(X)).all()


def test_vat_is_the_limit_of_a_small_step_and_finds_where_predictions_change():
    net, d = Network(outputs=1), unit(np.random.default_rng(3).normal(size=X.shape))
    p, J = sigmoid(net(X)), net.jacobian(X)
    exact = virtual(J, p * (1 - p), d, 1.0)

    def by_the_paper(xi):  # The gradient of KL(p(x) || p(x + r)) at r = xi d.
        moved = X + xi * d
        return unit((sigmoid(net(moved)) - p) * net.jacobian(moved)[:, 0])

    assert order(lambda xi: by_the_paper(xi) - exact, 1e-3) == pytest.approx(1, abs=0.1)

    def change(r):
        return kl(p[:, 0], sigmoid(net(X + r))[:, 0])

    quadratic = lambda r: (p * (1 - p))[:, 0] * np.einsum("ri,ri->r", J[:, 0], r) ** 2 / 2  # noqa: E731
    assert order(lambda e: change(e * exact) - quadratic(e * exact), 1e-2) == pytest.approx(3, abs=0.1)
    assert (change(1e-2 * exact) > change(1e-2 * d)).all()


class Descent:
    """L(w) of a small network on six rows, its gradient and its Hessian's product, in TensorFlow, float64."""

    def __init__(self):
        rng = np.random.default_rng(4)
        self.x, self.y = tf.constant(X), tf.constant(rng.normal(size=(6, 1)))
        self.start = [tf.constant(rng.normal(size=shape)) for shape in ((3, 4), (4, 1))]

    def loss(self, w):
        return tf.reduce_mean(tf.square(tf.tanh(self.x @ w[0]) @ w[1] - self.y)) / 2

    def gradient(self, w, rate=0.0):
        """Of L + (rate / 4) ||grad L||^2."""
        with tf.GradientTape() as again:
            again.watch(w)
            with tf.GradientTape() as tape:
                tape.watch(w)
                loss = self.loss(w)
            g = tape.gradient(loss, w)
            product = squared_gradient(g, rate, lambda parts: parts)
        return [a + b for a, b in zip(g, again.gradient(product, w), strict=True)]

    def flow(self, w, time, rate=0.0, steps=2):
        """The gradient flow of L + (rate / 4) ||grad L||^2, by Runge and Kutta's method of order 4."""
        moved = lambda w, k, h: [a - h * b for a, b in zip(w, k, strict=True)]  # noqa: E731
        for _ in range(steps):
            h = time / steps
            k1 = self.gradient(w, rate)
            k2 = self.gradient(moved(w, k1, h / 2), rate)
            k3 = self.gradient(moved(w, k2, h / 2), rate)
            k4 = self.gradient(moved(w, k3, h), rate)
            w = [a - h / 6 * (p + 2 * q + 2 * r + s) for a, p, q, r, s in zip(w, k1, k2, k3, k4, strict=True)]
        return w


def flat(w) -> np.ndarray:
    return np.concatenate([np.ravel(each) for each in w])


def test_the_penalty_on_the_weights_gradient_has_its_gradient():
    of, rate, rng = Descent(), 0.3, np.random.default_rng(5)
    u = [tf.constant(rng.normal(size=w.shape)) for w in of.start]

    def penalised(t):
        w = [a + t * b for a, b in zip(of.start, u, strict=True)]
        return of.loss(w) + rate / 4 * (flat(of.gradient(w)) ** 2).sum()

    slope = (penalised(1e-5) - penalised(-1e-5)) / 2e-5
    np.testing.assert_allclose(flat(of.gradient(of.start, rate)) @ flat(u), slope, rtol=1e-7)


def test_a_finite_step_follows_the_flow_of_the_penalised_loss():
    of = Descent()

    def apart(eta, rate):
        step = [w - eta * g for w, g in zip(of.start, of.gradient(of.start), strict=True)]
        return flat(step) - flat(of.flow(of.start, eta, rate))

    assert order(lambda eta: apart(eta, 0.0), 0.02) == pytest.approx(2, abs=0.1)
    assert order(lambda eta: apart(eta, eta), 0.02) == pytest.approx(3, abs=0.1)
    # A quadratic, in closed form: the decay of (1 - eta c)^(1 / eta) is that of c w^2 / 2 + (eta / 4) (c w)^2.
    decay = lambda eta, c=1.5: -np.log1p(-eta * c) / eta  # noqa: E731
    assert order(lambda eta: np.array(decay(eta) - 1.5), 1e-2) == pytest.approx(1, abs=0.05)
    assert order(lambda eta: np.array(decay(eta) - 1.5 - eta / 2 * 1.5**2), 1e-2) == pytest.approx(2, abs=0.05)


def test_the_penalty_at_a_small_rate_imitates_a_large_one():
    of, time = Descent(), 1.6

    def descended(eta, rate=0.0):
        w = of.start
        for _ in range(round(time / eta)):
            w = [a - eta * g for a, g in zip(w, of.gradient(w, rate), strict=True)]
        return flat(w)

    large, small = descended(0.2), descended(0.05)
    assert np.linalg.norm(descended(0.05, 0.15) - large) < 0.25 * np.linalg.norm(small - large)


def test_flooding_at_its_level_descends_the_gradients_square():
    of = Descent()
    w = of.start

    def two_steps(eta):  # The level lies between the losses before and after the first step.
        g = of.gradient(w)
        after = [a - eta * b for a, b in zip(w, g, strict=True)]
        level = float(of.loss(w) + of.loss(after)) / 2
        at = w
        for _ in range(2):
            sign = flooding_sign(of.loss(at), level)
            at = [a - eta * sign * b for a, b in zip(at, of.gradient(at), strict=True)]
        return flat(at) - flat(w)

    # grad ||g||^2 = 2 H g, and rate / 2 H g is what the penalty adds.
    of_square = 2 * (flat(of.gradient(w, 2.0)) - flat(of.gradient(w)))
    assert order(lambda eta: two_steps(eta) + eta**2 / 2 * of_square, 0.02) == pytest.approx(3, abs=0.1)
    assert order(two_steps, 0.02) == pytest.approx(2, abs=0.1)
