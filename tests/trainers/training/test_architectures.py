"""Runs with experts, a product of tasks, and learned loss weights: resumed, on replicas, by XLA, exported, compared."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.trainers.launch import finish
from tests.trainers.launch import start as start_process
from tests.trainers.runs import (
    DAYS,
    ROWS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    is_model_weight,
    load,
    metrics,
    start,
    weights,
)
from tests.trainers.training.test_run_outputs import scalars
from tfstable.data.log import DayLog
from tfstable.serving.predict import predict
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers.studies.compare.compare import compare

pytestmark = pytest.mark.slow

KEYS = (
    "tasks.like={kind: binary, product_of: [click, like_after]}",
    "tasks.like_after={kind: binary, implicit: true}",
    "model.bottom={kind: ple, experts: 1, units: [8], levels: 2}",
    "model.units=[16]",
    "optimizer.averaging={kind: ema, horizon_steps: 10}",
)
KINDS = ["model.loss_weights=famo", "model.loss_weights=uncertainty"]


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="module", params=KINDS)
def run(request, log, tmp_path_factory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("runs") / "whole"
    keys = (request.param, "trainer.tensorboard=true", "trainer.task_gradients_every=8", "export.gate=null")
    start(log, path, *KEYS, *keys, "export.user_columns=[user_id]")
    return request.param, path


def test_it_resumes_to_the_same_bits(run, log, tmp_path):
    kind, whole = run
    config = load(log, *KEYS, kind, "export.when=never", "trainer.checkpoint_minutes=0.000001")
    with pytest.raises(StoppedError):
        begun(config, tmp_path / "run", StoppingReport).train()
    start(log, tmp_path / "run", *KEYS, kind, "export.when=never")
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.parametrize("keys", [("trainer.strategy=mirrored", "trainer.devices=2"), ("trainer.xla=true",)])
def test_replicas_and_xla_train_the_same(run, log, tmp_path, keys):
    kind, _ = run
    plain = (*KEYS, kind, "trainer.steps=8", "export.when=never")
    start(log, tmp_path / "one", *plain)
    # A process of its own: one can have one MirroredStrategy alone.
    finish(start_process(log.parent / "config.yaml", tmp_path / "other", f"data.path={log}", *plain, *keys))
    ours, theirs = weights(tmp_path / "one"), weights(tmp_path / "other")
    assert any("task_weights" in name or "log_variance" in name for name in ours)
    for name, value in ours.items():
        if is_model_weight(name):
            np.testing.assert_allclose(theirs[name], value, rtol=1e-3, atol=2e-4, err_msg=name)


def test_metrics_export_and_compare_cope_with_a_task_without_label(run, log, tmp_path):
    _, path = run
    assert metrics(path)["tasks"].keys() == {"click", "follow", "watch_time", "like"}
    predict(path / "export" / "1", DayLog(log), [DAYS[4]], tmp_path / "out.parquet", [], lambda *_: None)
    exported = pq.read_table(tmp_path / "out.parquet").to_pandas()
    np.testing.assert_allclose(exported["like"], exported["click"] * exported["like_after"], rtol=1e-5)
    np.testing.assert_allclose(Run.of(path).predict(DAYS[4])["like"], exported["like"], atol=1e-6)
    found = compare(path, path, DayLog(log), DAYS[4], lambda *_: None, samples=10)
    assert found["tasks"]["like_after"]["difference"]["mean"] == 0
    written = scalars(path)
    assert {"gradient_cosine/click, like", "loss_weight/click"} <= written.keys()
    # The total is told by the tasks' own weights, which are 1 here.
    of_tasks = [written[f"loss/{task}"] for task in metrics(path)["tasks"]]
    for (_, loss), *parts in zip(written["loss"], *of_tasks, strict=True):
        assert loss == pytest.approx(sum(value for _, value in parts), rel=1e-4)
    card = json.loads((path / "export" / "1" / "model_card.json").read_text())
    assert "label" not in card["tasks"]["like_after"]


def test_a_started_run_takes_over_experts_products_and_loss_weights(run, log, tmp_path):
    kind, path = run
    keys = (*KEYS, kind, "export.when=never", f"data.since={DAYS[3]}")
    Run.open(load(log, *keys), tmp_path / "run", init_from=path).train()
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    (event,) = [event for event in events if event["event"] == "initialised"]
    assert max(event["differences"].values()) < 1e-6
    assert all(part["exact"] for part in event["parts"])
