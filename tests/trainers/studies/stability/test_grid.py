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
  most: 200
  choosing_days: 1
  poison: {step: 12}
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


def cell(row: dict, multiple: float) -> dict:
    return next(cell for cell in row["cells"] if cell["multiple"] == multiple)


def test_rate_and_thresholds_are_chosen_on_the_day_before_the_last(table):
    assert (table["chosen_on"], table["reported_on"]) == (["2025-01-03"], "2025-01-04")
    assert table["rate"] == 0.2  # At 1e-4 nothing is learned.
    assert [row["best"] for row in rows(table, treatment="gc")] == [False, True]
    assert [row["chosen"] for row in rows(table, treatment="gc")] == ["threshold 1e-06", "threshold 0.1"]


def test_every_threshold_has_all_seeds_at_the_reported_multiples_and_a_break_per_seed(table):
    assert table["multiples"] == [1, 50, 100, 200]
    for row in table["rows"]:
        for multiple in (1, 50):
            assert [result["seed"] for result in cell(row, multiple)["results"]] == [0, 1]
        for seed, last in enumerate(row["last"]):
            trained = {c["multiple"]: r for c in row["cells"] for r in c["results"] if r["seed"] == seed}
            survived = [m for m in trained if not trained[m]["reasons"]]
            assert last == (max(survived) if 1 in survived else None)
            beyond = [m for m in table["multiples"] if m > (last or 0)]
            if beyond and last:  # Bisection has seen it break at the next multiple.
                assert trained[beyond[0]]["reasons"]
        for c in row["cells"]:
            assert c["survived"] == sum(c["multiple"] <= (last or 0) for last in row["last"])
            assert c["share"][0] <= c["survived"] / 2 <= c["share"][1]
    (untreated,) = rows(table, treatment="none")
    assert all(result["reasons"] for result in cell(untreated, 50)["results"])  # A rate of 10.
    assert not cell(untreated, 100)["results"]


def test_a_bad_batch_costs_steps_and_each_seed_has_its_healthy_twin(out, table):
    for row in table["rows"]:
        assert len(row["poisoned"]["steps"]) == len(row["poisoned"]["auc_lost"]) == 2
    (name,) = (path.name for path in (out / "poisoned").glob("deep-gc-0.2-0-*.json") if threshold(path) == 1)
    (twin,) = (path for path in (out / "runs").glob("deep-gc-0.2-0-*.json") if threshold(path) == 1)
    with np.load((out / "poisoned" / name).with_suffix(".npz")) as bad, np.load(twin.with_suffix(".npz")) as good:
        np.testing.assert_array_equal(bad["losses"][:12], good["losses"][:12])
        assert bad["losses"][12, 0] > 500 * good["losses"][12, 0]
        assert np.all(bad["losses"][13:20] != good["losses"][13:20])


def threshold(path: Path) -> int:
    return json.loads(path.read_text())["threshold"]


def test_a_step_of_each_best_threshold_has_a_cost(table):
    costs = {row["treatment"]: row["cost"] for row in table["rows"] if row["best"]}
    assert costs["none"] == 1
    assert costs["gc"] > 0
    assert all(row["cost"] is None for row in table["rows"] if not row["best"])


def test_mean_and_spread_are_those_of_the_seeds(out, table):
    row = next(row for row in rows(table, treatment="gc") if row["best"])
    runs = [json.loads(path.read_text()) for path in sorted((out / "runs").glob("deep-gc-0.2-*.json"))]
    aucs = [run["days"]["2025-01-04"]["click"]["auc"] for run in runs if run["threshold"] == 1]
    assert len(aucs) == 2
    click = cell(row, 1)["tasks"]["click"]
    assert click["mean"] == pytest.approx(np.mean(aucs))
    assert click["std"] == pytest.approx(np.std(aucs, ddof=1))
    assert click["mean"] > 0.5
    assert cell(row, 1)["tasks"]["watch_time"]["metric"] == "rmse"


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
    assert "### deep" in page
    assert "| none | - | 50x | 0 of 2 | 0.00 to 0.66 | 2 |" in page
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
    expected = evaluate(trainer_config, log, last, state.predict(last), detailed=False)
    assert trained.days[str(last)] == expected


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
        ("stability.treatments.gc=[{rule: {learning_rate: 1}}]", "learning_rate does not belong here"),
        (
            "stability.treatments.gc=[{rule: {momentum: 0.9}}]",
            "under gc: .*rule adagrad has no key momentum",
        ),
        ("stability.reported=[2, 1]", "reported: must ascend, got 2, 1"),
        ("stability.pictured=[lamb]", "pictured: no treatment lamb"),
    ],
)
def test_a_wrong_grid_is_one_line(log, override, message):
    with pytest.raises(InputError, match=message):
        load(log, override)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("trainer.window_days=3", "a grid needs a window of 3"),
        ("stability.choosing_days=3", "a window of 1, 3 to choose on and one to report"),
        ("stability.poison.step=40", "stability.poison.step must be below 36, the steps of a run; got 40"),
    ],
)
def test_a_log_that_is_too_short_is_one_line(key, message, log, tmp_path):
    with pytest.raises(InputError, match=message):
        stability(load(log, key), log, tmp_path, Console(quiet=True))


def test_a_treatment_may_bring_a_schedule(log):
    """Its rate is part of the graph, so another rate has a graph of its own."""
    config = load(log, "stability.treatments={gc: [{dense: null, rule: {schedule: {warmup_steps: 30}}}]}")
    bench, last = Bench(config, log), log.days[-1]
    losses = {rate: bench.train(Point("deep", "gc", 0, rate, 0), {last}).losses for rate in (0.1, 0.2)}
    assert np.any(losses[0.1] != losses[0.2])
    again = Bench(config, log).train(Point("deep", "gc", 0, 0.2, 0), {last}).losses
    np.testing.assert_array_equal(again, losses[0.2])
