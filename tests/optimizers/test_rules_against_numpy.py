"""Every direction with every clipping equals NumPy, step by step, on dense tensors and on tables."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import reference, rule_reference
from tfstable.optimizers import (
    SGD,
    Adafactor,
    Adagrad,
    Adam,
    AdaptiveGradient,
    AdaX,
    Clippy,
    GradientNorm,
    Muon,
    TrustRatio,
)

STEPS = 50
DIRECTIONS = {
    "adagrad": (Adagrad, reference.adagrad),
    "adam": (Adam, reference.adam),
    "momentum": (partial(SGD, momentum=0.9), partial(reference.sgd, momentum=0.9)),
    "adax": (AdaX, reference.adax),
}
# Rules that embedding tables cannot have, and one that dense variables cannot.
OF_DENSE = {"muon": (Muon, rule_reference.muon), "adafactor": (Adafactor, rule_reference.adafactor)}
OF_TABLES = {"adagrad_by_row": (partial(Adagrad, accumulator="row"), rule_reference.adagrad_by_row)}
VARIANTS = {
    "adagrad_epsilon": (partial(Adagrad, epsilon=1e-3), partial(reference.adagrad, epsilon=1e-3)),
    "plain": (SGD, reference.sgd),
    "nesterov": (partial(SGD, momentum=0.9, nesterov=True), partial(reference.sgd, momentum=0.9, nesterov=True)),
}
CLIPPINGS = {
    "none": (lambda **_: None, reference.no_clipping),
    "clippy": (Clippy, reference.clippy),
    "gradient_norm": (GradientNorm, reference.gradient_norm),
    "adaptive_gradient": (AdaptiveGradient, reference.adaptive_gradient),
    "trust_ratio": (TrustRatio, reference.trust_ratio),
}
# Keras computes rates in float32; these are exact there, so that float64 weights must agree to 1e-11 after 50 steps.
SCHEDULE = keras.optimizers.schedules.PiecewiseConstantDecay([0, 5, 30], [0.0, 0.125, 0.5, 0.25])


def batches(height=12, width=3, seed=0):
    """Batches of ids with duplicates and repeats, some of them empty; values of very different sizes, some zero."""
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        size = 0 if step % 10 == 7 else int(rng.integers(1, 9))
        values = rng.normal(size=(size, width)) * 10.0 ** rng.integers(-3, 2, size=(size, 1))
        values[rng.random(values.shape) < 0.1] = 0.0
        yield rng.integers(0, height, size=size), values


CASES = [(d, c) for d in DIRECTIONS for c in CLIPPINGS] + [(d, "none") for d in VARIANTS]
CLIPPED = [("adagrad", c) for c in CLIPPINGS if c != "none"] + [("adam", "clippy"), ("momentum", "trust_ratio")]


@pytest.mark.parametrize(
    ("direction", "clipping", "accumulate"),
    [(*c, "raw") for c in CASES]
    + [(*c, "clipped") for c in CLIPPED]
    + [(d, c, "clipped") for d in OF_DENSE for c in CLIPPINGS],
)
def test_dense(direction, clipping, accumulate):
    rng = np.random.default_rng(1)
    make, rule = (DIRECTIONS | VARIANTS | OF_DENSE)[direction]
    make_clipping, factor = CLIPPINGS[clipping]
    starts = [rng.normal(size=(5, 4)), np.zeros(4), np.zeros(())]  # a kernel, a bias, an alpha
    if direction in OF_DENSE:
        starts += [rng.normal(size=shape) for shape in [(4, 1), (3, 2, 5)][: 2 if direction == "muon" else 1]]
    variables = [keras.Variable(w, dtype="float64", name=f"w{i}") for i, w in enumerate(starts)]
    scale = rule_reference.adafactor_scale if direction == "adafactor" else reference.unscaled
    expected = [reference.Dense(w, rule, factor, accumulate=accumulate, scale=scale) for w in starts]
    optimizer = make(learning_rate=SCHEDULE, clipping=make_clipping(accumulate=accumulate))
    optimizer.build(variables)
    apply = tf.function(lambda *gradients: optimizer.apply(gradients, variables), autograph=False)

    def rate(step):
        return min(float(SCHEDULE(step)), 1 / np.sqrt(step + 1) if direction == "adafactor" else 1.0)

    # Adafactor's root is taken in float32, as Keras's rates are.
    close = {"rtol": 1e-6, "atol": 1e-6} if direction == "adafactor" else {"rtol": 1e-11, "atol": 1e-13}
    for step in range(STEPS):
        gradients = [rng.normal(size=w.shape) * 10.0 ** rng.integers(-3, 2) for w in starts]
        apply(*map(tf.constant, gradients))
        for variable, tensor, g in zip(variables, expected, gradients, strict=True):
            tensor.step(g, eta=rate(step))
            np.testing.assert_allclose(variable.numpy(), tensor.w, **close, err_msg=f"step {step}")


@pytest.mark.parametrize(
    ("direction", "clipping", "scope", "accumulate"),
    [(d, c, scope, "raw") for d, c in CASES for scope in (["tensor"] if c == "none" else ["tensor", "row"])]
    + [(*c, scope, "clipped") for c in CLIPPED for scope in ("tensor", "row")]
    + [(d, c, "row", "clipped") for d in OF_TABLES for c in ("none", "clippy", "gradient_norm")],
)
def test_table(direction, clipping, scope, accumulate):
    make, rule = (DIRECTIONS | VARIANTS | OF_TABLES)[direction]
    make_clipping, factor = CLIPPINGS[clipping]
    start = np.random.default_rng(2).normal(size=(12, 3))
    start[3] = 1e-6  # a near-zero row
    table = keras.Variable(start, dtype="float64", name="table")
    table.is_embedding_table = True
    expected = reference.Table(start, rule, factor, by_row=scope == "row", accumulate=accumulate)
    optimizer = make(learning_rate=SCHEDULE, clipping=make_clipping(scope=scope, accumulate=accumulate))
    optimizer.build([table])

    @partial(tf.function, autograph=False)
    def apply(indices, values):
        optimizer.apply([tf.IndexedSlices(values, indices, tf.constant([12, 3]))], [table])

    apply = apply.get_concrete_function(tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 3], tf.float64))
    for step, (indices, values) in enumerate(batches()):
        apply(tf.constant(indices), tf.constant(values))
        expected.step(indices, values, float(SCHEDULE(step)))
        np.testing.assert_allclose(table.numpy(), expected.w, rtol=1e-11, atol=1e-13, err_msg=f"step {step}")
