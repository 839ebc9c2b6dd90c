"""A small grid on a simulated log as a whole: what trainings differ in, figures, resume, table and pictures."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from rich.console import Console

from tests.trainers.all_inputs import add_columns, overrides
from tfstable.data.log import DayLog
from tfstable.data.window import windows
from tfstable.errors import InputError
from tfstable.files import arrays_beside
from tfstable.metrics import auc, prediction_difference, spearman
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers import config as configs
from trainers.studies.reproducibility.bench import Bench
from trainers.studies.reproducibility.config import Cell, ReproducibilityConfig
from trainers.studies.reproducibility.grid import Grid
from trainers.studies.reproducibility.program import reproducibility

CONFIG = """
data: {path: unset}
features:
  user_id: {kind: hash, buckets: 200, dim: 4}
  video_id: {kind: hash, buckets: 100, dim: 4}
  category: {kind: vocabulary, dim: 4}
  duration_s: {kind: numeric, log1p: true}
tasks:
  click: {kind: binary, truth: true_click}
  watch_time: {kind: regression, label: watch_time_s, transform: log1p}
model: {units: [16, 16]}
optimizer: {embeddings: {initial_accumulator: 1.0e-4}}
trainer: {window_days: 1, batch_size: 256, steps_per_call: 5, tensorboard: false}
export: {when: never}
evaluation: {batch_size: 1024, gauc_column: user_id}
reproducibility:
  runs: 4
  ensembles: [2]
  k: 5
  trace_every: 4
  tasks: [click]
  differ:
    seed: {kind: seed}
    weights: {kind: weights}
    halves: {kind: replicas, replicas: [1, 2]}
  curves:
    relu: [{model.activation: relu}]
    smelu: [{model.activation: smelu, model.beta: 0.5}]
