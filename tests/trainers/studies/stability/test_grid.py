"""A small grid on a simulated log, as a whole: protocol, resume, table, pictures; and one run beside the trainer's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from tests.trainers.all_inputs import add_columns, overrides
from tfstable.data.log import DayLog
from tfstable.data.window import windows
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers import config as configs
from trainers.studies.stability.bench import Bench, Point
from trainers.studies.stability.config import StabilityConfig
from trainers.studies.stability.program import stability
from trainers.training.evaluation import evaluate

CONFIG = """
data: {path: unset}
features:
  user_id: {kind: hash, buckets: 200, dim: 4}
  video_id: {kind: hash, buckets: 100, dim: 4}
  category: {kind: vocabulary, dim: 4}
  duration_s: {kind: numeric, log1p: true}
tasks:
  click: {kind: binary}
  watch_time: {kind: regression, label: watch_time_s, transform: log1p}
model: {input_normalisation: layer}
optimizer: {embeddings: {initial_accumulator: 1.0e-4}}
trainer: {window_days: 1, batch_size: 256, steps_per_call: 5}
evaluation: {batch_size: 1024}
stability:
  models: {deep: {units: [32, 32, 32]}}
  treatments:
    none: [{}]
    gc: [{dense: {kind: gradient_norm, threshold: 1.0e-6}}, {dense: {kind: gradient_norm, threshold: 0.1}}]
  rates: [0.0001, 0.2]
  seeds: 2
  reported: [1, 50]
  most: 100
  sharpness_steps: 0
  detector: {horizon: 20, patience: 20}
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> DayLog:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=4, rows_per_day=3000, users=100, videos=50)
    add_columns(path)
    return DayLog(path, "error")


def load(log: DayLog, *keys: str) -> StabilityConfig:
    path = log.path.parent / "config.yaml"
    path.write_text(CONFIG)
    return configs.load(path, [f"data.path={log.path}", *keys], StabilityConfig)


@pytest.fixture(scope="module")
def out(log, tmp_path_factory) -> Path:
    """A finished grid."""
    path = tmp_path_factory.mktemp("grid")
    stability(load(log), log, path, Console(quiet=True))
    return path


@pytest.fixture(scope="module")
def table(out) -> dict:
    return json.loads((out / "stability.json").read_text())


def rows(table: dict, **wanted) -> list[dict]:
    return [row for row in table["rows"] if all(row[key] == value for key, value in wanted.items())]


def test_rate_and_thresholds_are_chosen_on_the_day_before_the_last(table):
    assert (table["chosen_on"], table["reported_on"]) == ("2025-01-03", "2025-01-04")
    assert table["rate"] == 0.2  # At 1e-4 nothing is learned.
    assert {row["chosen"] for row in rows(table, treatment="gc", multiple=1)} == {"threshold 0.1"}


def test_every_reported_cell_has_all_seeds_and_what_survives_is_doubled_until_it_breaks(table):
    for multiple in (1, 50):
        cells = rows(table, multiple=multiple)
        assert len(cells) == 2
        assert {row["seeds"] for row in cells} == {2}
    for row in rows(table, multiple=100):
        assert row["seeds"] == 1
        assert not rows(table, multiple=50, model=row["model"], treatment=row["treatment"])[0]["diverged"]
    broken = rows(table, treatment="none", multiple=50)[0]
    assert broken["diverged"] == 2  # A rate of 10.
    assert all(broken["reasons"])
    assert not rows(table, treatment="none", multiple=100)
    assert table["survived"]["deep"]["none"] != 50


def test_mean_and_spread_are_those_of_the_seeds(out, table):
    row = rows(table, treatment="gc", multiple=1)[0]
    runs = [json.loads(path.read_text()) for path in sorted((out / "runs").glob("deep-gc-0.2-*.json"))]
    aucs = [run["days"]["2025-01-04"]["click"]["auc"] for run in runs if run["threshold"] == 1]
    assert len(aucs) == 2
    assert row["tasks"]["click"]["mean"] == pytest.approx(np.mean(aucs))
    assert row["tasks"]["click"]["std"] == pytest.approx(np.std(aucs, ddof=1))
    assert row["tasks"]["click"]["mean"] > 0.5
    assert row["tasks"]["watch_time"]["metric"] == "rmse"


def test_a_second_start_trains_nothing_and_a_lost_record_alone_is_made_again(log, out):
    before = {path: path.read_bytes() for path in (out / "runs").iterdir()}
    (lost,) = (out / "runs").glob("deep-none-0.2-1-*.json")
    lost.unlink()
    said = Console(record=True, quiet=False, file=(out.parent / "said").open("w"), width=200)
    stability(load(log), log, out, said)
    assert [line.split(":")[0] for line in said.export_text().splitlines()][:-1] == ["deep, none, rate 0.2, seed 1"]
    after = {path: path.read_bytes() for path in (out / "runs").iterdir()}
    assert after.keys() == before.keys()
    same = json.loads(after[lost]) | {"seconds": 0}
    assert same == json.loads(before[lost]) | {"seconds": 0}  # As it was: the runs are reproducible.


