"""RankingModel as a Keras model among others: precision, files, compile and fit, subclasses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_ranking import (
    FEATURES,
    INPUTS,
    LABELS,
    NAN,
    ROWS,
    STATISTICS,
    TASKS,
    WEIGHTS,
    build,
    inputs,
    plain_losses,
)
from tfstable.data.columns import RawColumn
from tfstable.models import RankingModel
from tfstable.optimizers import Adagrad
from tfstable.specs import HashFeature

# --- Precision and files.


def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32():
    exact = build(wide=True, cross_depth=1)
    mixed = build(wide=True, cross_depth=1, dtype="mixed_bfloat16")
    mixed.build()
    assert {variable.dtype for variable in mixed.variables} == {"float32"}
    assert mixed.embed(inputs()).dtype == tf.bfloat16
    assert mixed.bottom(mixed.interact(mixed.embed(inputs()))).dtype == tf.bfloat16
    mixed.set_weights(exact.get_weights())
    for name, value in mixed(inputs()).items():
        assert value.dtype == tf.float32
        np.testing.assert_allclose(value, exact(inputs())[name], rtol=0.1)
        assert np.any(value != exact(inputs())[name])


@pytest.mark.parametrize(
    "keys",
    [
        {"wide": True, "cross_depth": 1, "cross_rank": 3, "hidden_normalisation": True},
        {"rezero": True, "dropout": 0.1, "tower_units": (3,), "activation": "smelu", "beta": 0.3},
        {"dtype": "mixed_bfloat16", "name": "mine"},
    ],
)
def test_a_file_brings_the_model_back(keys, tmp_path):
    model = build(randomise=True, **keys)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert loaded.feature_specs == FEATURES
    assert loaded.task_specs == TASKS
    assert loaded.statistics == STATISTICS
    for name, value in model(inputs()).items():
        np.testing.assert_array_equal(loaded(inputs())[name], value)


# --- Plain compile, fit, evaluate, predict.


def dataset(batch: int = ROWS) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((INPUTS, LABELS, WEIGHTS)).batch(batch)


def test_evaluate_reports_the_loss_and_weighted_metrics_without_masked_labels():
    model = build(randomise=True)
    model.compile(
        optimizer=Adagrad(),
        weighted_metrics={"click": [keras.metrics.AUC(name="auc")], "time": [keras.metrics.MeanAbsoluteError("mae")]},
    )
    results = model.evaluate(dataset(), return_dict=True, verbose=0)
    losses = plain_losses(model.logits(inputs()))
    assert results["loss"] == pytest.approx(losses["click"] + 10 * losses["like"] + losses["time"], rel=1e-5)
    known = ~np.isnan(LABELS["time"])
    errors = np.abs(LABELS["time"] - model(inputs())["time"].numpy())[known]
    name = next(key for key in results if key.endswith("mae"))
    assert results[name] == pytest.approx(np.average(errors, weights=WEIGHTS[known]), rel=1e-5)
    expected = keras.metrics.AUC()
    known = ~np.isnan(LABELS["click"])
    expected.update_state(LABELS["click"][known], model(inputs())["click"].numpy()[known], WEIGHTS[known])
    name = next(key for key in results if key.endswith("auc"))
    assert results[name] == pytest.approx(float(expected.result()), rel=1e-6)


def test_fit_learns_and_predict_gives_a_dict():
    model = build()
    model.compile(optimizer=Adagrad(learning_rate=0.1), weighted_metrics={"click": ["accuracy"]})
    history = model.fit(dataset(batch=3), epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]
    predictions = model.predict(dataset(batch=4), verbose=0)
    assert {name: value.shape for name, value in predictions.items()} == dict.fromkeys(TASKS, (ROWS,))
    for name, value in model(inputs()).items():
        np.testing.assert_allclose(predictions[name], value, rtol=1e-5)


def test_fit_without_weights_and_with_keras_own_optimizer():
    model = build(wide=True)
    model.compile(optimizer="sgd")
    before = model.get_weights()
    model.fit(dataset().map(lambda x, y, w: (x, y)), verbose=0)
    assert all(np.isfinite(variable.numpy()).all() for variable in model.variables)
    assert np.any(model.get_weights()[0] != before[0])


# --- Subclasses.


@keras.saving.register_keras_serializable(package="tests")
class Mine(RankingModel):
    """Replaces every stage and takes an argument of its own."""

    def __init__(self, *args, scale: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = scale

    def embed(self, features, training=None):
        return self.scale * super().embed(features, training)

    def interact(self, x, training=None):
        return tf.concat([x, tf.square(x)], axis=1)

    def shared_bottom(self, x, training=None):
        x = self.bottom(x, training=training)
        return {task: x * (number + 1) for number, task in enumerate(self.task_specs)}

    def heads(self, shared, training=None):
        return {task: logit + 1.0 for task, logit in super().heads(shared, training).items()}

    def wide_logits(self, features, training=None):
        return {"click": features["hour"]}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 2.0 * super().compute_loss(x, y, y_pred, sample_weight, training)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def test_a_subclass_replaces_every_stage(tmp_path):
    model = build(Mine, scale=3.0, randomise=True)
    embedded = 3.0 * RankingModel.embed(model, inputs()).numpy()
    x = model.bottom(np.concatenate([embedded, embedded**2], axis=1)).numpy()
    for number, task in enumerate(TASKS):
        kernel, bias = model.outputs_of[task].get_weights()
        expected = (x * (number + 1)) @ kernel + bias + 1.0
        expected = expected[:, 0] + (INPUTS["hour"] if task == "click" else 0)
        np.testing.assert_allclose(model.logits(inputs())[task], expected, rtol=1e-4, atol=1e-4)
    labels = {name: tf.constant(value) for name, value in LABELS.items()}
    logits = model.logits(inputs())
    expected = 2 * float(RankingModel.compute_loss(model, y=labels, y_pred=logits))
    assert float(model.compute_loss(y=labels, y_pred=logits)) == pytest.approx(expected)
    model.compile(optimizer=Adagrad())
    results = model.evaluate(dataset().map(lambda x, y, w: (x, y)), return_dict=True, verbose=0)
    assert results["loss"] == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "mine.keras")
    loaded = keras.models.load_model(tmp_path / "mine.keras")
    assert (type(loaded), loaded.scale) == (Mine, 3.0)
    np.testing.assert_array_equal(loaded(inputs())["like"], model(inputs())["like"])


def test_losses_that_layers_add_count():
    class Penalty(keras.layers.Layer):  # Keras's own ActivityRegularization divides by the batch in some releases.
        def call(self, x):
            self.add_loss(tf.reduce_sum(tf.square(x)))
            return x

    class Penalised(RankingModel):
        def shared_bottom(self, x, training=None):
            return self.penalty(self.bottom(x, training=training))

        def build(self, input_shape=None):
            self.penalty = Penalty()
            super().build(input_shape)

    model = build(Penalised, randomise=True)
    labels = {name: tf.fill([ROWS], NAN) for name in TASKS}
    x = model.bottom(model.interact(model.embed(inputs()))).numpy()
    logits = model.logits(inputs())
    assert float(model.compute_loss(y=labels, y_pred=logits)) == pytest.approx(np.sum(x**2), rel=1e-4)


def test_activations_are_clipped_where_the_config_says_so():
    free = build(randomise=True, activation="relu", units=(8,))
    clipped = build(randomise=True, activation="relu", units=(8,), activation_clip=0.01)
    x = np.random.default_rng(0).normal(size=(6, free.bottom.input_shape[1])).astype(np.float32)
    clipped.set_weights(free.get_weights())
    assert free.bottom(x).numpy().max() > 0.01
    np.testing.assert_array_equal(clipped.bottom(x), np.minimum(free.bottom(x), np.float32(0.01)))


def test_a_feature_more_changes_nothing_where_its_weights_are_zero():
    model = build(randomise=True)
    more = RankingModel(
        {**FEATURES, "extra": HashFeature(kind="hash", buckets=20, dim=4)},
        TASKS,
        STATISTICS.model_copy(update={"columns": {**STATISTICS.columns, "extra": RawColumn(dtype="int64")}}),
        units=(8, 8),
    )
    more.build()
    for variable in more.variables:
        variable.assign(tf.random.normal(variable.shape))
    more.embeddings.assign_tables({**more.embeddings.tables(), **model.embeddings.tables()})
    kernel = model.bottom.layers[0].kernel.numpy()
    numbers = len(model.numeric)  # The extra feature's vector stands before the numbers.
    wider = np.concatenate([kernel[:-numbers], np.zeros([4, kernel.shape[1]]), kernel[-numbers:]])
    more.bottom.layers[0].set_weights([wider, model.bottom.layers[0].bias])
    more.bottom.layers[2].set_weights(model.bottom.layers[2].get_weights())
    for task in TASKS:
        more.outputs_of[task].set_weights(model.outputs_of[task].get_weights())
    expected, got = model(inputs()), more({**inputs(), "extra": tf.constant(INPUTS["user"])})
    for task in TASKS:
        np.testing.assert_allclose(got[task], expected[task], rtol=1e-5)


def test_the_size_of_a_few_numbers_reaches_the_bottom():
    features = {"age": FEATURES["age"]}
    model = RankingModel(features, TASKS, STATISTICS, units=(8,))
    small, large = (model.logits({"age": tf.constant([x])})["click"][0] for x in (0.5, 2.0))
    assert abs(small - large) > 1e-4  # Layer normalisation of one number leaves nothing of it.