"""
DAY = "2025-01-04"


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> DayLog:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=4, rows_per_day=2000, users=100, videos=50)
    add_columns(path)
    return DayLog(path, "error")


def load(log: DayLog, *keys: str) -> ReproducibilityConfig:
    path = log.path.parent / "config.yaml"
    path.write_text(CONFIG)
    return configs.load(path, [f"data.path={log.path}", *keys], ReproducibilityConfig)


@pytest.fixture(scope="module")
def out(log, tmp_path_factory) -> Path:
    """A finished grid."""
    path = tmp_path_factory.mktemp("grid")
    reproducibility(load(log), log, path, Console(quiet=True))
    return path


@pytest.fixture(scope="module")
def table(out) -> dict:
    return json.loads((out / "reproducibility.json").read_text())


def row(table: dict, differ: str, label: str) -> dict:
    (found,) = [row for row in table["rows"] if (row["differ"], row["label"]) == (differ, label)]
    return found


def test_trainings_that_several_differences_share_are_made_once(out, table):
    # A point: four seeds; three more weights, for the first is the first seed; halves, beside the first seed again.
    assert table["runs"] == len(list((out / "runs").glob("*.npz"))) == 2 * (4 + 3 + 1)
    assert [row(table, differ, "relu")["runs"] for differ in ("seed", "weights", "halves")] == [4, 4, 2]


def difference(table: dict, differ: str, label: str = "relu") -> float:
    return row(table, differ, label)["tasks"]["click"]["difference"]["mean"]


def test_what_differs_less_is_less_apart(table):
    assert 1e-2 < difference(table, "seed") < 1
    assert 0 < difference(table, "halves") < 0.1 * difference(table, "seed")  # Rounding alone, over 24 steps.
    assert 0 < difference(table, "halves", "smelu") < 1e-4


@pytest.mark.slow
def test_every_kind_of_difference_and_remedy_runs(log, out, tmp_path):
    swaps, blocks = "{trainer.shuffle: {kind: swaps}}", "{trainer.shuffle: {kind: blocks, rows: 512}}"
    remedy = "{optimizer.averaging: {kind: ema, horizon_steps: 6}, optimizer.dense.schedule: {window_end: 0.1}}"
    generalised = "{model.activation: smelu, model.slope_below: 0.1}"
    keys = (
        f"reproducibility.differ={{full: {{kind: order}}, swaps: {{kind: order, keys: {swaps}}}, "
        f"blocks: {{kind: order, keys: {blocks}}}, precision: {{kind: precision}}}}",
        f"reproducibility.settings={{plain: {{}}, remedy: {remedy}}}",
        f"reproducibility.curves={{relu: [{{}}], generalised: [{generalised}]}}",
        "reproducibility.runs=3",
    )
    reproducibility(load(log, *keys), log, tmp_path, Console(quiet=True))
    made = json.loads((tmp_path / "reproducibility.json").read_text())
    assert len(made["rows"]) == 2 * 2 * 4
    apart = {(r["differ"], r["setting"], r["label"]): r["tasks"]["click"]["difference"]["mean"] for r in made["rows"]}
    assert all(1e-3 < apart[order, "plain", "relu"] < 1 for order in ("full", "swaps", "blocks"))
    assert apart["full", "remedy", "relu"] < apart["full", "plain", "relu"]
    assert 0 < apart["precision", "plain", "relu"] < 0.1 * apart["full", "plain", "relu"]
    assert 0 < apart["precision", "plain", "generalised"] < 1e-4


def test_figures_are_those_of_the_pairs_predictions(log, out, table):
    config = load(log)
    grid = Grid(config, Bench(config, log), out, print)
    plans = config.plans(Cell("seed", "", "relu", 0))
    p = [arrays_beside(grid.path_of(plan))[f"{DAY}|click"] for plan in plans]
    pairs = [(p[i], p[j]) for i in range(4) for j in range(i)]
    own = row(table, "seed", "relu")["tasks"]["click"]
    assert own["difference"]["mean"] == pytest.approx(np.mean([prediction_difference(*pair) for pair in pairs]))
    assert own["spearman"]["mean"] == pytest.approx(np.mean([spearman(*pair) for pair in pairs]))
    assert own["difference"]["low"] < own["difference"]["mean"] < own["difference"]["high"]
    assert 0 < own["levelled"]["mean"] < own["difference"]["mean"]
    assert 0 < own["churn"]["mean"] < 1
    labels = pq.read_table(log.path / f"date={DAY}")["click"].to_numpy().astype(float)
    assert own["auc"] == pytest.approx(np.mean([auc(labels, one) for one in p]))
    assert own["std"] == pytest.approx(np.std([auc(labels, one) for one in p], ddof=1))


def test_an_ensemble_is_the_mean_of_its_members_and_closer_to_another(table):
    alone, two = row(table, "seed", "relu"), row(table, "seed", "relu, ensemble of 2")
    assert two["runs"] == 2
    assert two["tasks"]["click"]["difference"]["mean"] < alone["tasks"]["click"]["difference"]["mean"]
    assert two["tasks"]["click"]["difference"]["low"] is None  # One pair has no interval.
    assert two["seconds"] > alone["seconds"]


def test_drift_grows_from_nothing_by_rounding_and_is_large_from_the_start_with_other_weights(table):
    halves, weights = (row(table, differ, "relu")["drift"]["weights"] for differ in ("halves", "weights"))
    assert len(halves) == len(weights) == 24 // 4
    assert 0 < halves[0] < 1e-4
    assert weights[0] > 0.1


def test_a_second_start_trains_nothing_and_a_lost_training_alone_is_made_again(log, out):
    before = {path: path.read_bytes() for path in (out / "runs").glob("*.json")}
    lost = sorted(before)[5]
    arrays = arrays_beside(lost)
    lost.unlink()
    said = Console(record=True, file=(out.parent / "said").open("w"), width=300)
    reproducibility(load(log), log, out, said)
    assert len(said.export_text().splitlines()) == 2  # The training, and the page.
    after = {path: path.read_bytes() for path in (out / "runs").glob("*.json")}
    assert json.loads(after[lost]) | {"seconds": 0} == json.loads(before[lost]) | {"seconds": 0}
    assert {name: value.tobytes() for name, value in arrays_beside(lost).items()} == {
        name: value.tobytes() for name, value in arrays.items()
    }


def test_the_page_and_the_pictures_are_there(out):
    page = (out / "reproducibility.md").read_text()
    assert "## click: what differs is seed" in page
    assert "| relu, ensemble of 2 | 2 | " in page
    for name in ("difference", "drift"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.rglob(".*"))


def test_a_training_of_the_grid_is_one_of_the_trainer(log, tmp_path):
    keys = "optimizer.dense.schedule: {window_end: 0.1}, optimizer.embeddings.forget: 0.5"
    curves = f"reproducibility.curves={{smelu: [{{{keys}, trainer.shuffle: {{kind: blocks, rows: 512}}}}]}}"
    config = load(log, "reproducibility.trace_every=0", "trainer.steps_per_call=100", *overrides(log.path, 100), curves)
    plan = config.plans(Cell("seed", "", "smelu", 0))[1]
    bench = Bench(config, log)
    bench.train(config.plans(Cell("seed", "", "smelu", 0))[0])  # Its variables and graphs serve the next one.
    _, arrays = bench.train(plan)
    trainer = Run.open(plan.config, tmp_path / "run").parts()
    todo = [w for w in windows(log.days, 1, 1) if w.last < log.days[-1]]
    iterator = iter(trainer.state.reader.dataset(trainer.stream(todo), 256))
    for window in todo:
        total = trainer.plan(window).total
        trainer.state.renew_ids(window)
        rates = trainer.state.learner.rate_factors(np.arange(total), total)
        trainer.state.learner.steps.train(iterator, tf.constant(total), rates)
        trainer.state.learner.optimizer.end_window()
        trainer.state.position.window.assign(window.last.toordinal())
    np.testing.assert_array_equal(arrays[f"{DAY}|click"], trainer.state.predict(log.days[-1])["click"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reproducibility.tasks=[clicks]", "no task clicks with a label; there is click, watch_time"),
        ("reproducibility.curves={a: [{model.activations: relu}]}", r"a\[0\]/seed: model\.activations"),
        ("reproducibility.curves={a: [{model.units.x: 1}]}", r"a\[0\]/seed: model\.units\.x: units has no keys"),
        ("reproducibility.differ={a: {kind: replicas, replicas: [1]}}", r"differ\.a\.replicas"),
        ("trainer.strategy=auto", "reproducibility: trainer.strategy is not honoured.* leave it at one_device"),
        ("trainer.devices=2", "reproducibility: trainer.devices is not honoured"),
        ("trainer.xla=true", "reproducibility: trainer.xla is not honoured"),
        ("divergence.jump=3", "reproducibility: divergence.jump is not honoured"),
        ("tasks.click.calibrate=true", r"reproducibility: tasks\.click\.calibrate is not honoured.* leave it at false"),
        ("recovery.most=0", "reproducibility: recovery.most is not honoured"),
        (
            "init={from: runs/a}",
            "reproducibility: init is not honoured, every training of a grid starts",
        ),
        (
            "export.when=every_window",
            "export.when is not honoured, a grid exports nothing; leave it at last",
        ),
        ("trainer.track_every=5", "reproducibility: trainer.track_every is not honoured"),
        ("evaluation.slices=[category]", "evaluation.slices is not honoured, a grid measures whole days"),
        ("trainer.keep_checkpoints=9", "reproducibility: trainer.keep_checkpoints is not honoured"),
        ("reproducibility.curves={a: [{model.task_gradient_limit: 1}]}", "a grid would limit each part of a batch"),
        (
            "reproducibility.curves={a: [{model.penalty: {kind: weight_gradient, rate: 1}}]}",
            "a grid would take weight_gradient of each part of a batch alone",
        ),
        ("reproducibility.curves={a: [{trainer.xla: true}]}", "trainer.xla is not honoured"),
        ("reproducibility.curves={a: [{trainer.deterministic: true}]}", "trainer.deterministic is the same in all"),
        ("reproducibility.settings={a: {trainer.window_days: 2}}", "trainer.window_days is the same in all trainings"),
        ("reproducibility.settings={a: {features.user_id.buckets: 9}}", "features.user_id.buckets is the same in all"),
        ("reproducibility.settings={a: {tasks.click.label: x}}", "tasks.click.label is the same in all trainings"),
        ("reproducibility.settings={a: {data.weight: w}}", "data.weight is the same in all trainings"),
        ("reproducibility.settings={a: {evaluation.batch_size: 9}}", "evaluation.batch_size is the same in all"),
    ],
)
def test_a_wrong_grid_is_one_line(log, override, message):
    with pytest.raises(InputError, match=message):
        load(log, override)


def test_a_log_of_too_few_days_is_one_line(log, tmp_path):
    with pytest.raises(InputError, match="4 days, but a window takes 3 and the comparison 2; lower"):
        reproducibility(
            load(log, "trainer.window_days=3", "reproducibility.days=2"), log, tmp_path, Console(quiet=True)
        )
