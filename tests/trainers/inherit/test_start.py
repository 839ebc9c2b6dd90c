"""A run that starts from a trained one: what is known stays as it was, so predictions do."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.trainers import all_inputs
from tests.trainers.runs import DAYS, ROWS, load, weights
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers.config import Config
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.check import check_log, open_log
from trainers.training.first_window import fit_statistics
from trainers.training.inheritance import inherit
from trainers.training.init_config import inherited_statistics, with_init
from trainers.training.loop import MovingWindow

MODEL = ("model.rezero=true", "model.cross_depth=1", "model.wide=true", "model.tower_units=[8]", "export.gate=null")
EXACT = 1e-6


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="module")
def source(log, tmp_path_factory) -> Run:
    """A run over the first three days."""
    run = Run.open(load(log, *MODEL, f"data.until={DAYS[2]}"), tmp_path_factory.mktemp("runs") / "source")
    run.train()
    return run


def started(config: Config, run: Path) -> MovingWindow:
    """A run that has taken over what it can, before its first step."""
    config = with_init(config, run)
    log = open_log(config)
    columns = check_log(config, log)
    statistics = inherited_statistics(config, columns, fit_statistics(config, log, columns))
    directory = RunDirectory(run, config)
    directory.begin(statistics)
    report = Report(Console(quiet=True), list(config.tasks))
    parts = MovingWindow(config, log, statistics, directory, report)
    inherit(config, log, statistics, parts.state, directory, report)
    return parts


def difference(parts: MovingWindow, source: Run, tasks: dict[str, str]) -> float:
    """The largest difference of predictions on a day of the log; absolute up to 1, relative above."""
    ours, theirs = parts.state.predict(DAYS[3]), source.predict(DAYS[3])
    pairs = [(ours[name], theirs[old]) for name, old in tasks.items()]
    return max(float(np.max(np.abs(a - b) / np.maximum(1, np.abs(b)))) for a, b in pairs)


TASKS = {name: name for name in ("click", "follow", "watch_time")}
NEW = {
    "author_id": {"kind": "hash", "buckets": 100, "dim": 4},
    "user_country": {"kind": "vocabulary", "dim": 4},
    "video_age_days": {"kind": "numeric", "log1p": True},
    "author_followers": {"kind": "quantile", "buckets": 8, "dim": 4},
    "of_video": {"kind": "counter", "by": ["video_id"], "of": ["click"]},
}


@pytest.mark.parametrize(
    "change",
    [
        (),
        tuple(f"features.{name}={json.dumps(spec)}" for name, spec in NEW.items()),
        ("tasks.like={kind: binary}",),
        ("features.user_id.buckets=1500", "features.tags.buckets=100"),
        ("model.units=[16,16,16,16]",),
        ("model.cross_depth=3",),
        ("model.units=[32,32]",),
        ("optimizer.dense.learning_rate=0.01", "optimizer.embeddings.learning_rate=0.02", "trainer.batch_size=128"),
        ("features.user_id.rate=0.5", "optimizer.averaging={kind: swa}"),
    ],
    ids=["nothing", "features", "task", "rows", "deeper", "crosses", "wider", "rates", "stacks"],
)
def test_predictions_stay(log, source, change, tmp_path):
    config = load(log, *MODEL, f"init.from={source.path}", *change)
    parts = started(config, tmp_path / "run")
    assert difference(parts, source, TASKS) < EXACT
    (event,) = parts.run.events("initialised")
    assert max(event["differences"].values()) < EXACT
    assert all(part["exact"] for part in event["parts"])


def test_a_run_goes_on_to_the_same_bits(log, source, tmp_path):
    """With the optimizer's state a run of the same config trains what its source would have trained next."""
    whole = Run.open(load(log, *MODEL), tmp_path / "whole")
    whole.train()
    run = Run.open(load(log, *MODEL), tmp_path / "run", init_from=source.path)
    run.train()
    assert [record.window for record in run.windows()] == [(DAYS[2], DAYS[3]), (DAYS[3], DAYS[4])]
    ours, theirs = weights(run.path), weights(whole.path)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
