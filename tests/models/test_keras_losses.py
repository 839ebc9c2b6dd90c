"""Keras's contract on what is reported, on `training`, and on losses of stages and layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import INPUTS, LABELS, TASKS, WEIGHTS
from tests.models.compiled import GRAPH, Own, fit, make
from tests.models.contract import KNOWN, ROWS, every_model, long
from tfstable.models import RankingModel
from tfstable.specs import RegressionTask
from trainers.build.steps import Steps

# --- What is reported.


def functional(model) -> keras.Model:
    """Stock Keras's model of the same functions, whose outputs are logits of which nothing is masked."""
    inputs = {n: keras.Input(s.shape[1:], dtype=s.dtype, name=n) for n, s in model.input_signature().items()}
    tables = {}
    vectors = []
    for name in ("user", "tags", "age_q"):
        spec = model.embeddings.features[name]
        tables[name] = keras.layers.Embedding(spec.rows, spec.dim, name=f"of_{name}")
        vectors.append(tables[name](inputs[name]))
    vectors[1] = keras.ops.mean(vectors[1], axis=1)
    numbers = [keras.ops.expand_dims(inputs[name], 1) for name in ("age", "hour")]
    x = keras.layers.Concatenate()([*vectors, *numbers])
    x = keras.layers.LayerNormalization(name="input_norm")(x)
    x = keras.layers.Dense(8, activation="relu", name="bottom")(x)
    outputs = {name: keras.layers.Dense(1, name=name)(x) for name in TASKS}
    stock = keras.Model(inputs, outputs)
    for name, rows in model.embeddings.tables().items():
        tables[name].set_weights([rows])
    stock.get_layer("input_norm").set_weights(model.input_norm.get_weights())
    stock.get_layer("bottom").set_weights(model.bottom.get_weights())
    for name, layer in model.outputs_of.items():
        stock.get_layer(name).set_weights(layer.get_weights())
    return stock


