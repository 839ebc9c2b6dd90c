"""Keras's own contract, on models that nobody built first: RankingModel, a subclass with every trap, and Committee."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import INPUTS, LABELS, TASKS, WEIGHTS
from tests.models.compiled import GRAPH, Own, fit, groups, make
from tfstable.models import Committee, RankingModel
from tfstable.optimizers import Adagrad
from tfstable.specs import RegressionTask
from trainers.build.steps import Steps

ROWS = len(WEIGHTS)
KNOWN = {name: np.nan_to_num(value) for name, value in LABELS.items()}


def long(*parameters):
    """A case of the long suite."""
    return pytest.param(*parameters, marks=pytest.mark.slow)


# The subclass has all that the others have, so it alone is in the short suite where a case takes seconds.
every_model = pytest.mark.parametrize("model_class", [RankingModel, Own, Committee])
mostly_own = pytest.mark.parametrize("model_class", [Own, long(RankingModel), long(Committee)])


def assert_same(one, other):
    for ours, theirs in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    for ours, theirs in zip(one.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def part(start, stop, by_name):
    return {name: value[start:stop].copy() for name, value in by_name.items()}


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


# --- Labels and weights.


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


@pytest.mark.parametrize(
    "cases",
    [
        "(RankingModel, groups)",
        long(
            "(Own, groups), (Own, keras.optimizers.SGD), (Own, keras.optimizers.Adam), (Committee, groups), "
            "(Committee, keras.optimizers.SGD), (RankingModel, keras.optimizers.Adagrad)"
        ),
    ],
)
def test_two_replicas_train_what_one_device_does(cases):
    # In a process of its own: a second MirroredStrategy of one process meets the first one's collectives.
    code = f"""
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
