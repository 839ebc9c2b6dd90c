"""A trained run to start from."""

from pathlib import Path

import pytest

from tests.trainers.runs import DAYS, ROWS, load
from tfstable.sources.simulate import simulate
from trainers import Run

#: One feature has living ids, two are constant, so that their mean is all that they give; averages are kept, and two
#: tasks calibrated.
MODEL = (
    "model.rezero=true",
    "model.cross_depth=1",
    "model.wide=true",
    "model.tower_units=[8]",
    "optimizer.averaging={kind: ema, horizon_steps: 10}",
    "export.gate=null",
    "tasks.click.calibrate=true",
    "tasks.follow.calibrate=true",
    "features.video_id={kind: id, capacity: 80, dim: 4, expire_days: 30}",
)
CONSTANT = (
    "features.any={kind: hash, column: user_id, buckets: 1, dim: 4}",
    "features.three={kind: numeric, column: duration_s, clip: [3, 3.0001], standardise: false}",
)


@pytest.fixture(scope="package")
def log(tmp_path_factory) -> Path:
    """Five days."""
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="package")
def source(log, tmp_path_factory) -> Run:
    """A run over the first three days, with an exported version."""
    run = Run.open(load(log, *MODEL, *CONSTANT, f"data.until={DAYS[2]}"), tmp_path_factory.mktemp("runs") / "source")
    run.train()
    return run
