"""A run that starts from a trained one: what is known stays as it was, and so do predictions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.trainers.inherit.conftest import CONSTANT, MODEL
from tests.trainers.runs import DAYS, load, weights
from trainers import Run
from trainers.config import Config
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.check import check_log, open_log
from trainers.training.first_window import fit_statistics
from trainers.training.inheritance import inherit
from trainers.training.init_config import inherited_statistics, with_init
from trainers.training.loop import MovingWindow

EXACT = 1e-6
TASKS = {name: name for name in ("click", "follow", "watch_time")}
FEATURES = {
    "author_id": {"kind": "hash", "buckets": 100, "dim": 4},
    "user_country": {"kind": "vocabulary", "dim": 4},
    "video_age_days": {"kind": "numeric", "log1p": True},
    "author_followers": {"kind": "quantile", "buckets": 8, "dim": 4},
    "of_video": {"kind": "counter", "by": ["video_id"], "of": ["click"]},
}
ADDED = tuple(f"features.{name}={json.dumps(spec)}" for name, spec in FEATURES.items())
TASK = ("tasks.like={kind: binary}",)
ROWS = ("features.user_id.buckets=1500", "features.tags.buckets=100", "features.video_id.capacity=200")
ROWS += ("features.category={kind: vocabulary, dim: 4, grow: true}",)
RATES = (
    "optimizer.dense.learning_rate=0.01",
    "optimizer.dense.clipping={kind: clippy}",
    "optimizer.embeddings.learning_rate=0.02",
    "features.user_id.rate=0.5",
    "trainer.batch_size=128",
)
CROSSES, WIDER, DEEPER = ("model.cross_depth=3",), ("model.units=[32,32]",), ("model.units=[32,32,32,32]",)


def started(config: Config, run: Path) -> MovingWindow:
    """A run that has taken over what it can, before its first step."""
    config = with_init(config, run)
    log = open_log(config)
    columns = check_log(config, log)
    statistics = inherited_statistics(config, columns, fit_statistics(config, log, columns))
    directory, report = RunDirectory(run, config), Report(Console(quiet=True), list(config.tasks))
    directory.begin(statistics)
    parts = MovingWindow(config, log, statistics, directory, report)
    inherit(config, log, statistics, parts.state, directory, report)
    return parts


def difference(parts: MovingWindow, source: Run, tasks: dict[str, str]) -> float:
    """The largest difference of predictions for a day of the log; absolute up to 1, relative above."""
    ours, theirs = parts.state.predict(DAYS[3]), source.predict(DAYS[3])
    pairs = [(ours[name], theirs[old]) for name, old in tasks.items()]
    return max(float(np.max(np.abs(a - b) / np.maximum(1, np.abs(b)))) for a, b in pairs)


def assert_exact(parts: MovingWindow, source: Run) -> None:
    assert difference(parts, source, TASKS) < EXACT
    (event,) = parts.run.events("initialised")
    assert event["differences"].keys() == TASKS.keys()
    assert max(event["differences"].values()) < EXACT
    assert all(part["exact"] for part in event["parts"])


def test_predictions_stay_whatever_joins(log, source, tmp_path):
    change = (*ADDED, *TASK, *ROWS, *RATES, *CROSSES, *DEEPER)
    parts = started(load(log, *MODEL, *CONSTANT, f"init.from={source.path}", *change), tmp_path / "run")
    assert_exact(parts, source)
    like = parts.state.predict(DAYS[3])["like"]
    np.testing.assert_allclose(like, parts.statistics.base_rates["like"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        (),
        ADDED,
        TASK,
        ROWS,
        RATES,
        CROSSES,
        WIDER,
        ("model.units=[16,16,16,16]",),
        ("optimizer.averaging={kind: swa}",),
        ("optimizer.averaging=null", "optimizer.dense.rule=adam", "init.slots=false"),
    ],
)
def test_predictions_stay(log, source, change, tmp_path):
    assert_exact(started(load(log, *MODEL, *CONSTANT, f"init.from={source.path}", *change), tmp_path / "run"), source)


def test_what_is_gone_leaves_its_mean_and_names_may_change(log, tmp_path):
    """The features that go are constant: without cross layers, their mean is all that they gave."""
    plain = (*MODEL, "model.cross_depth=0", "trainer.steps=4", "features.video_id={kind: hash, buckets: 300, dim: 4}")
    source = Run.open(load(log, *plain, *CONSTANT, f"data.until={DAYS[1]}"), tmp_path / "source")
    source.train()
    config = load(log, *plain, f"init.from={source.path / 'export' / '1'}", "init.rename={follow: subscribe}")
    tasks = {"click": config.tasks["click"]}
    tasks["subscribe"] = config.tasks["follow"].model_copy(update={"label": "follow"})
    parts = started(config.model_copy(update={"tasks": tasks}), tmp_path / "run")
    assert difference(parts, source, {"click": "click", "subscribe": "follow"}) < EXACT
    (event,) = parts.run.events("initialised")
    assert {part["part"]: part["done"] for part in event["parts"] if part["done"] != "copied"} == {
        "feature any": "dropped",
        "feature three": "dropped",
        "task watch_time": "dropped",
    }
    assert event["optimizer"] == "the optimizer's state is made anew"


@pytest.mark.slow
def test_members_of_a_committee_stay_and_bear_the_mean(log, tmp_path):
    keys = (*MODEL, "model.cross_depth=0", "model.class=tfstable.models.Committee", "model.options={members: 2}")
    source = Run.open(load(log, *keys, *CONSTANT, f"data.until={DAYS[2]}"), tmp_path / "source")
    source.train()
    config = load(log, *keys, f"init.from={source.path}", *ADDED, *TASK, *DEEPER, "model.tower_units=[12]")
    assert difference(started(config, tmp_path / "run"), source, TASKS) < EXACT


def test_it_goes_on_to_the_same_bits_and_needs_its_source_once(log, source, tmp_path):
    """With the optimizer's state a run of the same config trains what its source would have trained next."""
    old = Path(shutil.copytree(source.path, tmp_path / "old"))
    keys = (*MODEL, *CONSTANT, "export.when=never")
    run = Run.open(load(log, *keys), tmp_path / "run", init_from=old)
    started(run.config, run.path).state.save_first()  # And is killed in its first window.
    Run.open(load(log, *keys), old).train()
    theirs, maps = weights(old), Run.of(old).parts().state.calibration.stored()
    shutil.rmtree(old)
    Run.open(load(log, *keys), run.path).train()  # Neither a flag nor the source.
    assert [record.window for record in run.windows()] == [(DAYS[2], DAYS[3]), (DAYS[3], DAYS[4])]
    ours = weights(run.path)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert Run.of(run.path).parts().state.calibration.stored() == maps
    assert len(maps["tasks"]["click"]["map"]["x"]) > 1


def test_check_shows_the_plan(log, source, run, tmp_path):
    load(log)  # Writes the config.
    keys = (*MODEL, *CONSTANT, f"data.path={log}", "tasks.like={kind: binary}", "features.tags.buckets=70")
    flags = [word for key in keys for word in ("--set", key)]
    flags += ["--init-from", source.path, "--rename", "category=kind"]
    flags += ["--set", "features.kind={kind: vocabulary, column: category, dim: 4}"]
    status, out, _ = run("check", "--config", log.parent / "config.yaml", *flags)
    assert status == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert ["task like", "made anew", "new: starts at its base rate"] in rows
    assert ["feature kind", "copied", "was category"] in rows
    assert ["feature category", "made anew", "new: starts at zero"] in rows
    assert any(row[:2] == ["feature tags", "made anew"] and row[2].startswith("buckets 50 -> 70") for row in rows)
    assert "largest difference of predictions from the source's, on 1,000 rows of the log: click 0." in out
