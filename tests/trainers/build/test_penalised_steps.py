"""Each penalty trains the same on one device, 2 and 4 replicas, 2 workers, compiled by XLA and summed in parts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.build.penalised_steps import CASES
from tests.trainers.launch import ROOT, cluster, finish

pytestmark = pytest.mark.slow


def start(out: Path, devices: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.trainers.build.penalised_steps", str(out), devices]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("steps") / "alone.npz"
    finish(start(path, "alone"))
    return dict(np.load(path))


def assert_equal(found: dict[str, np.ndarray], alone: dict[str, np.ndarray], tolerance: float):
    for key, value in found.items():
        case, form, name = key.split("|")
        # XLA's `erfinv` in float32 rounds otherwise.
        bound = 1e-5 if form == "xla" else tolerance
        expected = alone[f"{case}|plain|{name}"]
        apart = np.linalg.norm(value - expected) / np.linalg.norm(expected)
        assert apart < bound, (key, apart)


def test_each_penalty_changes_the_training_but_not_the_first_loss(alone):
    for case in CASES.keys() - {"none"}:
        losses, plain = alone[f"{case}|plain|losses"], alone["none|plain|losses"]
        assert not np.allclose(losses[1:], plain[1:], rtol=1e-4), case
        if case != "noise":
            np.testing.assert_allclose(losses[0], plain[0], rtol=1e-12, err_msg=case)


def test_compiled_and_summed_in_parts(alone):
    assert len({key.split("|")[1] for key in alone}) == 3
    assert_equal(alone, alone, 1e-12)


@pytest.mark.parametrize("devices", ["2", "4"])
def test_on_replicas(devices, alone, tmp_path):
    finish(start(tmp_path / "run.npz", devices))
    found = dict(np.load(tmp_path / "run.npz"))
    assert {key.split("|")[0] for key in found} == {"fgm", "vat", "flooding", "weight_gradient"}
    assert_equal(found, alone, 1e-12)


def test_on_workers(alone, tmp_path):
    workers = [start(tmp_path / f"{i}.npz", "workers", each) for i, each in enumerate(cluster(2))]
    for worker in workers:
        finish(worker)
    for i in range(2):
        assert_equal(dict(np.load(tmp_path / f"{i}.npz")), alone, 1e-12)
