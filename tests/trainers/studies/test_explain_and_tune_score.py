"""`tfstable explain` and `tfstable tune-score` on one run, whose log has columns that say nothing."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.trainers.commands import complaint
from tests.trainers.runs import CONFIG
from tests.trainers.studies.own_utility import best_row
from tfstable.analysis.score_search import METHODS
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate
from trainers import Run, load_config
from trainers.studies.tune_score.days import ScoredDay, scored_days
from trainers.studies.tune_score.metric import ValuedRows, find_metric
from trainers.studies.tune_score.tune import tune
from trainers.training.evaluation import evaluate

DAYS = [date(2025, 1, day) for day in range(1, 6)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a log of five days, its config, and a run on all of them that keeps three checkpoints."""
    place = tmp_path_factory.mktemp("explained")
    simulate(place / "log", days=5, rows_per_day=1000, users=100, videos=100)
    rng = np.random.default_rng(0)
    for file in sorted((place / "log").glob("date=*/*.parquet")):
        rows = pq.read_table(file)
        rows = rows.append_column("noise", pa.array(rng.normal(size=rows.num_rows)))
        pq.write_table(rows.append_column("hint", rows["true_click"]), file)
    config = yaml.safe_load(CONFIG)
    config["data"]["path"] = str(place / "log")
    for kind, name in (("tasks", "follow"), ("features", "tags"), ("features", "category")):
        del config[kind][name]
    config["evaluation"] = {"gauc_column": "user_id"}
    config["features"] |= {"noise": {"kind": "numeric"}, "hint": {"kind": "numeric"}}
    config["tasks"] |= {"like": {"kind": "binary", "weight": 5}}
    config["trainer"] |= {"window_days": 1, "steps": 8}
    config["export"] = {"when": "never"}
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    Run.open(load_config(place / "config.yaml"), place / "run").train()
    return place


@pytest.fixture(scope="module")
def days(place):
    return scored_days(Run.of(place / "run"), {"click": 1.0, "like": 5.0}, "user_id")


def test_each_day_is_predicted_by_the_model_of_its_time(place, days):
    run = Run.of(place / "run")
    assert [(day.day, day.trained_to) for day in days] == list(zip(DAYS[3:], DAYS[2:], strict=False))
    state, log = run.parts().state, run.log
    for record in run.windows()[-3:-1]:
        number = next(saved.number for saved in state.checkpoints.all() if saved.last == record.last)
        state.restore(number)
        found = evaluate(run.config, log, record.eval_day, state.predict(record.eval_day), now=record.eval_day)
        assert found["click"]["auc"] == record.tasks["click"]["auc"]
        (day,) = [day for day in days if day.day == record.eval_day]
        np.testing.assert_allclose(day.predictions[:, 0], state.predict(day.day)["click"], rtol=1e-6)
    rows = pq.read_table(place / "log" / f"date={DAYS[4]}")
    np.testing.assert_array_equal(days[1].rows.gains, rows["click"].to_numpy() + 5 * rows["like"].to_numpy())


def test_tune_score_writes_weights_that_a_config_takes(place, run, tmp_path):
    asked = ("--metric", "dcg@5", "--group", "user_id", "--value", "click=1", "--value", "like=20", "--steps", 6)
    status, printed, _ = run("tune-score", place / "run", *asked, "--samples", 200, "--out", tmp_path)
    assert status == 0
    found = json.loads((tmp_path / "tune-score.json").read_text())
    assert (found["chosen_on"], found["judged_on"]) == (["2025-01-04"], "2025-01-05")
    assert found["method"] == "zero-order"
    assert [each["name"] for each in found["candidates"][:3]] == ["present", "tuned", "values"]
    written = yaml.safe_load((tmp_path / "score_weights.yaml").read_text())["export"]["score_weights"]
    assert written == found["candidates"][1]["weights"]
    assert sum(weight**2 for weight in written.values()) == pytest.approx(1, abs=1e-3)
    config = load_config(place / "config.yaml", [f"export.score_weights={json.dumps(written)}"])
    assert config.score_weights == written
    low, high = found["judgement"]["interval"]
    assert found["verdict"] == ("gain" if low > 0 else "loss" if high < 0 else "none")
    assert ("no significant gain" in printed) == (found["verdict"] != "gain")


