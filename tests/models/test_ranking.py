"""RankingModel against NumPy: the forward pass, and the loss with its gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import FEATURES, INPUTS, LABELS, NAN, ROWS, STATISTICS, TASKS, WEIGHTS, build, inputs
from tfstable.data.columns import RawColumn
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.optimizers import Adagrad
from tfstable.specs import (
    HashFeature,
)

# --- The forward pass.


def forward(model: RankingModel, activation, *, norm_input, norm_hidden, rezero, towers, wide) -> dict[str, np.ndarray]:
    """The logits in NumPy, from the model's weights by name."""
    w = {variable.path.split("/", 1)[1]: variable.numpy().astype(np.float64) for variable in model.variables}

    def rows(table, part, several):
        vectors = table[part + np.maximum(several, 0)] * (several >= 0)[..., None]
        return vectors.sum(axis=1) / np.maximum((several >= 0).sum(axis=1), 1)[:, None]

    def norm(x, name):
        deviation = np.sqrt(x.var(axis=1, keepdims=True) + 1e-3)  # Keras's epsilon.
        return (x - x.mean(axis=1, keepdims=True)) / deviation * w[f"{name}/gamma"] + w[f"{name}/beta"]

    def dense(x, name, number, inner=""):
        x = x @ w[f"{name}/{inner}dense_{number}/kernel"] + w[f"{name}/{inner}dense_{number}/bias"]
        return activation(norm(x, f"{name}/{inner}norm_{number}") if norm_hidden else x)

    # Tables of width 4: user, 11 rows, then tags, 4 rows.
    def sized(x):  # By the feature's own root mean square and a floor of 0.5.
        return x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 0.25) if norm_input == "features" else x

    several = {name: INPUTS[name].reshape(ROWS, -1) for name in ("user", "tags", "age_q")}
    four, three = w["embeddings/tables_4"], w["embeddings/tables_3"]
    parts = [rows(four, 0, several["user"]), rows(four, 11, several["tags"]), rows(three, 0, several["age_q"])]
    x = np.concatenate([*map(sized, parts), INPUTS["age"][:, None], INPUTS["hour"][:, None]], axis=1)
    x = norm(x, "input_norm") if norm_input == "layer" else x
    x = dense(x, "bottom", 0)
    inner = next((path.split("/")[2] for path in w if path.startswith("bottom/rezero_1/sequential")), None)
    x = (
        x + w["bottom/rezero_1/alpha"] * dense(x, "bottom/rezero_1", 1, f"{inner}/")
        if rezero
        else dense(x, "bottom", 1)
    )
    logits = {}
    for task in TASKS:
        h = dense(x, f"tower_{task}", 0) if towers else x
        logits[task] = (h @ w[f"output_{task}/kernel"] + w[f"output_{task}/bias"])[:, 0]
    if wide:  # Binary tasks alone: two logits a row.
        table = w["wide/tables_2"]
        sums = sum(rows(table, part, several[name]) for name, part in (("user", 0), ("tags", 11), ("age_q", 15)))
        logits["click"] = logits["click"] + sums[:, 0]
        logits["like"] = logits["like"] + sums[:, 1]
    return logits


def smelu(x):
    return np.where(x >= 0.5, x, np.where(x <= -0.5, 0, (x + 0.5) ** 2 / 2))  # beta = 0.5: (x + b)^2 / (4 b)


