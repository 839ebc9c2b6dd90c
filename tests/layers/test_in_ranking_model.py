"""The layers in RankingModel, from the config alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.errors import InputError
from tfstable.inputs.statistics import Statistics
from tfstable.layers import CrossMixture, ReZero, SmeLU, carry_over
from tfstable.models import RankingModel
from tfstable.optimizers import Adagrad
from trainers import config as trainers_config

YAML = """
data: {path: log}
features:
  user: {kind: hash, buckets: 20, dim: 6}
  age: {kind: numeric}
tasks:
  click: {kind: binary}
  watch: {kind: regression}
"""
WIDTH = 7  # 6 of the embedding, 1 number


def _model(tmp_path, model_section):
    path = tmp_path / "config.yaml"
    path.write_text(YAML + f"model: {model_section}\n")
    config = trainers_config.load(path)
    columns = {"user": {"dtype": "int64"}, "age": {"dtype": "float32"}}
    statistics = Statistics.model_validate(
        {"columns": columns, "moments": {"age": [0.0, 1.0]}, "base_rates": {"click": 0.3, "watch": 0.0}}
    )
    model = RankingModel(config.features, config.tasks, statistics, **config.model.arguments)
    model.build()
    return model


def _batch(n=64, seed=0):
    rng = np.random.default_rng(seed)
    x = {"user": tf.constant(rng.integers(0, 20, n), tf.int32), "age": tf.constant(rng.normal(size=n), tf.float32)}
    y = {"click": tf.constant(rng.integers(0, 2, n), tf.float32), "watch": tf.constant(rng.normal(size=n), tf.float32)}
    return x, y


def _losses(model, steps, eagerly=False):
    x, y = _batch()
    model.compile(Adagrad(0.05), run_eagerly=eagerly)
    return model.fit(
        tf.data.Dataset.from_tensors((x, y)).repeat(), steps_per_epoch=1, epochs=steps, shuffle=False, verbose=0
    )


def test_a_bottom_of_32_rezero_smelu_layers_trains(tmp_path):
    keras.utils.set_random_seed(0)
    model = _model(tmp_path, f"{{units: {[16] * 32}, rezero: true, activation: smelu, beta: 0.5}}")
    gates = [layer for layer in model.bottom.layers if isinstance(layer, ReZero)]
    assert len(gates) == 31  # The first layer changes the width.
    assert sum(isinstance(layer, SmeLU) for gate in gates for layer in gate.layer.layers) == 31
    losses = _losses(model, 15, eagerly=True).history["loss"]  # Tracing 32 layers takes longer than a few steps.
    assert losses[-1] < 0.8 * losses[0]
    assert all(abs(float(gate.alpha)) > 1e-4 for gate in gates)


@pytest.mark.parametrize("cross", ["cross_rank: 2", "cross_rank: 2, cross_experts: 3", "cross_rank: null"])
def test_parallel_heads_read_the_bottom_beside_the_crosses(tmp_path, cross):
    model = _model(
        tmp_path, f"{{units: [5], cross_depth: 2, cross_arrangement: parallel, input_normalisation: layer, {cross}}}"
    )
    assert model.outputs_of["click"].kernel.shape == (5 + WIDTH, 1)
    assert isinstance(model.cross.layers[0], CrossMixture) == ("experts" in cross)
    x, _ = _batch()
    vector = model.embed(x)
    deep = model.bottom(model.deep_norm(vector))
    side_by_side = tf.concat([deep, model.input_norm(model.cross(vector))], axis=1)
    np.testing.assert_allclose(model.logits(x)["click"], model.outputs_of["click"](side_by_side)[:, 0], rtol=1e-5)
    again = RankingModel.from_config(model.get_config())
    again.build()
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.logits(x)["watch"], model.logits(x)["watch"])
    losses = _losses(model, 10).history["loss"]
    assert losses[-1] < losses[0]


def test_parallel_joins_each_task_of_a_bottom_that_returns_one_a_task(tmp_path):
    class TwoBottoms(RankingModel):
        def shared_bottom(self, x, training=None):
            shared = self.bottom(x, training=training)
            return {"click": shared, "watch": -shared}

    plain = _model(tmp_path, "{units: [5], cross_depth: 1, cross_arrangement: parallel}")
    model = TwoBottoms.from_config(plain.get_config())
    model.build()
    assert model.outputs_of["watch"].kernel.shape == (5 + WIDTH, 1)


def test_stacked_bottom_reads_the_crosses(tmp_path):
    model = _model(
        tmp_path, "{units: [5], cross_depth: 1, cross_rank: 2, cross_experts: 3, input_normalisation: layer}"
    )
    assert model.outputs_of["click"].kernel.shape == (5, 1)
    x, _ = _batch()
    expected = model.bottom(model.input_norm(model.cross(model.embed(x))))
    np.testing.assert_allclose(model.logits(x)["click"], model.outputs_of["click"](expected)[:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{cross_arrangement: parallel}", "model: cross_arrangement=parallel needs a cross_depth of at least 1"),
        ("{cross_depth: 1, cross_experts: 2}", "model: cross_experts=2 needs a cross_rank"),
        ("{cross_depth: 1, cross_arrangement: sideways}", "'stacked' or 'parallel'"),
    ],
)
def test_keys_that_do_not_fit_are_named(tmp_path, section, words):
    with pytest.raises(InputError, match=words):
        _model(tmp_path, section)


def test_a_trained_model_grows_deeper_and_predicts_the_same(tmp_path):
    trained = _model(tmp_path, "{units: [16, 16], cross_depth: 1, activation: smelu, rezero: true}")
    _losses(trained, 5)
    x, _ = _batch()
    deeper = RankingModel.from_config({**trained.get_config(), "units": [16] * 4})
    deeper.build()
    carry_over(trained, deeper, new=deeper.bottom.layers[-2:])
    for task, before in trained(x).items():
        np.testing.assert_array_equal(deeper(x)[task], before)
    _losses(deeper, 5)
    assert all(float(layer.alpha) != 0 for layer in deeper.bottom.layers[-2:])  # They learn.


def test_weights_that_do_not_correspond_are_not_carried_over(tmp_path):
    trained = _model(tmp_path, "{units: [16, 16], rezero: true}")
    deeper = _model(tmp_path, "{units: [16, 16, 16, 16], rezero: true}")
    with pytest.raises(ValueError, match="must match the"):
        carry_over(trained, deeper, new=deeper.bottom.layers[-1:])
    deeper.bottom.layers[-1].alpha.assign(0.5)
    with pytest.raises(ValueError, match="alpha = 0"):
        carry_over(trained, deeper, new=deeper.bottom.layers[-2:])
