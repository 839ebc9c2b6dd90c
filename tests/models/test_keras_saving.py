"""Keras's contract on models that nobody built first: the first use, saving, callbacks."""

import functools

import keras
import numpy as np
import pytest

from tests.models.cases import INPUTS, LABELS, WEIGHTS
from tests.models.compiled import GRAPH, Own, fit, groups, make
from tests.models.contract import assert_same, long, mostly_own
from tfstable.optimizers import Adagrad

# --- Whatever is called first makes the variables, and what is saved goes on bit for bit.


FIRST = {
    "fit": fit,
    "evaluate": lambda model: model.evaluate(INPUTS, LABELS, verbose=0),
    "predict": lambda model: model.predict(INPUTS, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(INPUTS, LABELS),
    "test_on_batch": lambda model: model.test_on_batch(INPUTS, LABELS),
    "predict_on_batch": lambda model: model.predict_on_batch(INPUTS),
    "call": lambda model: model(INPUTS),
    "logits": lambda model: model.logits(INPUTS),
    "get_weights": lambda model: model.get_weights(),
    "summary": lambda model: model.summary(print_fn=lambda _: None),
}


@pytest.mark.parametrize("first", ["fit", "predict", "logits", *map(long, FIRST)])
def test_the_first_use_makes_all_variables(first):
    model, built = make(Own), make(Own)
    built.build()
    FIRST[first](model)
    assert model.built
    paths = [[variable.path.partition("/")[2] for variable in each.variables] for each in (model, built)]
    assert paths[0] == paths[1]


def test_a_new_model_can_be_saved_and_cloned(tmp_path):
    model = make(Own)
    model.save(tmp_path / "model.keras")
    assert_same(model, keras.models.load_model(tmp_path / "model.keras"))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(INPUTS, verbose=0)["time"], model.predict(INPUTS, verbose=0)["time"])


def test_any_saving_function_saves_a_new_model_whole(tmp_path):
    model = make()
    keras.saving.save_model(model, tmp_path / "model.keras")
    assert_same(model, keras.models.load_model(tmp_path / "model.keras"))


@mostly_own
@pytest.mark.parametrize("optimizer", [groups, long(keras.optimizers.Adam)])
def test_what_is_saved_goes_on_bit_for_bit(model_class, optimizer, tmp_path):
    def make_one(seed=0):
        metrics = {"metrics": {"click": ["accuracy"]}, "weighted_metrics": {"time": [keras.metrics.MeanSquaredError()]}}
        return make(model_class, optimizer, seed, compiled=GRAPH | metrics, dropout=0.3)

    one = make_one()
    fit(one, epochs=2)
    one.save(tmp_path / "model.keras")
    one.save_weights(tmp_path / "model.weights.h5")
    other = make_one(seed=1)
    other.load_weights(tmp_path / "model.weights.h5")
    models = [one, keras.models.load_model(tmp_path / "model.keras"), other]
    for model in models[1:]:
        assert_same(one, model)
        for name, value in one.predict(INPUTS, verbose=0).items():
            np.testing.assert_array_equal(model.predict(INPUTS, verbose=0)[name], value)
    histories = [fit(model, epochs=2) for model in models]
    assert histories[0] == histories[1] == histories[2]
    assert_same(one, models[1])
    assert_same(one, models[2])


# --- Callbacks.


@mostly_own
def test_checkpoints_and_a_training_that_was_cut_off(model_class, tmp_path):
    def cut_off(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    make_one = functools.partial(make, model_class, groups)
    whole, cut, again = make_one(), make_one(), make_one(seed=1)
    fit(whole, epochs=3, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")])
    assert_same(whole, keras.models.load_model(tmp_path / "3.keras"))
    third = keras.callbacks.LambdaCallback(on_epoch_begin=cut_off)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, epochs=3, callbacks=[backup(), third])
    fit(again, epochs=3, callbacks=[backup()])
    assert_same(whole, again)


def test_stopping_early_brings_the_best_weights_back():
    model = make(Own)
    stop = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=1, restore_best_weights=True)
    fit(model, epochs=4, callbacks=[stop])
    first = make(Own)
    fit(first)
    assert stop.stopped_epoch
    for ours, theirs in zip(model.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("optimizer", [groups, long(Adagrad), long(keras.optimizers.Adam)])
def test_callbacks_lower_the_rate(optimizer):
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    model = make(optimizer=optimizer)
    before = float(model.optimizer.learning_rate)
    fit(model, epochs=2, callbacks=[schedule])
    rates = [each.learning_rate for each in getattr(model.optimizer, "optimizers", [model.optimizer])]
    assert [float(rate) for rate in rates] == pytest.approx([before / 4] * len(rates))
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=100, factor=0.5)
    fit(model, epochs=2, callbacks=[plateau])
    assert float(model.optimizer.learning_rate) == pytest.approx(before / 8)


@pytest.mark.slow
def test_logs_and_averages_of_weights(tmp_path):
    model = make(optimizer=lambda: keras.optimizers.Adam(use_ema=True, ema_momentum=0.5))
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path, histogram_freq=1),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.SwapEMAWeights(),
    ]
    history = fit(model, epochs=2, callbacks=callbacks, validation_data=(INPUTS, LABELS, WEIGHTS))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert np.isfinite(history["val_loss"]).all()
    with pytest.raises(ValueError, match="use_ema=True"):
        fit(make(), callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)])
