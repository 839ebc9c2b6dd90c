"""Every optimizer of the package with no argument at its default, and variables and gradients to try them on."""

import keras
import numpy as np
import tensorflow as tf

from tfstable.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdaptiveGradient,
    AdaX,
    Clippy,
    ClippyAdagrad,
    ClippyAdam,
    Composite,
    Ema,
    GradientNorm,
    Group,
    Muon,
    TrustRatio,
)

SHARED = {"on_nonfinite": "raise", "track_every": 2, "name": "mine"}


def schedule():
    return keras.optimizers.schedules.PolynomialDecay(0.25, decay_steps=8, end_learning_rate=0.125)


def on_dense(optimizer):
    """A rule that embedding tables cannot have, beside one for the table."""
    table = Adagrad(0.25, track_every=2, name="of_table")
    return Composite([Group("embeddings", table), Group("dense", optimizer)], on_nonfinite="raise")


OPTIMIZERS = {
    "Adagrad": lambda: Adagrad(schedule(), 0.2, 1e-3, 0.75, clipping=Clippy(0.25, 0.0625), **SHARED),
    "Adam": lambda: Adam(0.125, 0.8, 0.99, 1e-4, clipping=AdaptiveGradient(0.5, 0.01), **SHARED),
    "SGD": lambda: SGD(0.125, 0.9, True, clipping=GradientNorm(0.5, accumulate="clipped"), **SHARED),
    "AdaX": lambda: AdaX(0.125, 0.8, 1e-3, 1e-6, clipping=TrustRatio(0.5, scope="row"), **SHARED),
    "ClippyAdagrad": lambda: ClippyAdagrad(
        0.25,
        0.25,
        0.0625,
        0.01,
        initial_accumulator=0.2,
        epsilon=1e-3,
        forget=0.75,
        delayed_accumulator=True,
        clip_accumulator_update=True,
        scope="row",
        **SHARED,
    ),
    "ClippyAdam": lambda: ClippyAdam(
        schedule(), 0.25, 0.0625, beta_1=0.8, beta_2=0.99, epsilon=1e-4, scope="element", **SHARED
    ),
    "Muon": lambda: on_dense(
        Muon(schedule(), 0.8, False, 0.8, 0.99, 1e-4, weight_decay=0.125, clipping=Clippy(0.25, 0.0625), **SHARED)
    ),
    "Composite": lambda: Composite(
        [Group("embeddings", Adagrad(0.25)), Group("kernel|bias", ClippyAdam(schedule(), weight_decay=0.01))],
        on_nonfinite="raise",
        averaging=Ema(3),
        name="mine",
    ),
}


HEIGHT, WIDTH = 9, 3


def make_variables(dtype="float32"):
    rng = np.random.default_rng(0)
    table = keras.Variable(rng.normal(size=(HEIGHT, WIDTH)), dtype=dtype, name="ids")
    table.is_embedding_table = True
    kernel = keras.Variable(rng.normal(size=(7, 5)), dtype=dtype, name="kernel")
    return [table, kernel, keras.Variable(np.zeros(5), dtype=dtype, name="bias")]


def gradients(step, dtype="float32", scale=1.0):
    """Four ids of the table, one of them twice, and two dense tensors; other values each step."""
    rng = np.random.default_rng(step)
    values = [rng.normal(size=shape) * scale for shape in [(4, WIDTH), (7, 5), (5,)]]
    rows, kernel, bias = (tf.constant(v, dtype) for v in values)
    ids = tf.constant([1, step % HEIGHT, 1, 8], tf.int64)
    return [tf.IndexedSlices(rows, ids, tf.constant([HEIGHT, WIDTH], tf.int64)), kernel, bias]


def spoil(gradients, place, bad):
    """The gradients with one element of the one at `place` replaced."""
    g = gradients[place]
    if isinstance(g, tf.IndexedSlices):
        gradients[place] = tf.IndexedSlices(tf.tensor_scatter_nd_update(g.values, [[2, 1]], [bad]), g.indices)
    else:
        gradients[place] = tf.tensor_scatter_nd_update(g, [[0] * g.shape.rank], [bad])
    return gradients
