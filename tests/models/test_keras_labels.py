"""Keras's contract on labels and weights: their types, their order, what is left out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import INPUTS, LABELS, TASKS, WEIGHTS
from tests.models.compiled import fit, make
from tests.models.contract import KNOWN, ROWS, assert_same, mostly_own, part

KINDS = {
    "int": lambda value: value.astype(np.int64),
    "bool": lambda value: value > 0,
    "float64": lambda value: value.astype(np.float64),
    "column": lambda value: value[:, None],
    "tensor": tf.constant,
}


@mostly_own
def test_labels_and_weights_of_any_kind_train_the_same(model_class):
    labels = {name: (value > 0).astype(np.float32) for name, value in KNOWN.items()}
    expected = make(model_class)
    history = fit(expected, y=labels)
    per_task = dict.fromkeys(TASKS, WEIGHTS[:, None])
    for kind, weights in zip(KINDS, [WEIGHTS, WEIGHTS[:, None], per_task, per_task, WEIGHTS], strict=True):
        model = make(model_class)
        weights = tf.constant(weights) if kind == "tensor" else weights
        x = {name: tf.constant(value) for name, value in INPUTS.items()} if kind == "tensor" else INPUTS
        assert fit(model, x, {name: KINDS[kind](value) for name, value in labels.items()}, weights) == history, kind
        assert_same(model, expected)


def test_weights_by_task_are_each_tasks_own():
    weights = {name: WEIGHTS * number for number, name in enumerate(TASKS)}
    model = make(compiled={"weighted_metrics": {"time": ["mae"]}})
    results = model.evaluate(INPUTS, LABELS, sample_weight=weights, return_dict=True, verbose=0)
    losses = [float(model.task_losses(LABELS, model.logits(INPUTS), w)[n]) for n, w in weights.items()]
    assert results["loss"] == pytest.approx(losses[0] + 10 * losses[1] + losses[2], rel=1e-5)
    known = ~np.isnan(LABELS["time"])
    errors = np.abs(LABELS["time"] - model(INPUTS)["time"])[known]
    assert results["time_mae"] == pytest.approx(np.average(errors, weights=WEIGHTS[known]), rel=1e-5)


class Parts(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return part(3 * i, 3 * i + 3, INPUTS), part(3 * i, 3 * i + 3, LABELS), WEIGHTS[3 * i : 3 * i + 3].copy()


@mostly_own
def test_arrays_datasets_and_generators_train_the_same(model_class):
    expected = make(model_class)
    fit(expected, batch_size=3)
    dataset = tf.data.Dataset.from_tensor_slices((INPUTS, LABELS, WEIGHTS)).batch(3)
    for data in (dataset, (Parts()[i] for i in range(2)), Parts()):
        model = make(model_class)
        fit(model, data, y=None, w=None, batch_size=None)
        assert_same(model, expected)


@pytest.mark.parametrize("labels", [KNOWN["click"], KNOWN["click"] > 0, {"click": KNOWN["click"]}])
def test_a_single_task_takes_its_labels_alone(labels):
    model = make(tasks={"click": TASKS["click"]}, compiled={"metrics": ["AUC", "accuracy"]})
    other = make(tasks={"click": TASKS["click"]}, compiled={"metrics": ["AUC", "accuracy"]})
    assert fit(model, y=labels) == fit(other, y={"click": KNOWN["click"]})
    if not isinstance(labels, dict):
        weights = np.where(KNOWN["click"] > 0, 3, 1).astype(np.float32)
        by_class = model.fit(INPUTS, labels, class_weight={0: 1.0, 1: 3.0}, shuffle=False, verbose=0).history
        assert by_class == fit(other, y={"click": KNOWN["click"]}, w=weights, batch_size=32)


@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        ({"click": KNOWN["click"]}, None, "y has nothing for task like, time; it has click"),
        ({"click": KNOWN["click"]}, {"click": WEIGHTS}, "y has nothing for task like, time"),
        (KNOWN, {"click": WEIGHTS, "like": WEIGHTS}, "sample_weight has nothing for task time; it has click, like"),
        (KNOWN["click"], None, r"y must be a dict with the labels of each task \(click, like, time\); got one array"),
        (None, None, "y must be a dict .* got None"),
        ({**KNOWN, "like": np.zeros((ROWS, 2))}, None, r"labels of task like must have the shape \(batch,\)"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, weights, message):
    with pytest.raises(ValueError, match=message) as error:
        fit(make(), y=labels, w=weights)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ValueError, match=message):
        fit(make(), validation_data=(INPUTS, labels, weights))


def test_labels_of_other_tasks_and_integer_numbers_do_no_harm():
    weights = dict.fromkeys(TASKS, WEIGHTS)
    x = {**INPUTS, "age": INPUTS["age"].astype(np.int64)}
    expected = fit(make(), {**INPUTS, "age": np.trunc(INPUTS["age"])}, w=weights)
    assert fit(make(), x, {**LABELS, "share": LABELS["click"]}, weights) == expected
    with pytest.raises(ValueError, match="no input for feature tags, age, age_q, hour; there is user"):
        make().predict({"user": INPUTS["user"]}, verbose=0)
