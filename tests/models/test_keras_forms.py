"""Keras's contract on a model in other forms: exported, compiled otherwise, in other precisions, on replicas."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import INPUTS
from tests.models.compiled import GRAPH, fit, make
from tests.models.contract import assert_same, long, mostly_own

# --- Exports.


@functools.cache  # What is loaded dies with its last reference, and its functions do not keep it.
def loaded(path):
    return tf.saved_model.load(path)


def saved_by_export(model, path):
    model.export(path, verbose=False)
    return loaded(path).serve


def saved_by_archive(model, path):
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", model.call, [model.input_signature()])
    archive.write_out(path, verbose=False)
    return loaded(path).serve


def saved_by_tensorflow(model, path):
    tf.saved_model.save(model, path)
    return lambda inputs: loaded(path).signatures["serving_default"](**inputs)


@mostly_own
@pytest.mark.parametrize("save", [saved_by_export, saved_by_archive, saved_by_tensorflow])
def test_exports_predict_the_same(save, model_class, tmp_path):
    model = make(model_class)
    if save is not saved_by_export:  # Which exports a model that was never called.
        fit(model)
    inputs = {name: tf.constant(value) for name, value in INPUTS.items()}
    served = save(model, str(tmp_path))(inputs)
    for name, value in model.predict(INPUTS, verbose=0).items():
        np.testing.assert_allclose(served[name], value, rtol=1e-5, atol=1e-6)


# --- Options of `compile`, precision.


@pytest.mark.parametrize("options", [{"loss": "mse"}, {"loss": {"click": "mse"}}, {"loss_weights": {"click": 2.0}}])
def test_losses_of_compile_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be None: the tasks define their losses"):
        make(compiled=options)


@mostly_own
@pytest.mark.parametrize(
    "options", [GRAPH | {"jit_compile": True}, long(GRAPH | {"steps_per_execution": 2}), long(GRAPH)]
)
def test_options_of_compile_change_nothing_but_speed(options, model_class):
    keys = {"dropout": 0.0}
    plain, other = make(model_class, **keys), make(model_class, compiled=options, **keys)  # The one runs eagerly.
    assert fit(other, batch_size=2)["loss"] == pytest.approx(fit(plain, batch_size=2)["loss"], rel=1e-4)
    for name, value in plain.predict(INPUTS, verbose=0).items():
        np.testing.assert_allclose(other.predict(INPUTS, verbose=0)[name], value, rtol=1e-3, atol=1e-4)


@mostly_own
@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16", "bfloat16"])
def test_precisions(policy, model_class, tmp_path):
    keys = {"dropout": 0.0, "wide": True, "cross_depth": 1}
    exact, model = make(model_class, **keys), make(model_class, dtype=policy, **keys)
    exact.build()
    model.set_weights(exact.get_weights())
    bound = 1e-5 if policy == "float64" else 0.05
    assert fit(model, epochs=2)["loss"] == pytest.approx(fit(exact, epochs=2)["loss"], rel=bound)
    dtype = "float64" if policy == "float64" else "float32"
    assert {value.dtype for value in model.predict(INPUTS, verbose=0).values()} == {np.dtype(dtype)}
    model.save(tmp_path / "model.keras")
    assert_same(model, keras.models.load_model(tmp_path / "model.keras"))


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_float16_is_refused(policy):
    with pytest.raises(ValueError, match=f"dtype must not be {policy}: .* take mixed_bfloat16"):
        make(dtype=policy)


# --- Replicas.


@pytest.mark.slow
@pytest.mark.parametrize(
    "cases",
    [
        "(RankingModel, groups), (partial(RankingModel, task_gradient_limit=0.2), groups)",
        long(
            "(Own, groups), (Own, keras.optimizers.SGD), (Own, keras.optimizers.Adam), (Committee, groups), "
            "(Committee, keras.optimizers.SGD), (RankingModel, keras.optimizers.Adagrad)"
        ),
    ],
)
def test_two_replicas_train_what_one_device_does(cases):
    # In a process of its own: a second MirroredStrategy of one process meets the first one's collectives.
    code = f"""
from functools import partial
import keras, tests.two_devices
from tests.models.compiled import Own, assert_two_replicas_train_what_one_device_does, groups
from tfstable.models import Committee, RankingModel
assert_two_replicas_train_what_one_device_does({cases})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("options", [{"steps_per_execution": 2}, {"jit_compile": True}])
def test_what_keras_cannot_do_on_replicas_is_refused(options):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope(), pytest.raises(ValueError, match="steps_per_execution must be 1 and jit_compile must not"):
        make(compiled=GRAPH | options)
