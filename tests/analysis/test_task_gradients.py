"""Cosines between the gradients of tasks."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import INPUTS, LABELS, WEIGHTS, build
from tfstable.analysis import TaskGradients

MMOE = {"bottom": {"kind": "mmoe", "units": (4,)}, "loss_weights": "famo"}


@pytest.mark.parametrize("keys", [{"tower_units": (4,), "wide": True}, MMOE])
def test_cosines_of_the_shared_dense_weights(keys):
    model = build(randomise=True, **keys)
    batch = INPUTS, LABELS, WEIGHTS
    found = TaskGradients(model)(*batch)
    stacks = ("bottom", "experts")
    shared = [v.value for v in model.trainable_variables if v.path.split("/")[1] in stacks and "gate" not in v.path]
    gradients = {}
    for task in LABELS:
        with tf.GradientTape() as tape:
            loss = model.task_losses(LABELS, model.logits(INPUTS), WEIGHTS)[task]
        gradients[task] = np.concatenate([np.ravel(g) for g in tape.gradient(loss, shared)]).astype(np.float64)
        norm = np.linalg.norm(gradients[task])
        np.testing.assert_allclose(found[task]["gradient_norm"], norm, rtol=1e-4)
    a, b = gradients["click"], gradients["time"]
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(found["click, time"]["gradient_cosine"], cosine, rtol=1e-3, atol=1e-5)
    assert found.keys() == {"click", "like", "time", "click, like", "click, time", "like, time"}


def test_a_task_without_labels_in_the_batch_has_a_cosine_of_zero():
    labels = LABELS | {"like": np.full(len(WEIGHTS), np.nan, np.float32)}
    found = TaskGradients(build(randomise=True))(INPUTS, labels, WEIGHTS)
    assert found["like"] == {"gradient_norm": 0.0}
    assert found["click, like"] == {"gradient_cosine": 0.0}
