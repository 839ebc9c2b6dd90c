"""Each rule of divergence by itself, on made-up losses; `test_divergence_recorded.py` has those of real runs."""

import math

import numpy as np
import pytest

from trainers.config import DivergenceConfig
from trainers.health.detector import Detector

RULES = DivergenceConfig()


def found(losses: np.ndarray, rules: DivergenceConfig = RULES) -> list:
    return detector(losses, rules).update(losses, 0)


def detector(losses: np.ndarray, rules: DivergenceConfig = RULES) -> Detector:
    return Detector(rules, [f"task{i}" for i in range(1, losses.shape[1])])


def kinds(losses: np.ndarray, column: str = "loss") -> list[str]:
    return [finding.kind for finding in found(losses) if finding.column == column]


def curve(steps: int, level: float = 1.0, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    """A healthy loss of one column: `(steps, 1)`."""
    return level * (1 + noise * np.random.default_rng(seed).standard_normal((steps, 1)))


# --- Each rule by itself.


def test_a_jump_that_comes_back_is_a_micro_divergence_with_its_steps():
    losses = curve(400)
    losses[200:205] = 5
    (finding,) = found(losses)
    assert (finding.kind, finding.column, finding.first_step, finding.last_step) == (
        "micro_divergence",
        "loss",
        200,
        204,
    )
    assert finding.figures["peak"] == 5
    assert finding.figures["median"] == pytest.approx(1, abs=0.02)


def test_a_jump_is_certain_only_once_it_has_come_back_or_not():
    losses = curve(400)
    losses[200:205] = 5
    watch = detector(losses)
    assert watch.update(losses[:206], 0) == []
    assert watch.jumped_at == 200  # A checkpoint of now is not known to be good.
    assert watch.update(losses[206:], 206) != []
    assert watch.jumped_at is None


def test_a_jump_that_stays_is_a_full_divergence_after_the_patience():
    losses = curve(500)
    losses[200:] = 5
    (finding,) = found(losses)
    assert (finding.kind, finding.first_step, finding.last_step) == ("full_divergence", 200, 200 + RULES.patience)


def test_a_jump_onto_a_plateau_a_little_above_is_full():
    # What a dead network leaves: a peak, then the loss of a constant prediction, 15% above that of the trained model.
    losses = curve(500)
    losses[200:203] = 1e4
    losses[203:] *= 1.15
    assert kinds(losses) == ["full_divergence"]


def test_a_full_divergence_is_told_once_and_a_new_jump_after_its_end_anew():
    losses = curve(1000)
    losses[200:500] = 7
    losses[800:803] = 7
    assert kinds(losses) == ["full_divergence", "micro_divergence"]


def test_a_loss_that_grows_without_a_jump_is_full_once_it_is_worse_than_untrained():
    losses = curve(2000) * np.exp(np.arange(2000) / 1000)[:, None]  # Doubles in 693 steps, and so again.
    (finding,) = found(losses)
    assert (finding.kind, finding.figures["rule"]) == ("full_divergence", "drift")
    assert finding.first_step > 500


def test_nonfinite_steps_are_told_at_once_and_are_full_when_they_stay():
    losses = curve(400)
    losses[200] = math.nan
    assert [(f.kind, f.first_step) for f in found(losses)] == [("nonfinite", 200)]
    losses[300:] = math.inf
    assert kinds(losses) == ["nonfinite", "nonfinite"]
    longer = np.concatenate([losses, np.full((50, 1), math.nan)])
    assert kinds(longer) == ["nonfinite", "nonfinite", "full_divergence"]


def test_nonfinite_from_the_first_step_on():
    assert kinds(np.full((150, 1), math.nan)) == ["nonfinite", "full_divergence"]


def test_a_jump_in_the_first_steps_is_found_by_the_untrained_loss():
    losses = curve(100)
    losses[1:4] = np.array([[20], [60], [30]])
    assert kinds(losses) == ["micro_divergence"]


# --- What is harmless.


def test_the_warm_start_falls_and_may_wobble():
    losses = curve(500) * (1 + 9 * np.exp(-np.arange(500) / 30))[:, None]
    losses[1:4] *= np.array([[1.5], [3], [2]])
    assert found(losses) == []


def test_slow_drifts_and_days_are_harmless():
    steps = np.arange(5000)
    days = np.where(steps // 500 % 2, 1.4, 1.0)  # A weekend costs 40%, at once.
    passes = 1 - 0.3 * (steps % 500 > 250)  # The second pass over a window is easier, and the next window is new.
    assert found(curve(5000) * (days * passes * (1 + 0.3 * np.sin(steps / 900)))[:, None]) == []


@pytest.mark.parametrize("rate", [0.02, 0.3, 3.0])  # Positives a batch.
def test_rare_tasks_are_spiky_by_nature(rate):
    rng = np.random.default_rng(1)
    task = rng.poisson(rate, 20_000) * 8.0 / 1024 + 1e-4  # Cross-entropy of a positive with p = e^-8.
    click = 0.5 * (1 + 0.03 * rng.standard_normal(20_000))
    assert found(np.stack([task + click, click, task], axis=1)) == []


def test_heavy_tails_raise_an_alarm_in_ten_thousand_steps_at_most():
    steps = alarms = 0
    for seed, sigma in enumerate((1.0, 1.2, 1.5, 1.0, 1.2, 1.5)):
        rng = np.random.default_rng(seed)
        seconds = np.exp(rng.normal(2, sigma, (5000, 512)))  # Watch times; their squared error, untransformed.
        squared = np.square(seconds - seconds.mean()).mean(axis=1)
        click = 0.5 * (1 + 0.03 * rng.standard_normal(5000))
        alarms += len({f.first_step for f in found(np.stack([click + 1e-3 * squared, click, squared], axis=1))})
        steps += 5000
        assert squared.max() > 8 * np.median(squared)
    assert alarms <= steps / 10_000


def test_tasks_are_told_apart():
    losses = np.concatenate([curve(400, 3.0, seed=s) for s in range(3)], axis=1)
    losses[200:205, 2] = 40
    losses[200:205, 0] += 37
    assert {(f.kind, f.column) for f in found(losses)} == {("micro_divergence", "loss"), ("micro_divergence", "task2")}


# --- Batches without a label.


def tasks_with_unlabelled(start: int, end: int, *unlabelled: int) -> np.ndarray:
    """Losses of a total and two tasks, of which some have no labels in some steps."""
    tasks = np.concatenate([curve(800, 0.6, seed=1), curve(800, 0.2, seed=2)], axis=1)
    for column in unlabelled:
        tasks[start:end, column] = 0
    return np.concatenate([tasks.sum(axis=1, keepdims=True), tasks], axis=1)


@pytest.mark.parametrize("unlabelled", [(0,), (1,), (0, 1)])
def test_days_without_labels_are_no_divergence_when_the_labels_come_back(unlabelled):
    assert found(tasks_with_unlabelled(300, 450, *unlabelled)) == []
    assert found(tasks_with_unlabelled(0, 150, *unlabelled)) == []
    losses = tasks_with_unlabelled(0, 0)
    losses[::2, 2] = 0  # A task that half of the batches know nothing of.
    assert found(losses) == []


def test_a_divergence_after_a_day_without_labels_is_found():
    losses = tasks_with_unlabelled(300, 450, 0)
    losses[600:, :2] += 8
    assert {(f.kind, f.column, f.first_step) for f in found(losses)} == {
        ("full_divergence", "loss", 600),
        ("full_divergence", "task1", 600),
    }
    losses = tasks_with_unlabelled(300, 450, 0)
    losses[350:, 0] += 8  # While one task has no labels, the other one diverges.
    losses[350:, 2] += 8
    assert {(f.kind, f.column, f.first_step) for f in found(losses)} == {
        ("full_divergence", "loss", 350),
        ("full_divergence", "task2", 350),
    }


def test_the_first_positives_of_a_rare_task_are_no_divergence():
    losses = np.full((400, 2), 3e-4)
    losses[100:] = 0.02 + 0.05 * (np.random.default_rng(0).random((300, 1)) < 0.3)
    assert Detector(RULES, ["share"], [math.log(2), math.log(2)]).update(losses, 0) == []
    losses[200:] = 1.5
    assert {f.kind for f in Detector(RULES, ["share"], [math.log(2)] * 2).update(losses, 0)} == {"full_divergence"}
