"""Shapes and arguments that layers refuse: broadcasting would give a number, and a wrong one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.gated import HISTORY, X
from tfstable.layers import CrossMixture, CrossTower, ReZero, ReZeroEncoder, ReZeroStack, insert


def called(layer, *inputs, **options):
    return lambda: layer(*inputs, **options)


def test_rezero_refuses_a_shape_that_is_known_only_when_it_is_called():
    class Mean(keras.layers.Layer):
        def call(self, x):
            return tf.reduce_mean(x, axis=1, keepdims=True)

        def compute_output_shape(self, shape):
            return shape  # Which is not true.

    with pytest.raises(ValueError, match=r"output of 'mean' must have shape \(3, 5, 8\), got \(3, 1, 8\)"):
        ReZero(Mean(name="mean"))(HISTORY)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            called(ReZero(keras.layers.Dense(1, name="one")), X),
            r"output of 'one' must have shape \(6, 8\), got \(6, 1\)",
        ),
        (lambda: keras.Sequential([keras.Input((8,)), ReZero(keras.layers.Dense(1))]), r"\(None, 8\), got \(None, 1\)"),
        (called(ReZero(keras.layers.GRU(8)), HISTORY), r"must have shape \(3, 5, 8\), got \(3, 8\)"),
        (called(ReZero(keras.layers.Flatten()), HISTORY), r"must have shape \(3, 5, 8\), got \(3, 40\)"),
        (called(ReZero(keras.layers.LSTM(8, return_sequences=True, return_state=True)), HISTORY), "one tensor, got 3"),
        (called(ReZero(keras.layers.Add()), [X, X]), "takes one tensor"),
        (called(ReZero(keras.layers.Dense(8)), X[:, :0]), "known width of at least 1"),
        (called(ReZeroStack(3), HISTORY), r"takes \(batch, width\).*got \(3, 5, 8\)"),
        (called(ReZeroStack(3), X[0]), r"takes \(batch, width\).*got \(8,\)"),
        (called(ReZeroStack(3), X[:, :0]), r"width of at least 1, got \(6, 0\)"),
        (
            called(ReZeroStack(3, lambda x: tf.reduce_max(x, 1, keepdims=True)), X),
            r"output of activation.*got \(6, 1\)",
        ),
        (called(ReZeroEncoder(2, 4), X), r"takes \(batch, length, width\).*got \(6, 8\)"),
        (
            called(ReZeroEncoder(2, 4), HISTORY, mask=np.ones((3, 1), bool)),
            r"mask must have shape \(3, 5\), got \(3, 1\)",
        ),
        (called(CrossTower(1), HISTORY), r"takes \(batch, width\)"),
        (called(CrossTower(1, 2, 2), X[:, :0]), "known width of at least 1"),
        (called(CrossMixture(2, 2), X[:1], X), r"x must have shape \(1, 8\), got \(6, 8\)"),
        (
            lambda: insert(keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)]), 0, keras.layers.Dense(1)),
            "shape",
        ),
    ],
)
def test_shapes_that_would_broadcast_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_stack_that_is_built_refuses_another_width():
    stack = ReZeroStack(3)
    stack(X)
    with pytest.raises(ValueError, match=r"the input must have shape \(None, 8\), got \(6, 1\)"):
        stack(X[:, :1])


# --- Domains.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ReZeroStack(0), "depth must be at least 1, got 0"),
        (lambda: ReZeroEncoder(0, 8), "heads and units must be at least 1"),
        (lambda: ReZeroEncoder(2, 8, dropout=1.0), r"dropout must be in \[0, 1\), got 1.0"),
        (lambda: ReZeroEncoder(3, 8)(HISTORY), "multiple of heads, got width 8, heads 3"),
        (lambda: ReZeroStack(3).insert(0, 1), "built stack"),
        (lambda: insert(keras.Sequential([keras.layers.Dense(2)]), 0, ReZeroStack(1)), "built model"),
    ],
)
def test_arguments_outside_their_domain_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
