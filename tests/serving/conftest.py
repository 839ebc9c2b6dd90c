"""A small run with an export of all signatures, for the clients that load it."""

from pathlib import Path

import pytest

from tests.serving.runs import start
from tfstable.sources.simulate import simulate


@pytest.fixture(scope="package")
def log(tmp_path_factory) -> Path:
    """Three days of 500 rows."""
    path = tmp_path_factory.mktemp("serving") / "log"
    simulate(path, days=3, rows_per_day=500, users=200, videos=100)
    return path


@pytest.fixture(scope="package")
def run(log, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("serving_runs") / "run"
    start(log, path)
    return path
