"""Judges the records of runs: whether one diverged, how good it is on a day, and how many survive."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainers.health.verdict import COLLAPSE

Record = Mapping[str, Any]


def divergence(record: Record, usual: float, day: str, positives: Mapping[str, float]) -> list[str]:
    """Returns why a run counts as diverged, one line per reason; empty if it does not.

    It does if its loss diverged fully, if its predictions are not finite, or if its mean AUC has lost more than
    `COLLAPSE` of the usual excess over 0.5: a network that died in the first steps has the calm loss of a
    constant prediction.

    Args:
        record: The run's record.
        usual: Mean AUC of healthy runs on that day: the first model under the rate's treatment at 1x.
        day: An evaluation day.
        positives: By binary task; see `score`.
    """
    reasons = [
        f"loss diverged at step {f['first_step']}"
        for f in record["findings"]
        if f["kind"] == "full_divergence" and f["column"] == "loss"
    ]
    mean = score(record, day, positives)
    if mean == -math.inf:
        reasons.append("predictions are not finite")
    elif mean - 0.5 < (1 - COLLAPSE) * (usual - 0.5):
        reasons.append(f"mean AUC {mean:.4f}, usually {usual:.4f}")
    return reasons


def micro_divergences(record: Record) -> int:
    """Returns how often the total loss jumped and came back."""
    return sum(f["kind"] == "micro_divergence" and f["column"] == "loss" for f in record["findings"])


def spikes(record: Record) -> int:
    """Returns how often the loss of a task jumped and came back."""
    return sum(f["kind"] == "micro_divergence" and f["column"] != "loss" for f in record["findings"])


def score(record: Record, day: str, positives: Mapping[str, float]) -> float:
    """Returns the mean AUC over the binary tasks, each weighted by its positives: a rare task's AUC is mostly noise.

    -inf if predictions are not finite: they are the worst. Leaves out a task whose AUC is unknown for lack of labels.
    """
    tasks = {task: record["days"][day][task] for task in positives if positives[task] > 0}
    if any(metrics["auc"] is None and metrics.get("spread") is None for metrics in tasks.values()):
        return -math.inf
    aucs = {task: metrics["auc"] for task, metrics in tasks.items() if metrics["auc"] is not None}
    if not aucs:
        return math.nan
    return sum(positives[task] * auc for task, auc in aucs.items()) / sum(positives[task] for task in aucs)


def mean_and_std(values: Sequence[float | None]) -> dict[str, float | None]:
    """Returns mean and sample standard deviation; None where a value is missing or none is there, no std of one."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values) or not values:
        return {"mean": None, "std": None}
    mean = sum(known) / len(known)
    std = math.sqrt(sum((v - mean) ** 2 for v in known) / (len(known) - 1)) if len(known) > 1 else None
    return {"mean": mean, "std": std}


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Returns the 95% interval of a share (Wilson, "Probable Inference, the Law of Succession", 1927).

    Args:
        successes: At most `trials`.
        trials: At least 1.
    """
    z, share = 1.96, successes / trials
    middle = share + z**2 / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    bounds = [(middle + side * half) / (1 + z**2 / trials) for side in (-1, 1)]
    return max(0.0, bounds[0]), min(1.0, bounds[1])


def last_survived(known: Sequence[bool], size: int, survives: Callable[[int], bool]) -> int:
    """Returns the number of the last multiple that a run survives, by bisection; -1 if it survives none.

    It survives every smaller multiple, or counts as if it did.

    Args:
        known: Whether it survives each of the first multiples; at least one.
        size: Multiples in all.
        survives: Takes the number of a further multiple.
    """
    if not all(known):
        return list(known).index(False) - 1
    low, high = len(known) - 1, size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if survives(middle) else (low, middle)
    return low
