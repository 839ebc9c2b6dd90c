"""A model with calibration maps: what they change, and what keeps them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.calibration import Knots
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.models.calibrated import calibrated
from tfstable.specs import BinaryTask, NumericFeature, RegressionTask

KNOTS = Knots(np.array([-1.0, 0.0, 0.5]), np.array([-2.0, 0.0, 2.0]))
X = {"x": tf.constant(np.linspace(-3, 3, 50), tf.float32)}


def model(calibrate=True):
    tasks = {
        "click": BinaryTask(kind="binary", calibrate=calibrate, negative_rate=0.5),
        "like": BinaryTask(kind="binary"),
        "time": RegressionTask(kind="regression", transform="log1p", calibrate=calibrate),
    }
    statistics = Statistics(
        columns={}, vocabularies={}, moments={"x": (0.0, 1.0)}, base_rates={"click": 0.3, "like": 0.1, "time": 1.0}
    )
    keras.utils.set_random_seed(0)
    made = RankingModel({"x": NumericFeature(kind="numeric")}, tasks, statistics, units=[8], activation="smelu")
    made.build()
    return made


@pytest.fixture(scope="module")
def fitted():
    made = model()
    for knots in made.calibration.values():
        knots.assign(KNOTS.packed())
    return made


def test_without_a_fit_predictions_keep_their_bits():
    ours, theirs = model()(X), model(calibrate=False)(X)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)


def test_the_map_follows_the_shift_to_the_population_and_losses_do_not_see_it(fitted):
    logits = {name: value.numpy() for name, value in fitted.logits(X).items()}
    predictions = fitted(X)
    np.testing.assert_allclose(predictions["click"], 1 / (1 + np.exp(-KNOTS(logits["click"] + np.log(0.5)))), 1e-5)
    np.testing.assert_allclose(predictions["time"], np.expm1(KNOTS(logits["time"])), 1e-5)
    np.testing.assert_allclose(predictions["like"], 1 / (1 + np.exp(-logits["like"])), 1e-5)
    y = {name: tf.ones(50) for name in logits}
    plain = model(calibrate=False)
    for name, loss in plain.task_losses(y, plain.logits(X)).items():
        np.testing.assert_array_equal(fitted.task_losses(y, fitted.logits(X))[name], loss)
    assert "calibration" not in str([variable.path for variable in fitted.weights])


def test_a_higher_logit_never_gives_a_lower_one_not_even_by_rounding():
    rng = np.random.default_rng(0)
    x = np.sort(rng.normal(0, 3, 30_000)).astype(np.float32)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        knots = Knots(np.sort(rng.normal(0, 2, 16)), np.cumsum(rng.exponential(0.1, 16)))
        y = calibrated(tf.constant(x), tf.constant(knots.packed(), tf.float32)).numpy()
        assert (np.diff(y) >= 0).all()
        np.testing.assert_allclose(y, knots(x), atol=2e-5)


def test_files_and_exports_hold_the_map_and_a_checkpoint_does_not(fitted, tmp_path):
    fitted.save(tmp_path / "model.keras")
    tf.saved_model.save(fitted, str(tmp_path / "saved"))
    fitted.export(str(tmp_path / "exported"))
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    exported = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"]
    for name, value in fitted(X).items():
        np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(X)[name], value)
        np.testing.assert_allclose(served(**X)[name], value, rtol=1e-6)
        np.testing.assert_allclose(exported(**X)[name], value, rtol=1e-6)
    tf.train.Checkpoint(model=model(calibrate=False)).write(str(tmp_path / "earlier"))
    tf.train.Checkpoint(model=fitted).read(str(tmp_path / "earlier")).assert_existing_objects_matched()