@pytest.mark.parametrize(
    "keys",
    [
        {"input_normalisation": "none"},
        {"input_normalisation": "layer"},
        {"activation": "tanh"},
        {"activation": "smelu", "beta": 0.5, "hidden_normalisation": True},
        {"rezero": True, "tower_units": (5,)},
        {"wide": True, "rezero": True, "hidden_normalisation": True, "tower_units": (5,)},
    ],
)
def test_the_forward_pass_against_numpy(keys):
    model = build(randomise=True, **keys)
    activations = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "smelu": smelu}
    expected = forward(
        model,
        activations[keys.get("activation", "relu")],
        norm_input=keys.get("input_normalisation", "features"),
        norm_hidden=keys.get("hidden_normalisation", False),
        rezero=keys.get("rezero", False),
        towers="tower_units" in keys,
        wide=keys.get("wide", False),
    )
    logits, predictions = model.logits(inputs()), model(inputs())
    for task in TASKS:
        np.testing.assert_allclose(logits[task], expected[task], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predictions["click"], 1 / (1 + np.exp(-expected["click"])), rtol=1e-4)
    np.testing.assert_allclose(predictions["time"], np.expm1(expected["time"]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [None, 2])
def test_crosses_multiply_with_the_first_input(rank):
    model = build(randomise=True, cross_depth=2, cross_rank=rank, input_normalisation="none")
    x = x0 = model.embed(inputs()).numpy().astype(np.float64)
    for layer in model.cross.layers:
        kernels = [variable.numpy() for variable in layer.variables if len(variable.shape) == 2]
        (bias,) = (variable.numpy() for variable in layer.variables if len(variable.shape) == 1)
        assert len(kernels) == (1 if rank is None else 2)
        x = x0 * (np.linalg.multi_dot([x, *kernels]) + bias) + x  # x_{l+1} = x_0 * (W x_l + b) + x_l
    np.testing.assert_allclose(model.interact(model.embed(inputs())), x, rtol=1e-4, atol=1e-5)


def test_rezero_starts_as_the_identity_on_layers_that_keep_their_width():
    deep, shallow = build(units=(8, 8, 8), rezero=True), build(units=(8,))
    deep.build()
    shallow.build()
    shallow.bottom.layers[0].set_weights(deep.bottom.layers[0].get_weights())
    x = tf.random.normal([5, 13])
    np.testing.assert_array_equal(deep.bottom(x), shallow.bottom(x))


def test_dropout_is_for_training_alone():
    model = build(dropout=0.5)
    x = inputs()
    np.testing.assert_array_equal(model.logits(x)["click"], model.logits(x, training=False)["click"])
    assert np.any(model.logits(x, training=True)["click"] != model.logits(x)["click"])


def test_a_model_without_units_is_linear_and_one_without_numbers_works():
    assert not [layer for layer in build(units=()).bottom.layers if layer.weights]
    features = {"user": FEATURES["user"]}
    model = RankingModel(features, TASKS, STATISTICS, units=(4,))
    assert model({"user": inputs()["user"]})["click"].shape == (ROWS,)
    numbers = RankingModel({"age": FEATURES["age"]}, TASKS, STATISTICS, units=(4,), wide=True)
    assert numbers({"age": inputs()["age"]})["click"].shape == (ROWS,)


@pytest.mark.parametrize("keys", [{}, {"wide": True, "rezero": True, "tower_units": (5,)}])
def test_the_first_predictions_are_the_base_rates(keys):
    model = build(**keys)
    model.build()
    for layer in model.outputs_of.values():
        layer.kernel.assign(tf.zeros_like(layer.kernel))
    predictions = model(inputs())
    np.testing.assert_allclose(predictions["click"], 0.3, rtol=1e-5)
    np.testing.assert_allclose(predictions["like"], 0.01, rtol=1e-5)
    np.testing.assert_allclose(predictions["time"], math.e**2 - 1, rtol=1e-5)  # The mean of log(1 + y) is 2.


# --- The loss.


def plain_losses(logits: dict) -> dict[str, float]:
    """Each task's loss in NumPy: the weighted sum over labelled examples, over all examples."""
    losses = {}
    for task, y in LABELS.items():
        z, known = logits[task].numpy().astype(np.float64), ~np.isnan(y)
        each = (z - np.log1p(y)) ** 2 if task == "time" else np.log1p(np.exp(z)) - y * z
        losses[task] = float(np.sum(each[known] * WEIGHTS[known]) / ROWS)
    return losses


def test_masks_example_weights_and_task_weights():
    model = build(randomise=True)
    logits = model.logits(inputs())
    labels = {name: tf.constant(value) for name, value in LABELS.items()}
    expected = plain_losses(logits)
    got = model.task_losses(labels, logits, tf.constant(WEIGHTS))
    assert {name: float(value) for name, value in got.items()} == pytest.approx(expected, rel=1e-5)
    total = model.compute_loss(y=labels, y_pred=logits, sample_weight=tf.constant(WEIGHTS))
    assert float(total) == pytest.approx(expected["click"] + 10 * expected["like"] + expected["time"], rel=1e-5)


def gradients(model, labels, weights=None) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=labels, y_pred=model.logits(inputs(), training=True), sample_weight=weights)
    found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return [tf.convert_to_tensor(gradient).numpy() for gradient in found]


def test_gradients_match_finite_differences_despite_masks():
    model = build(randomise=True, activation="tanh")
    labels = {name: tf.constant(value) for name, value in LABELS.items()}
    found = gradients(model, labels, tf.constant(WEIGHTS))
    rng, step = np.random.default_rng(0), 1e-2
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        direction = rng.normal(size=variable.shape)
        direction /= np.linalg.norm(direction)
        start, losses = variable.numpy(), []
        for sign in (1, -1):
            variable.assign(start + sign * step * direction)
            logits = model.logits(inputs())
            losses.append(float(model.compute_loss(y=labels, y_pred=logits, sample_weight=tf.constant(WEIGHTS))))
        variable.assign(start)
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(np.sum(gradient * direction), rel=0.02, abs=2e-3), variable.path


def test_a_batch_without_any_label_trains_nothing():
    model = build(randomise=True)
    for gradient in gradients(model, {name: tf.fill([ROWS], NAN) for name in TASKS}):
        assert not gradient.any()
    known = {name: tf.ones([ROWS]) for name in TASKS}
    for gradient in gradients(model, known, tf.zeros([ROWS])):
        assert not gradient.any()


def test_a_step_works_on_rows_and_never_on_tables():
    height = 54_321
    features = {
        "user": HashFeature(kind="hash", buckets=height - 1, dim=4),
        "item": HashFeature(kind="hash", buckets=height - 1, dim=4, table="user"),
    }
    tasks = {"click": TASKS["click"]}
    statistics = Statistics(columns=dict.fromkeys(features, RawColumn(dtype="int64")), base_rates={"click": 0.3})
    for policy in ("float32", "mixed_bfloat16"):
        model = RankingModel(features, tasks, statistics, units=(8,), wide=True, dtype=policy)
        model.build()
        optimizer = Adagrad()
        optimizer.build(model.trainable_variables)

        @tf.function
        def step(x, y, model=model, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss = model.compute_loss(y=y, y_pred=model.logits(x, training=True))
            variables = model.trainable_variables
            found = tape.gradient(loss, [variable.value for variable in variables])
            optimizer.apply_gradients(zip(found, variables, strict=True))
            return loss

        graph = step.get_concrete_function(
            {name: tf.TensorSpec([8], tf.int32) for name in features}, {"click": tf.TensorSpec([8])}
        ).graph
        graphs = [graph, *(f.graph for f in graph._functions.values() if hasattr(f, "graph"))]
        shapes = [out.shape for g in graphs for op in g.get_operations() for out in op.outputs]
        assert not [shape for shape in shapes if shape.rank and height in shape.as_list()]