def test_a_utility_of_ones_own_by_the_policy_gradient(days):
    values, present = {"click": 1.0, "like": 5.0}, {"click": 1.0}
    tasks = ("click", "watch_time", "like")
    own, broken = (find_metric(f"tests.trainers.studies.own_utility.{name}", values) for name in ("best_row", "broken"))
    few = {"method": "policy-gradient", "steps": 2, "pairs": 2, "samples": 50}
    found = tune(days, tasks, present, values, own, **few)
    assert found.candidates[1].chosen_on >= found.candidates[0].chosen_on
    rows, scores = days[1].rows, days[1].predictions[:, 0]
    assert found.candidates[0].judged_on == best_row(rows.gains, scores, rows.weights, rows.groups)
    with pytest.raises(InputError, match=r"own_utility\.broken: RuntimeError: no such thing; mend the function"):
        tune(days, tasks, present, values, broken)
    with pytest.raises(InputError, match="there is only click, whose weight changes no ranking"):
        tune(days, tasks[:1], present, values, own)
    with pytest.raises(InputError, match="all are 0"):
        tune(days, tasks, {"click": 0.0}, values, own)


def drawn_days(signal: float) -> list[ScoredDay]:
    """Two days of 200 lists of 10 rows, whose gains follow the first task and three times the second, or nothing."""
    rng, days = np.random.default_rng(0), []
    for day in DAYS[1:3]:
        predictions = rng.normal(size=(2000, 2)) * [1.0, 0.1]
        gains = rng.random(2000) < 1 / (1 + np.exp(2 - signal * predictions @ [1.0, 30.0]))
        rows = ValuedRows(gains.astype(float), np.ones(2000), np.arange(2000) // 10)
        days.append(ScoredDay(day, DAYS[0], predictions, rows))
    return days


@pytest.mark.parametrize("method", METHODS)
def test_weights_follow_signal_and_not_noise(method):
    tasks, values = ("a", "b"), {"a": 1.0}
    arguments = tasks, {"a": 1.0, "b": 1.0}, values, find_metric("ndcg@5", values)
    found = tune(drawn_days(signal=1.0), *arguments, method=method, samples=200)
    assert found.verdict == "gain"
    assert found.weights["b"] / found.weights["a"] == pytest.approx(30, rel=0.4)
    found = tune(drawn_days(signal=0.0), *arguments, method=method, samples=200)
    starts = [each.weights for each in found.candidates if each.name != "tuned"]
    assert found.weights in starts
    assert found.verdict == "none"


def test_tune_score_refuses_what_cannot_be_tuned(place, run, tmp_path):
    tune = lambda *more: complaint(run("tune-score", place / "run", *more))  # noqa: E731
    assert tune("--metric", "foo@3").startswith("--metric foo@3: no such metric; take ndcg@K, recall@K, dcg@K, mrr")
    assert "measures positives, not what they are worth" in tune("--metric", "map")
    assert "cannot be imported" in tune("--metric", "no.such.thing")
    assert "no column nobody" in tune("--group", "nobody")
    assert "no task buy with a label; there is click, watch_time, like" in tune("--value", "buy=1")
    assert tune("--value", "click") == "--value click: write TASK=NUMBER, such as click=1"
    few = shutil.copytree(place / "run", tmp_path / "few")
    for saved in sorted((few / "checkpoints").iterdir(), key=lambda path: int(path.name))[:-2]:
        shutil.rmtree(saved)
    assert "1 evaluated days can be predicted by a model that had not seen them" in complaint(run("tune-score", few))


def test_explain_tells_noise_from_features(place, run, tmp_path):
    asked = ("--day", DAYS[4], "--gradient-rows", 200, "--repeats", 1, "--single", 2, "--group", "who=user_id,hint")
    status, printed, _ = run("explain", place / "run", *asked, "--out", tmp_path)
    assert status == 0
    found = json.loads((tmp_path / "explain.json").read_text())
    assert (found["trained_to"], found["rows"], found["gradient_rows"]) == ("2025-01-04", 1000, 200)
    assert found["metrics"] == {"click": "auc", "watch_time": "rmse", "like": "auc"}
    assert found["units"]["who"] == {"features": ["user_id", "hint"], "sequences": []}
    click = {unit: each["click"] for unit, each in found["importance"].items()}
    assert click["noise"]["interval"][0] < 0 < click["who"]["interval"][0]
    assert abs(click["noise"]["loss"]) < 0.1 * click["who"]["loss"]
    assert max(found["completeness"].values()) < 1e-3
    assert "completeness" in printed
    for task, rows in found["single"].items():
        for row in rows:
            assert sum(row["shares"].values()) == pytest.approx(row["logit"] - row["start"], abs=1e-3), task
    assert [row["row"] for row in found["single"]["click"]] == [0, 5]
    for picture in ("explain.png", "rows.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_explain_refuses_what_it_cannot_explain(place, run, tmp_path):
    explain = lambda *more: complaint(run("explain", place / "run", *more))  # noqa: E731
    assert "no day 2024-01-01; it has 2025-01-01 to 2025-01-05" in explain("--day", "2024-01-01")
    assert "no feature nobody" in explain("--group", "who=nobody")
    (tmp_path / "explain.png").write_bytes(b"mine")
    assert "not written by `tfstable explain`" in explain("--out", tmp_path)
