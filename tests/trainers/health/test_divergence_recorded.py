"""The rules of divergence on curves that real runs left; `curves/README.md` says which."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainers.config import DivergenceConfig
from trainers.health.detector import Detector
from trainers.health.episode import SETTLED
from trainers.health.verdict import evaluation_faults

CURVES = Path(__file__).parent / "curves"
RULES = DivergenceConfig()
TASKS = ["a", "b", "c", "d", "e"]


def recorded(name: str) -> dict[str, np.ndarray]:
    with np.load(CURVES / f"{name}.npz") as file:
        return {run: file[run] for run in file.files}


HEALTHY, MICRO, FULL, NONFINITE = (recorded(name) for name in ("healthy", "micro", "full", "nonfinite"))
RUNS = HEALTHY | MICRO | FULL | NONFINITE
METRICS = json.loads((CURVES / "metrics.json").read_text())


def found(losses: np.ndarray) -> list:
    return Detector(RULES, TASKS).update(losses, 0)


def of_the_loss(losses: np.ndarray) -> list:
    return [finding for finding in found(losses) if finding.column == "loss"]


def test_twenty_healthy_runs_raise_no_alarm():
    assert len(HEALTHY) == 20
    assert {run: found(losses) for run, losses in HEALTHY.items() if found(losses)} == {}


@pytest.mark.parametrize("run", MICRO)
def test_micro_divergences(run):
    findings = of_the_loss(MICRO[run])
    assert {finding.kind for finding in findings} == {"micro_divergence"}
    for finding in findings:
        assert MICRO[run][finding.first_step : finding.last_step + 1, 0].max() == finding.figures["peak"]


@pytest.mark.parametrize("run", FULL)
def test_full_divergences(run):
    (finding,) = of_the_loss(FULL[run])
    assert finding.kind == "full_divergence"
    after = FULL[run][finding.first_step + SETTLED : finding.last_step, 0]
    assert np.median(after) > finding.figures["q90"]


def test_a_network_that_dies_in_mid_training_is_full_though_its_loss_is_nearly_normal():
    (finding,) = of_the_loss(FULL["kuairand_ldcn_none_0.1_w100"])
    assert finding.figures["now"] < 1.25 * finding.figures["median"]


@pytest.mark.parametrize("run", NONFINITE)
def test_losses_that_are_not_finite(run):
    first = int(np.flatnonzero(~np.isfinite(NONFINITE[run][:, 0]))[0])
    assert [f.first_step for f in of_the_loss(NONFINITE[run]) if f.kind == "nonfinite"] == [first]
    assert [f.kind for f in of_the_loss(NONFINITE[run])] == ["nonfinite", "full_divergence"]


@pytest.mark.parametrize("run", RUNS)
def test_blocks_of_any_length_and_a_resume_at_any_step_find_the_same(run):
    losses, blocks = RUNS[run], np.random.default_rng(0)
    whole = Detector(RULES, TASKS)
    expected = whole.update(losses, 0)
    stopped, findings, at = Detector(RULES, TASKS), [], 0
    while at < len(losses):
        size = int(blocks.integers(1, 40))
        findings += stopped.update(losses[at : at + size], at)
        stopped = Detector.restored(RULES, TASKS, json.loads(json.dumps(stopped.state(), allow_nan=False)))
        at += size
    assert findings == expected
    assert stopped.state() == whole.state()


def test_metrics_of_the_next_day_tell_a_collapse_in_the_first_steps():
    # Their losses jumped at step 1 and came back to that of a constant: below the untrained one, a micro-divergence.
    def known(metrics):  # What the recorded figures leave out: a dead network's predictions are all the same.
        return {
            **metrics,
            "labels": 20_000,
            "positives": 100,
            "predicted": 100.0,
            "spread": float(metrics.get("auc_se", 1.0) > 0),
        }

    healthy = METRICS["kuairand_ldcn_gc_0.1"]
    said = {
        run: evaluation_faults({task: [healthy[task], known(own)] for task, own in tasks.items()})
        for run, tasks in METRICS.items()
    }
    assert {run for run, lines in said.items() if lines} == {
        "kuairand_ldcn_none_0.05",
        "kuairand_ldcn_none_0.4",
        "kuairand_large_none_0.1",
    }
