"""Tasks whose probability is a product of others': ESMM."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from tests.models.cases import FEATURES, LABELS, STATISTICS, inputs
from tfstable.models import Committee, RankingModel
from tfstable.models.tasks import prediction, with_products
from tfstable.specs import BinaryTask, RegressionTask, check_products, implicit_rates

TASKS = {
    "click": BinaryTask(kind="binary"),
    "after": BinaryTask(kind="binary", implicit=True),
    "buy": BinaryTask(kind="binary", product_of=["click", "after"]),
}
RATES = {"click": 0.3, "buy": 0.01}
BUY = {"click": LABELS["click"], "buy": np.float32([1, 0, 0, 1, 0, 0])}


def make(model_class=RankingModel, **keys) -> RankingModel:
    keras.utils.set_random_seed(0)
    statistics = STATISTICS.model_copy(update={"base_rates": RATES | implicit_rates(TASKS, RATES)})
    return model_class(FEATURES, TASKS, statistics, units=(8,), **keys)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_logit_of_a_product_is_exact_everywhere(dtype):
    a, b, c = np.float64([[-200, -20, 0, 3, 20, 200, 200], [1, -20, 0, -2, 25, 200, -200], [5, 5, 0, 1, 30, 90, 0]])
    tasks = {name: BinaryTask(kind="binary") for name in "abc"} | {"p": BinaryTask(kind="binary", product_of=[*"abc"])}
    logits = {name: tf.constant(value, dtype) for name, value in zip("abc", (a, b, c), strict=True)}
    with tf.GradientTape() as tape:
        tape.watch(logits["a"])
        found = with_products(tasks, logits)["p"]
    # 1/p - 1 = (1 + e^-a)(1 + e^-b)(1 + e^-c) - 1, as a sum without cancellation.
    terms = np.stack([a, b, c, a + b, a + c, b + c, a + b + c])
    expected = -np.logaddexp.reduce(-terms, axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "float32" else 1e-12)
    assert np.isfinite(tape.gradient(found, logits["a"])).all()


def test_a_product_predicts_the_product_for_the_whole_population():
    tasks = TASKS | {"click": BinaryTask(kind="binary", negative_rate=0.2)}
    tasks["buy"] = BinaryTask(kind="binary", product_of=["click", "after"], negative_rate=0.5)
    logits = with_products(tasks, {"click": tf.constant([0.3, -1.0]), "after": tf.constant([-2.0, 0.5])})
    of = {name: prediction(task, logits[name]).numpy() for name, task in tasks.items()}
    np.testing.assert_allclose(of["buy"], of["click"] * of["after"], rtol=1e-6)


@pytest.mark.parametrize("model_class", [RankingModel, pytest.param(Committee, marks=pytest.mark.slow)])
def test_a_model_learns_a_task_without_a_label(model_class, tmp_path):
    model = make(model_class, bottom={"kind": "ple", "experts": 1, "units": (4,)}, wide=True)
    found = model(inputs())
    assert found.keys() == TASKS.keys()
    assert model.towers.keys() == {"click", "after"} == set(model.wide_tasks)
    np.testing.assert_allclose(found["buy"], found["click"] * found["after"], rtol=1e-5)
    assert model.task_losses(BUY, model.logits(inputs())).keys() == BUY.keys()
    model.compile(optimizer=keras.optimizers.Adam(0.05), metrics={"buy": ["auc"]}, run_eagerly=True)
    losses = model.fit(inputs(), BUY, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    kernel = model.outputs_of["after"].kernel.numpy()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.outputs_of["after"].kernel, kernel)
    np.testing.assert_array_equal(again(inputs())["buy"], model(inputs())["buy"])


def test_the_base_rate_of_what_has_no_label_is_what_the_product_leaves():
    assert implicit_rates(TASKS, RATES) == {"after": pytest.approx(0.01 / 0.3)}
    tasks = TASKS | {"other": BinaryTask(kind="binary", implicit=True)}
    tasks["buy"] = BinaryTask(kind="binary", product_of=["click", "after", "other"])
    assert implicit_rates(tasks, RATES) == dict.fromkeys(("after", "other"), pytest.approx((0.01 / 0.3) ** 0.5))
    assert implicit_rates(TASKS, {"click": 0.1, "buy": 0.5}) == {"after": pytest.approx(0.95)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"buy": {"product_of": ["click", "none"]}}, "tasks.buy.product_of: there is no task none"),
        ({"buy": {"product_of": ["click", "buy"]}}, "tasks.buy.product_of: buy is the task itself"),
        (
            {"after": {"product_of": ["click", "buy"]}},
            "tasks.after.product_of: buy is itself a product; name tasks with heads of their own",
        ),
        ({"buy": {"product_of": ["click", "time"]}}, "tasks.buy.product_of: time is a regression"),
        ({"buy": {}}, "tasks.after: implicit, but no task's product_of names it"),
    ],
)
def test_products_that_make_no_sense_are_refused(change, message):
    tasks = TASKS | {"time": RegressionTask(kind="regression")}
    tasks |= {name: BinaryTask(kind="binary", **keys) for name, keys in change.items()}
    with pytest.raises(ValueError, match=message):
        check_products(tasks)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"product_of": ["click"]}, "product_of names two or more tasks, each once"),
        ({"implicit": True, "product_of": ["a", "b"]}, "an implicit task is no product"),
        ({"implicit": True, "negative_rate": 0.1}, "an implicit task has no label, so negative_rate says nothing"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        BinaryTask(kind="binary", **keys)
