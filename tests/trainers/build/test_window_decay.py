"""A rate that decays inside each window: its course, exactness when a run resumes, and agreement of replicas."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.build.decay import DECAY, train_eight_steps
from tests.trainers.runs import (
    ROWS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    load,
    start,
    weights,
)
from tfstable.data.window import windows
from tfstable.optimizers.schedule import window_decay
from tfstable.sources.simulate import simulate
from trainers.config.optimizer import OptimizerConfig
from trainers.training.loop import train_window


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


def test_the_factor_is_half_a_cosine_from_1_to_the_end():
    # (1 + cos(pi / 3)) / 2 = 3/4; 0.2 + 0.8 * 3/4 = 0.8.
    np.testing.assert_allclose(window_decay(np.array([0, 1 / 3, 1 / 2, 1]), 0.2), [1, 0.8, 0.6, 0.2])
    assert (window_decay(np.linspace(0, 1, 9), 1.0) == 1).all()


def test_a_share_above_1_is_refused():
    with pytest.raises(ValueError, match="window_end"):
        OptimizerConfig.model_validate({"dense": {"schedule": {"window_end": 1.5}}})


def test_each_step_moves_the_weights_by_its_share(log, tmp_path):
    # Plain SGD with rates so small, in float64, that the gradients of both runs are the same.
    tiny = ("trainer.precision=float64", "optimizer.embeddings.learning_rate=1e-7")
    moved = {}
    for name, decay in (("plain", ""), ("decayed", ", schedule: {window_end: 0.0}")):
        dense = f"optimizer.dense={{rule: sgd, clipping: null, learning_rate: 1.0e-7{decay}}}"
        run = begun(load(log, dense, *tiny), tmp_path / name)
        iterator = iter(run.state.feed(run.stream(windows(run.log.days, 2, 1)[:1]), 256))
        kernel, moved[name] = run.state.learner.model.bottom.layers[0].kernel, []
        for number in range(8):
            before = kernel.numpy()
            next(train_window(run.state.learner, iterator, np.array([number]), 8, lambda _: 1))
            moved[name].append(np.linalg.norm(kernel.numpy() - before))
    shares = np.divide(moved["decayed"], moved["plain"])
    np.testing.assert_allclose(shares, window_decay(np.arange(8) / 8, 0.0), rtol=1e-3)


def test_a_run_stopped_inside_a_window_goes_on_bitwise(log, tmp_path):
    start(log, tmp_path / "whole", *DECAY)
    options = (*DECAY, "trainer.checkpoint_minutes=1e-9")
    with pytest.raises(StoppedError):
        begun(load(log, *options), tmp_path / "run", StoppingReport).train()
    assert weights(tmp_path / "run")["position/step/.ATTRIBUTES/VARIABLE_VALUE"] > 0
    # However few steps a call takes from there on.
    start(log, tmp_path / "run", *options, "trainer.steps_per_call=2")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_recovery_lowers_what_the_window_has(log, tmp_path):
    learner = begun(load(log, *DECAY), tmp_path / "run").state.learner
    learner.set_rate_factor(0.5)
    expected = 0.5 * np.stack([window_decay(np.arange(4) / 8, end) for end in (0.25, 0.0)], axis=1)
    np.testing.assert_allclose(learner.rate_factors(np.arange(4), 8), expected, rtol=1e-6)


def test_replicas_agree(log, tmp_path):
    # Mirrored in a process of its own: a second MirroredStrategy of one process meets the first one's collectives.
    program = f"""
from pathlib import Path
from tests.trainers.build.decay import train_eight_steps
train_eight_steps(Path({str(log)!r}), Path({str(tmp_path / "two")!r}), "trainer.strategy=mirrored", "trainer.devices=2")
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    train_eight_steps(log, tmp_path / "one", "trainer.strategy=one_device")
    one, two = (dict(np.load(tmp_path / name / "state.npz")) for name in ("one", "two"))
    assert len(one.pop("rate_factor")) == 1
    first, second = two.pop("rate_factor")
    assert first == second
    for (path, ours), theirs in zip(one.items(), two.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1e-12, np.linalg.norm(ours)), err_msg=path)
