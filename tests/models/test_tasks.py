"""Losses, predictions and starting logits of the task kinds, by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfstable.models import tasks
from tfstable.specs import BinaryTask, RegressionTask

BINARY = BinaryTask(kind="binary")
PLAIN = RegressionTask(kind="regression")
LOG = RegressionTask(kind="regression", transform="log1p")
NAN = float("nan")


def test_binary_loss_is_the_cross_entropy_in_nats():
    logits = [0.0, 2.0, 2.0, -3.0]
    labels = [1.0, 1.0, 0.0, NAN]
    p = 1 / (1 + math.exp(-2))
    expected = [math.log(2), -math.log(p), -math.log(1 - p), 0.0]
    np.testing.assert_allclose(tasks.loss(BINARY, tf.constant(logits), tf.constant(labels)), expected, rtol=1e-6)


def test_regression_loss_is_the_squared_error_after_the_transform():
    logits, labels = tf.constant([1.0, 3.0, 3.0]), tf.constant([3.0, math.e**2 - 1, NAN])
    np.testing.assert_allclose(tasks.loss(PLAIN, logits, labels), [4, (3 - math.e**2 + 1) ** 2, 0], rtol=1e-5)
    np.testing.assert_allclose(tasks.loss(LOG, logits, labels), [(1 - math.log(4)) ** 2, 1, 0], rtol=1e-5)


@pytest.mark.parametrize("task", [BINARY, PLAIN, LOG])
def test_a_masked_label_has_no_loss_and_no_gradient(task):
    logits = tf.Variable([0.3, 0.3])
    with tf.GradientTape() as tape:
        losses = tasks.loss(task, logits, tf.constant([1.0, NAN]))
    gradient = tape.gradient(losses, logits).numpy()
    assert losses.numpy()[1] == 0.0
    assert gradient[1] == 0.0
    assert np.isfinite(gradient[0])
    assert gradient[0] != 0.0


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_extreme_logits_have_finite_losses(logit):
    losses = tasks.loss(BINARY, tf.constant([logit, logit]), tf.constant([0.0, 1.0])).numpy()
    assert sorted(losses) == [0.0, 200.0]


def test_predictions_are_in_the_units_of_the_label():
    logits = tf.constant([0.0, math.log(4)])
    np.testing.assert_allclose(tasks.prediction(BINARY, logits), [0.5, 0.8], rtol=1e-6)
    np.testing.assert_allclose(tasks.prediction(PLAIN, logits), logits)
    np.testing.assert_allclose(tasks.prediction(LOG, logits), [0.0, 3.0], atol=1e-6)


@pytest.mark.parametrize(("task", "rate"), [(BINARY, 0.2), (BINARY, 0.001), (PLAIN, -3.5)])
def test_the_starting_logit_predicts_the_base_rate(task, rate):
    logit = tf.constant([tasks.initial_logit(task, rate)])
    np.testing.assert_allclose(tasks.prediction(task, logit), [rate], rtol=1e-5)


def test_a_label_that_never_varies_starts_at_a_finite_logit():
    assert tasks.initial_logit(BINARY, 0.0) == pytest.approx(math.log(1e-6), rel=1e-5)
    assert tasks.initial_logit(BINARY, 1.0) == pytest.approx(-math.log(1e-6), rel=1e-5)
    assert tasks.initial_logit(LOG, 1.5) == 1.5  # Its base rate is a mean of log(1 + y) already.