def test_the_page_and_the_pictures_are_there(out):
    page = (out / "stability.md").read_text()
    assert "| deep | " in page
    assert "| none | 50x | - | 2 of 2 |" in page
    for number in (1, 4, 5, 6):
        assert (out / f"figure_{number}.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.rglob(".*"))


@pytest.mark.slow
def test_sharpness_of_a_run_that_diverges_is_measured_before_it_does(log, out, tmp_path):
    shutil.copytree(out / "runs", tmp_path / "runs")
    stability(load(log, "stability.sharpness_steps=3"), log, tmp_path, Console(quiet=True))
    assert (tmp_path / "sharpness.png").exists()
    with np.load(next((tmp_path / "watched").glob("deep-none-0.2-0-*.npz"))) as file:
        hessian, stable = file["sharpness|hessian"], file["sharpness|two_over_rate"]
    assert np.isfinite(hessian).sum() == 3
    np.testing.assert_allclose(stable[:3], 2 / 0.2)
    assert hessian[0] > stable[0]


@pytest.mark.parametrize(
    "keys",
    [
        ("optimizer.dense.forget=0.25", "optimizer.embeddings.forget=0.5"),
        pytest.param(
            ("optimizer.dense.schedule={window_end: 0.1}", "optimizer.averaging={kind: ema, horizon_steps: 4}"),
            marks=pytest.mark.slow,
        ),
        pytest.param(("optimizer.averaging={kind: swa}", "trainer.seed=3"), marks=pytest.mark.slow),
    ],
    ids=["forget", "decay-ema", "swa-seed"],
)
def test_a_run_of_the_grid_is_a_run_of_the_trainer(keys, log, tmp_path):
    config = load(log, "trainer.steps_per_call=5", *overrides(log.path, videos=100), *keys)
    run, last = Point("deep", "gc", 1, 0.2, 1), log.days[-1]
    bench = Bench(config, log)
    bench.train(Point("deep", "gc", 1, 0.1, 0), {last})  # Its variables and graphs serve the next one.
    trained = bench.train(run, {last})
    trainer_config = config.run_config("deep", config.stability.treatments["gc"][1], 0.2, 1)
    assert trainer_config.trainer.seed == config.trainer.seed + 1
    window = Run.open(trainer_config, tmp_path / "run").parts()
    state, theirs = window.state, []
    todo = [w for w in windows(log.days, 1, 1) if w.last < last]
    iterator = iter(state.reader.dataset(window.stream(todo), 256))
    for each in todo:
        total = window.plan(each).total
        state.renew_ids(each)
        rates = state.learner.rate_factors(np.arange(total), total)
        theirs.append(state.learner.steps.train(iterator, tf.constant(total), rates).numpy())
        state.learner.optimizer.end_window()
        state.position.window.assign(each.last.toordinal())
    np.testing.assert_array_equal(trained.losses, np.concatenate(theirs))
    assert trained.days[str(last)] == evaluate(trainer_config, log, last, state.predict(last))


@pytest.mark.slow
def test_a_run_of_the_grid_compiles_with_xla(log):
    run, last = Point("deep", "gc", 1, 0.2, 0), log.days[-1]
    # ReLU would amplify what XLA rounds otherwise.
    keys = [(f"trainer.xla={xla}", "model.activation=smelu") for xla in ("false", "true")]
    plain, compiled = (Bench(load(log, *each), log).train(run, {last}) for each in keys)
    assert np.any(compiled.losses != plain.losses)  # XLA rounds in its own way.
    np.testing.assert_allclose(compiled.losses, plain.losses, rtol=1e-3)


def test_deterministic_is_asked_of_tensorflow(log, monkeypatch):
    asked = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    Bench(load(log), log)
    assert not asked
    Bench(load(log, "trainer.deterministic=true"), log)
    assert asked


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stability.rate_treatment=agc", "rate_treatment: no treatment agc; the treatments are none, gc"),
        ("stability.models.deep={units: [0]}", r"model deep under none: units\.0"),
        ("stability.treatments.gc=[{dense: {kind: gradient_norm, treshold: 1}}]", "treshold: unknown key"),
        ("trainer.strategy=mirrored", "stability: trainer.strategy is not honoured.* leave it at one_device"),
        ("init={from: runs/a}", "stability: init is not honoured, every training of a grid starts with new weights"),
        ("trainer.devices=2", "stability: trainer.devices is not honoured"),
        ("recovery.rate_factor=1", "stability: recovery.rate_factor is not honoured"),
        ("tasks.click.calibrate={}", r"stability: tasks\.click\.calibrate is not honoured"),
        ("export.keep_versions=9", "stability: export.keep_versions is not honoured, a grid exports nothing"),
        ("trainer.checkpoint_minutes=1", "stability: trainer.checkpoint_minutes is not honoured"),
        ("divergence={jump: 3}", r"stability: divergence.jump is not honoured, stability.detector has the rules"),
        ("optimizer.dense.learning_rate=0.2", "dense.learning_rate is not honoured, stability.rates has the rates"),
        ("optimizer.embeddings.learning_rate=0.2", "embeddings.learning_rate is not honoured"),
        ("optimizer.dense.clipping=null", "dense.clipping is not honoured, stability.treatments has the clippings"),
        ("optimizer.embeddings.clipping={kind: clippy}", "embeddings.clipping is not honoured"),
        ("optimizer.dense.schedule.warmup_steps=5", "dense.schedule.warmup_steps is not honoured"),
        ("optimizer.embeddings.schedule.warmup_steps=5", "embeddings.schedule.warmup_steps is not honoured"),
        ("optimizer.dense.schedule={decay: cosine, decay_steps: 9}", "dense.schedule.decay is not honoured"),
    ],
)
def test_a_wrong_grid_is_one_line(log, override, message):
    with pytest.raises(InputError, match=message):
        load(log, override)


def test_a_log_of_too_few_days_is_one_line(log, tmp_path):
    with pytest.raises(InputError, match="a grid needs a window of 3"):
        stability(load(log, "trainer.window_days=3"), log, tmp_path, Console(quiet=True))
