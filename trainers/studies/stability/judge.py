"""Judges a run's record: whether it diverged, and how good it is on a day."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainers.health.verdict import COLLAPSE

Record = Mapping[str, Any]


def divergence(record: Record, reference: Record, day: str, positives: Mapping[str, float]) -> list[str]:
    """Returns why a run counts as diverged, one line per reason; empty if it does not.

    It does if its loss diverged fully, if its predictions are not finite, or if its mean AUC has lost more than
    `COLLAPSE` of the reference's excess over 0.5: a network that died in the first steps has the calm loss of a
    constant prediction.

    Args:
        record: The run's record.
        reference: The record of a healthy run: the first model under the rate's treatment at 1x.
        day: An evaluation day.
        positives: By binary task; see `score`.
    """
    reasons = [
        f"loss diverged at step {f['first_step']}"
        for f in record["findings"]
        if f["kind"] == "full_divergence" and f["column"] == "loss"
    ]
    mean, usual = score(record, day, positives), score(reference, day, positives)
    if mean == -math.inf:
        reasons.append("predictions are not finite")
    elif mean - 0.5 < (1 - COLLAPSE) * (usual - 0.5):
        reasons.append(f"mean AUC {mean:.4f}, of the reference {usual:.4f}")
    return reasons


def micro_divergences(record: Record) -> list[dict[str, Any]]:
    """Returns the findings of jumps of the total loss that came back."""
    return [f for f in record["findings"] if f["kind"] == "micro_divergence" and f["column"] == "loss"]


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
    """Returns mean and sample standard deviation; None where a value is missing, no std of a single one."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values):
        return {"mean": None, "std": None}
    mean = sum(known) / len(known)
    std = math.sqrt(sum((v - mean) ** 2 for v in known) / (len(known) - 1)) if len(known) > 1 else None
    return {"mean": mean, "std": std}
