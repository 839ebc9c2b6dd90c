"""The largest Hessian eigenvalue against exact ones: of the paper's quadratic, of known spectra, of a real model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.analysis.sharpness import SharpnessProbe, largest_eigenvalue
from tfstable.data.columns import RawColumn
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.optimizers import SGD, Adagrad, Composite, Group
from tfstable.specs import BinaryTask, HashFeature, NumericFeature, RegressionTask


def quadratic(matrix: np.ndarray):
    """w . A w / 2, whose Hessian is A, and its variable."""
    w = tf.Variable(np.ones(len(matrix)))
    return lambda: tf.tensordot(w, tf.linalg.matvec(matrix, w), 1) / 2, w


def with_spectrum(eigenvalues: list[float]) -> np.ndarray:
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((len(eigenvalues),) * 2))[0]
    return basis @ np.diag(eigenvalues) @ basis.T


def test_the_quadratic_of_the_paper():
    # Figure 3 of Tang et al., 2023: f(w) = (20 w_1^2 + w_2^2) / 2, stable while eta < 2/20.
    loss, w = quadratic(np.diag([20.0, 1.0]))
    eigenvalue, residual = largest_eigenvalue(loss, [w], tolerance=1e-8)
    assert eigenvalue.numpy() == pytest.approx(20, rel=1e-12)
    assert residual.numpy() <= 1e-8


@pytest.mark.parametrize(
    ("spectrum", "largest"),
    [
        ([5, 3, 1, 0.1], 5),
        ([3, 1, 0.5, -9], 3),  # Largest by magnitude: -9, which does not destabilise descent.
        ([4, 1, 0.5, -4], 4),  # Two of one magnitude: plain power iteration never settles.
        ([-1, -2, -3, -8], -1),
        ([0, 0, 0, 0], 0),
    ],
)
def test_the_most_positive_one_is_found_whatever_is_largest_by_magnitude(spectrum, largest):
    loss, w = quadratic(with_spectrum([float(value) for value in spectrum]))
    found = tf.function(lambda: largest_eigenvalue(loss, [w], iterations=300, tolerance=1e-7))()[0]
    assert found.numpy() == pytest.approx(largest, abs=1e-6)


def test_scales_act_on_both_sides():
    matrix, scales = with_spectrum([7.0, 2.0, 1.0, 0.2]), np.array([0.1, 1.0, 3.0, 0.5])
    loss, w = quadratic(matrix)
    found, _ = largest_eigenvalue(loss, [w], [tf.constant(scales)], iterations=300, tolerance=1e-7)
    exact = np.linalg.eigvalsh(np.diag(scales) @ matrix @ np.diag(scales)).max()
    assert found.numpy() == pytest.approx(exact, rel=1e-6)


@pytest.fixture(scope="module")
def model():
    return make_model()


def make_model() -> RankingModel:
    keras.utils.set_random_seed(0)
    features = {"user": HashFeature(kind="hash", buckets=20, dim=3), "age": NumericFeature(kind="numeric")}
    tasks = {"click": BinaryTask(kind="binary"), "watch": RegressionTask(kind="regression")}
    columns = {"user": RawColumn(dtype="int64"), "age": RawColumn(dtype="float32")}
    statistics = Statistics(columns=columns, base_rates={"click": 0.3, "watch": 1.0})
    made = RankingModel(features, tasks, statistics, units=[5, 4], activation="softplus", cross_depth=1)
    made.build()
    return made


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    features = {
        "user": tf.constant(rng.integers(0, 20, 64), tf.int32),
        "age": tf.constant(rng.normal(size=64), tf.float32),
    }
    labels = {
        "click": tf.constant(rng.integers(0, 2, 64), tf.float32),
        "watch": tf.constant(rng.normal(1, 2, 64), tf.float32),
    }
    return features, labels, tf.ones(64)


@pytest.fixture(scope="module")
def exact_hessian(model, batch) -> np.ndarray:
    """All of it, from the Jacobian of the gradient."""
    variables = [v.value for v in model.trainable_variables if "embeddings" not in v.path]

    @tf.function(autograph=False)
    def blocks():
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = model.compute_loss(batch[0], batch[1], model.logits(batch[0]), batch[2])
            gradient = tf.concat([tf.reshape(g, [-1]) for g in inner.gradient(loss, variables)], axis=0)
        return outer.jacobian(gradient, variables, unconnected_gradients="zero")

    parts = [block.numpy().astype(np.float64) for block in blocks()]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def test_a_model_s_dense_part_against_the_exact_eigenvalue(model, batch, exact_hessian):
    assert 70 < len(exact_hessian) < 300
    optimizer = SGD(0.1)
    optimizer.build(model.trainable_variables)
    figures = SharpnessProbe(model, optimizer, iterations=200, tolerance=1e-3)(*batch)
    assert figures["hessian"] == pytest.approx(np.linalg.eigvalsh(exact_hessian).max(), rel=2e-3)
    assert figures["preconditioned"] == pytest.approx(figures["hessian"], rel=1e-3)  # Plain descent has no D.
    assert figures["two_over_rate"] == pytest.approx(20)


def test_adagrad_preconditions_by_the_accumulators_of_the_next_step(model, batch, exact_hessian):
    optimizer = Composite([Group("embeddings", Adagrad(0.5)), Group("dense", Adagrad(0.2, initial_accumulator=0.04))])
    optimizer.build(model.trainable_variables)
    figures = SharpnessProbe(model, optimizer, iterations=200, tolerance=1e-3)(*batch)
    variables = [v for v in model.trainable_variables if "embeddings" not in v.path]
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch[0], batch[1], model.logits(batch[0]), batch[2])
    gradient = np.concatenate([g.numpy().ravel() for g in tape.gradient(loss, [v.value for v in variables])])
    scale = (0.04 + gradient.astype(np.float64) ** 2) ** -0.25
    exact = np.linalg.eigvalsh(scale[:, None] * exact_hessian * scale).max()
    assert figures["preconditioned"] == pytest.approx(exact, rel=2e-3)
    assert figures["two_over_rate"] == pytest.approx(10)  # The dense group's.


@pytest.mark.slow
def test_mirrored_variables_give_the_same_figures(model, batch):
    def figures(made: RankingModel, optimizer) -> dict[str, float]:
        optimizer.build(made.trainable_variables)
        return SharpnessProbe(made, optimizer, iterations=10)(*batch)

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        mirrored = figures(make_model(), Adagrad(0.2))
    assert mirrored == pytest.approx(figures(model, Adagrad(0.2)), rel=1e-3)


def test_descent_leaves_a_minimum_exactly_above_two_over_the_sharpness():
    matrix = with_spectrum([8.0, 3.0, 1.0])
    loss, w = quadratic(matrix)
    largest = float(largest_eigenvalue(loss, [w], iterations=300, tolerance=1e-7)[0])

    def after(rate: float) -> float:
        w = np.ones(3)
        for _ in range(300):
            w -= rate * matrix @ w
        return w @ matrix @ w / 2

    assert after(0.98 * 2 / largest) < 1e-4
    assert after(1.02 * 2 / largest) > 1e4
