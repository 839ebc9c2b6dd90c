"""The limit on each task's gradient: against NumPy, in models of every form, and with a task that breaks."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import LABELS, TASKS, WEIGHTS, build, inputs
from tfstable.models import Committee, RankingModel
from tfstable.models.task_limit import limited
from tfstable.specs import RegressionTask


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_against_numpy(dtype):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(6, 4)), dtype)
    factors = {"small": rng.normal(size=(6, 4)) * 1e-3, "large": rng.normal(size=(6, 4)) * 10, "none": np.zeros((6, 4))}
    factors = {name: tf.constant(factor, dtype) for name, factor in factors.items()}
    with tf.GradientTape() as tape:
        tape.watch(x)
        read = limited(x, factors, limit=0.5)
        loss = tf.add_n([tf.reduce_sum(read[name] * factors[name]) / 6 for name in factors])
    for value in read.values():
        np.testing.assert_array_equal(value, x)
    expected = 0.0
    for factor in factors.values():
        own = tf.cast(factor, tf.float64).numpy()  # The rows' own gradients: the loss is a mean over them.
        rms = np.sqrt(np.square(own).sum() / 6)
        expected += own / 6 * min(1, 0.5 / rms if rms else 1)
    tolerance = {"float32": 1e-5, "bfloat16": 2e-2, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(tf.cast(tape.gradient(loss, x), tf.float64), expected, rtol=tolerance, atol=tolerance)


def gradients(model, labels) -> dict[str, np.ndarray]:
    with tf.GradientTape() as tape:
        loss = model.compute_loss(None, labels, model.logits(inputs(), training=True), WEIGHTS)
    found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    names = [f"{v.path.split('/')[1]} {number}" for number, v in enumerate(model.trainable_variables)]
    return {name: tf.convert_to_tensor(gradient).numpy() for name, gradient in zip(names, found, strict=True)}


FORMS = {
    "shared": (RankingModel, {}),
    "parallel": (RankingModel, {"tower_units": (3,), "cross_depth": 1, "cross_arrangement": "parallel"}),
    "experts": (RankingModel, {"bottom": {"kind": "mmoe", "experts": 2, "units": (4,)}}),
    "committee": (Committee, {"members": 2}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_task_that_breaks_moves_the_shared_layers_no_more_than_the_limit(form, monkeypatch):
    model_class, keys = FORMS[form]
    tasks = {**TASKS, "time": RegressionTask(kind="regression", label="seconds")}
    monkeypatch.setattr("tests.models.cases.TASKS", tasks)
    noise = {**LABELS, "time": np.float32([1e4, -1e4, 1e4, 1e4, -1e4, -1e4])}
    plain = build(model_class, randomise=True, **keys)
    model = build(model_class, randomise=True, task_gradient_limit=0.1, **keys)
    model.set_weights(plain.get_weights())
    free, bound = gradients(plain, noise), gradients(model, noise)
    own = [path for path in free if "output_" in path or "tower_" in path]
    assert own
    for path in free:
        if path in own:  # The heads have their whole gradient.
            np.testing.assert_allclose(bound[path], free[path], rtol=1e-5, atol=1e-6)
        else:
            assert np.linalg.norm(bound[path]) < 5, path
    assert max(np.linalg.norm(free[path]) for path in free.keys() - own) > 1e3
    louder = gradients(model, {**noise, "time": 100 * noise["time"]})
    for path in free.keys() - own:
        np.testing.assert_allclose(louder[path], bound[path], rtol=0.01, atol=0.01, err_msg=path)


def test_without_effect_on_what_is_within_it_and_on_predictions():
    plain, model = build(randomise=True), build(randomise=True, task_gradient_limit=1e6)
    expected = gradients(plain, LABELS)
    for path, found in gradients(model, LABELS).items():
        np.testing.assert_allclose(found, expected[path], rtol=1e-5, atol=1e-6, err_msg=path)
    tight, slopes = build(randomise=True, task_gradient_limit=1e-6), []
    for each in (plain, tight):  # `explain` differentiates predictions.
        age = tf.constant(inputs()["age"])
        with tf.GradientTape() as tape:
            tape.watch(age)
            click = each({**inputs(), "age": age}, training=False)["click"]
        slopes.append(tape.gradient(click, age))
    np.testing.assert_array_equal(*slopes)
    assert np.abs(slopes[0]).max() > 0


def test_a_gradient_that_is_not_finite_stays_so():
    x = tf.ones([2, 3])
    for value in (np.nan, np.inf):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(limited(x, ["task"], 1.0)["task"] * tf.constant([1.0, 1.0, value]))
        assert not np.isfinite(tape.gradient(loss, x)).all()