@pytest.mark.parametrize(
    "weights", [long(None), long(WEIGHTS), {name: WEIGHTS * (1 + n) for n, name in enumerate(TASKS)}]
)
def test_stock_keras_gives_the_same_numbers(weights):
    x = {**INPUTS, "tags": np.abs(INPUTS["tags"])}  # No padding, which stock Keras would have to mask.
    tasks = {**TASKS, "time": RegressionTask(kind="regression", label="seconds")}
    labels = {name: value[:, None] for name, value in KNOWN.items()}
    keys = {"tasks": tasks, "compiled": {"metrics": {"time": ["mae"]}}, "input_normalisation": "layer"}
    ours = make(optimizer=lambda: keras.optimizers.SGD(0.01), **keys)
    ours.build()
    stock = functional(ours)
    logits = keras.losses.BinaryCrossentropy(from_logits=True)
    losses = {"click": logits, "like": logits, "time": "mse"}
    stock.compile("sgd", losses, loss_weights={"click": 1, "like": 10, "time": 1}, metrics={"time": ["mae"]})
    expected = fit(stock, x, labels, weights, epochs=3)
    got = fit(ours, x, labels, weights, epochs=3)
    assert set(got) == {"loss", "time_mae"}
    for key, values in got.items():
        assert values == pytest.approx(expected[key], rel=1e-4), key
    again = ours.evaluate(x, labels, sample_weight=weights, batch_size=5, return_dict=True, verbose=0)
    theirs = stock.evaluate(x, labels, sample_weight=weights, batch_size=5, return_dict=True, verbose=0)
    assert again["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


@every_model
def test_the_loss_is_the_mean_over_examples_once(model_class):
    model = make(model_class)
    losses = [model.evaluate(INPUTS, LABELS, sample_weight=WEIGHTS, batch_size=size, verbose=0) for size in (6, 5)]
    assert all(isinstance(loss, float) for loss in losses)
    if model_class is not Own:  # Whose activities are regularised by the batch.
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    expected = model.compute_loss(y=LABELS, y_pred=model.logits(INPUTS), sample_weight=WEIGHTS)
    assert losses[0] == pytest.approx(float(expected), rel=1e-5)


def test_a_skipped_batch_is_left_out_of_the_report():
    weights = np.float32([1, 2, np.inf, 1, 1, 1])
    keys = {"metrics": {"time": ["mse"]}, "weighted_metrics": {"time": ["mae"]}}
    bad, good = make(compiled=keys), make(compiled=keys)
    stop = keras.callbacks.TerminateOnNaN()
    history = fit(bad, w=weights, batch_size=2, callbacks=[stop])
    kept = [0, 1, 4, 5]
    x, y = ({n: v[kept] for n, v in by_name.items()} for by_name in (INPUTS, LABELS))
    assert fit(good, x, y, weights[kept], batch_size=2) == history
    assert not bad.stop_training
    assert bad.optimizer.skipped_steps == 1
    assert np.isnan(fit(bad, w=np.full(ROWS, np.inf, np.float32), callbacks=[stop])["loss"][0])
    assert bad.stop_training
    stock = make(optimizer=keras.optimizers.Adam)  # It skips nothing, so nothing is left out.
    assert np.isnan(fit(stock, w=weights, batch_size=2)["loss"][0])


def test_metrics_see_labelled_examples_alone():
    keys = {"metrics": {"click": ["AUC"], "time": ["mae"]}, "weighted_metrics": {"click": ["AUC"], "time": ["mae"]}}
    model = make(compiled=keys)
    got = model.evaluate(INPUTS, LABELS, sample_weight=WEIGHTS, batch_size=4, return_dict=True, verbose=0)
    predictions = model.predict(INPUTS, verbose=0)
    for task, metric in (("click", keras.metrics.AUC), ("time", keras.metrics.MeanAbsoluteError)):
        known = ~np.isnan(LABELS[task])
        for prefix, weights in (("", None), ("weighted_", WEIGHTS[known])):
            reference = metric()
            reference.update_state(LABELS[task][known][:, None], predictions[task][known][:, None], weights)
            name = f"{task}_{prefix}{'AUC' if task == 'click' else 'mae'}"
            assert got[name] == pytest.approx(float(reference.result()), rel=1e-5), name


# --- `training`, and losses of stages and layers.


@pytest.mark.parametrize("model_class", [long(RankingModel), Own])
def test_fit_and_the_trainer_do_the_same(model_class):
    one, other = make(model_class, compiled=GRAPH), make(model_class)
    keras.utils.set_random_seed(0)
    other.prepare()
    steps = Steps(tf.distribute.get_strategy(), other, other.optimizer)
    data = tf.data.Dataset.from_tensor_slices((INPUTS, LABELS, WEIGHTS)).batch(ROWS)
    losses = steps.train(iter(data.repeat(3)), tf.constant(3))[:, 0].numpy()
    assert fit(one, batch_size=ROWS, epochs=3)["loss"] == pytest.approx(losses, rel=1e-6)
    for ours, theirs in zip(one.variables, other.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=ours.path)
    if model_class is Own:
        assert np.abs(other.norm.moving_mean).max() > 0


def test_layers_of_a_stage_know_whether_it_trains():
    model = make(Own)
    assert np.any(model.logits(INPUTS, training=True)["click"] != model.logits(INPUTS, training=True)["click"])
    np.testing.assert_array_equal(model.logits(INPUTS)["click"], model.logits(INPUTS, training=False)["click"])
    before = model.norm.moving_mean.numpy()
    model.evaluate(INPUTS, LABELS, verbose=0)
    np.testing.assert_array_equal(model.norm.moving_mean, before)
    fit(model)
    assert np.any(model.norm.moving_mean.numpy() != before)


def test_losses_of_stages_and_layers_count_once():
    masked = {name: np.full(ROWS, np.nan, np.float32) for name in TASKS}
    model = make(Own, optimizer=lambda: keras.optimizers.SGD(0.0), dropout=0.0)
    for _ in range(2):  # Nothing grows from call to call.
        x = tf.constant(model.norm(RankingModel.interact(model, model.embed(INPUTS))))
        activity = model.extra(x).numpy()
        kernel = model.extra.kernel.numpy()
        expected = 0.1 * np.mean(x**2) + 0.01 * np.sum(activity**2) / ROWS + 0.01 * np.sum(kernel**2)
        assert model.evaluate(INPUTS, masked, batch_size=ROWS, verbose=0) == pytest.approx(expected, rel=1e-5)
        assert float(model.compute_loss(y=masked, y_pred=model.logits(INPUTS))) == pytest.approx(expected, rel=1e-5)
    copies = {name: np.concatenate([value, value]) for name, value in INPUTS.items()}
    twice = {name: np.concatenate([value, value]) for name, value in masked.items()}
    assert model.evaluate(copies, twice, batch_size=ROWS, verbose=0) == pytest.approx(expected, rel=1e-5)


class WithoutTraining(RankingModel):
    """Stages as they were written before they took `training`; Keras tells their layers all the same."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.drop = keras.layers.Dropout(0.5)

    def embed(self, features):
        return super().embed(features)

    def interact(self, x):
        return self.drop(super().interact(x))

    def wide_logits(self, features):
        return {"click": features["hour"]}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return super().compute_loss(x, y, y_pred, sample_weight)


def test_a_stage_may_leave_training_out():
    model = make(WithoutTraining)
    assert np.any(model.logits(INPUTS, training=True)["time"] != model.logits(INPUTS)["time"])
    assert np.isfinite(fit(model)["loss"][0])
    assert np.isfinite(model.evaluate(INPUTS, LABELS, verbose=0))


def test_the_forward_pass_itself_cannot_be_replaced():
    with pytest.raises(TypeError, match=r"Mine must not replace logits, .* replace a stage"):
        type("Mine", (RankingModel,), {"logits": lambda self, features, training=None: {}})
    with pytest.raises(TypeError, match="Mine must not replace logits, and its call must take as_logits"):
        type("Mine", (RankingModel,), {"call": lambda self, features, training=None: {}})
