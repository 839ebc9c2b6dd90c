"""The penalty on logits: against NumPy, in training alone, and not in what is reported."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import LABELS, TASKS, WEIGHTS, build, inputs
from tfstable.models.targets import Rows
from tfstable.optimizers import SGD
from trainers.build.steps import Steps


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_adds_the_mean_square_of_each_binary_task_s_labelled_logits(weights):
    model = build(randomise=True, logit_penalty=0.25)
    logits = model.logits(inputs(), training=True)
    expected = 0.0
    for name in ("click", "like"):
        known = np.isfinite(LABELS[name]) * (1.0 if weights is None else weights)
        expected += np.mean(known * np.square(logits[name].numpy()))
    trained, reported = (model.compute_loss(None, LABELS, logits, weights, training=t) for t in (True, False))
    assert expected > 0
    assert float(trained - reported) == pytest.approx(0.25 * expected, rel=1e-4)
    plain = sum(TASKS[name].weight * loss for name, loss in model.task_losses(LABELS, logits, weights).items())
    np.testing.assert_array_equal(reported, plain)


def test_a_step_s_gradients_have_it_and_its_losses_do_not():
    plain, penalised = (build(logit_penalty=penalty) for penalty in (0.0, 0.25))
    found = []
    for model in (plain, penalised):
        model.build()
        model.set_weights(plain.get_weights())
        steps = Steps(tf.distribute.get_strategy(), model, SGD(0.1))
        found.append(steps._gradients(inputs(), LABELS, tf.constant(WEIGHTS), Rows(0, len(WEIGHTS)), tf.constant(0)))
    (gradients, losses, _), (others, same, _) = found
    np.testing.assert_array_equal(losses, same)
    places = {v.path.split("/", 1)[1]: i for i, v in enumerate(plain.trainable_variables)}
    assert np.any(gradients[places["output_like/bias"]] != others[places["output_like/bias"]])
    np.testing.assert_array_equal(gradients[places["output_time/bias"]], others[places["output_time/bias"]])
    # Its gradient by the output's bias, in a fresh model: 2 * 0.25 * the mean of w x over labelled rows.
    logit = plain.logits(inputs(), training=True)["like"].numpy()
    expected = 0.5 * np.mean(np.isfinite(LABELS["like"]) * WEIGHTS * logit)
    moved = others[places["output_like/bias"]] - gradients[places["output_like/bias"]]
    np.testing.assert_allclose(moved, [expected], rtol=1e-4)
