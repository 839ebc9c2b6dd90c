"""A log for workers to train on together."""

from pathlib import Path

import pytest

from tests.trainers.runs import CONFIG
from tfstable.sources.simulate import simulate


@pytest.fixture(scope="package")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("workers") / "log"
    simulate(path, days=4, rows_per_day=300, users=100, videos=30)
    (path.parent / "config.yaml").write_text(CONFIG.replace("path: unset", f"path: {path}"))
    return path
