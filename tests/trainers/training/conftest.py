"""A run over five simulated days, for what compares another run with it."""

from pathlib import Path

import pytest

from tests.trainers.runs import ROWS, start
from tfstable.sources.simulate import simulate


@pytest.fixture(scope="package")
def log(tmp_path_factory) -> Path:
    """Five days."""
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="package")
def whole(log, tmp_path_factory) -> Path:
    """An uninterrupted run over the five days."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    start(log, path, "trainer.tensorboard=true")
    return path
