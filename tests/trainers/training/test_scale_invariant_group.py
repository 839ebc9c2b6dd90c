"""SGD with decay on scale-invariant layers: the group of the config, and what TensorBoard shows of it."""

import subprocess
import sys

import numpy as np
import pytest

from tests.trainers import launch
from tests.trainers.runs import DAYS, copy_days, is_model_weight, load, start, weights
from tests.trainers.training.test_run_outputs import scalars
from tfstable.errors import InputError

RULES = "{rule: sgd, learning_rate: 0.5, weight_decay: 0.02, momentum: 0.5}"
GROUPS = f"optimizer={{groups: {{embeddings: {{}}, scale_invariant: {RULES}, dense: {{learning_rate: 0.02}}}}}}"
KEYS = (GROUPS, "model.normalisation_epsilon=1e-9", "export.when=never")
NORMALISED = "model.hidden_normalisation=true"
FIGURES = {"weight_norm", "angular_step", "effective_rate", "lambda_e", "equilibrium_angular_step"}


def test_tensorboard_shows_how_layers_turn(log, tmp_path):
    three = copy_days(log, DAYS[:3], tmp_path / "log")
    start(three, tmp_path / "run", *KEYS, NORMALISED, "trainer.track_every=2", "trainer.tensorboard=true")
    written = scalars(tmp_path / "run")
    of_layer = {name: points for name, points in written.items() if name.endswith("bottom/dense_1")}
    assert {name.split("/")[0] for name in of_layer} == FIGURES | {"steps_to_equilibrium"}
    (turned,) = (points for name, points in of_layer.items() if name.startswith("angular_step/"))
    assert all(0 < angle < 0.5 for _, angle in turned)
    values = {name.split("/")[0]: points[-1][1] for name, points in of_layer.items()}
    assert values["lambda_e"] == pytest.approx(0.01)
    assert values["equilibrium_angular_step"] == pytest.approx((0.02 * 0.5 / 1.5) ** 0.5)
    assert values["steps_to_equilibrium"] == pytest.approx(50)
    assert values["effective_rate"] == pytest.approx(0.5 / values["weight_norm"] ** 2)


def test_the_group_needs_layers_that_a_normalisation_follows(log, tmp_path):
    with pytest.raises(InputError, match=r"^optimizer.groups.scale_invariant: no dense layer .*hidden_normalisation"):
        start(log, tmp_path / "run", *KEYS)


@pytest.mark.slow
def test_two_replicas_turn_as_one_and_watching_changes_no_bit(log, tmp_path):
    three = copy_days(log, DAYS[:3], tmp_path / "log")
    keys = (*KEYS, NORMALISED, "trainer.track_every=4", "trainer.tensorboard=true")
    start(three, tmp_path / "one", *keys)
    start(three, tmp_path / "plain", *KEYS, NORMALISED)
    ours, theirs = weights(tmp_path / "plain"), weights(tmp_path / "one")
    assert all(np.array_equal(v, theirs[name]) for name, v in ours.items() if is_model_weight(name))
    mirrored = (*keys, "trainer.strategy=mirrored", "trainer.devices=2")
    code = f"""import tests.two_devices
from pathlib import Path
from tests.trainers.runs import start
start(Path({str(three)!r}), Path({str(tmp_path / "two")!r}), *{mirrored!r})"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=launch.ROOT)
    assert_turn_alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_two_workers_write_tensorboard_and_turn_as_one_device(log, tmp_path):
    three = copy_days(log, DAYS[:3], tmp_path / "log")
    load(three)  # Writes the config beside the log.
    keys = (f"data.path={three}", *KEYS, NORMALISED, "trainer.track_every=4", "trainer.tensorboard=true")
    for worker in launch.start_workers(2, tmp_path / "config.yaml", tmp_path / "two", *keys):
        launch.finish(worker)
    start(three, tmp_path / "one", *keys[1:])
    assert_turn_alike(tmp_path / "one", tmp_path / "two")


def assert_turn_alike(run, other):
    one, two = turning(run), turning(other)
    assert one.keys() == two.keys()
    assert one
    for name, points in one.items():
        assert [step for step, _ in two[name]] == [step for step, _ in points]
        np.testing.assert_allclose([v for _, v in two[name]], [v for _, v in points], rtol=1e-3)


def turning(run):
    """The figures of the bottom's layers. A model's own name has a number, by its process."""
    return {
        (name.split("/")[0], name.split("/")[-1]): points
        for name, points in scalars(run).items()
        if name.split("/")[0] in FIGURES and name.split("/")[-1].startswith("dense_")
    }
