"""Judges a day's labels, and the model that had not seen the day, only by metrics. NumPy only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np

from trainers.health.labels import CHANCE, chance_of_count, label_fault, numbers

EARLIER_DAYS = 10  # Healthy evaluations that a day is compared with.
TOLD_APART = 0.1  # A task has enough positives if an AUC of 0.6 is above chance by more than the noise.
NOISE = 2.0  # Standard errors that count as noise, as of a 95% interval: within them of 0.5 an AUC is chance.
# An earlier AUC above 0.5 by this many standard errors was no chance, so losing it counts. Well above the noise: a
# barely measurable AUC would come and go from day to day.
MEASURABLE = 6.0
# Share of an earlier AUC's excess over 0.5 whose loss counts. A dead network loses all of it, a hard day a small part.
COLLAPSE = 0.5
# Predicted over observed, or its inverse, that is absurd. The calibration of healthy rare tasks was 0.4 to 1.6 on
# KuaiRand, so the bound lies well beyond that.
CALIBRATION = 10.0
ERROR = 10.0  # Factor of the earlier days' median RMSE that is absurd: predictions have exploded, no day is so hard.

TaskMetrics = Mapping[str, float | None]  # By metric, as `trainers.training.evaluation.evaluate` returns them.
Metrics = Mapping[str, TaskMetrics]  # By task.
Evaluations = Sequence[tuple[str, Metrics]]  # By day, the oldest first.
Odd = Mapping[str, Mapping[str, Sequence[str]]]  # By day and task, the faults of the day.


class Fault(NamedTuple):
    """A rule that a day's metrics break.

    Attributes:
        task: The task; None for all tasks.
        rule: The rule's name.
        line: Task and figures, for users.
    """

    task: str | None
    rule: str
    line: str


@dataclass(frozen=True)
class Verdict:
    """The judgement of a day.

    Attributes:
        labels: By task, the fault of the day's labels; such a task does not judge the model.
        faults: Rules that the metrics break, because of the model or of the day.
        labelled: Whether a task has labels to judge by, and none has wrong ones.
    """

    labels: dict[str, str]
    faults: list[Fault]
    labelled: bool


def judge(
    day: date,
    tasks: Metrics,
    evaluations: Evaluations,
    odd: Odd,
    *,
    since: date | None = None,
    jumped: bool = False,
) -> Verdict:
    """Judges the metrics of a day against the healthy days before it.

    Args:
        day: The day.
        tasks: Its metrics.
        evaluations: The run's evaluated days.
        odd: Their faults.
        since: First day to compare with; None: the run's first.
        jumped: Whether the losses jumped, as `evaluation_faults` takes it.
    """
    earlier = {task: [m for _, m in healthy_days(task, evaluations, odd, day, since)] for task in tasks}
    labels = {
        task: fault
        for task, today in tasks.items()
        if (fault := label_fault(task, day, today, earlier[task])) is not None
    }
    judged = {task: {**today, "labels": 0} if task in labels else today for task, today in tasks.items()}
    faults = evaluation_faults({task: [*earlier[task], today] for task, today in judged.items()}, jumped)
    return Verdict(labels, faults, not labels and any(today["labels"] for today in tasks.values()))


def healthy_days(
    task: str, evaluations: Evaluations, odd: Odd, before: date, since: date | None = None
) -> list[tuple[str, TaskMetrics]]:
    """Returns a task's last `EARLIER_DAYS` days before a day with labels and nothing odd, the oldest first."""
    found = [
        (day, tasks[task])
        for day, tasks in evaluations
        if day < str(before) and (since is None or day >= str(since)) and has_labels(tasks[task])
    ]
    return [(day, metrics) for day, metrics in found if task not in odd.get(day, ())][-EARLIER_DAYS:]


def has_labels(metrics: TaskMetrics) -> bool:
    """Returns whether a row counted; True for older records, which do not say."""
    return bool(metrics.get("labels", True))


def evaluation_faults(
    metrics_by_task: Mapping[str, Sequence[TaskMetrics]],
    jumped: bool = False,
) -> list[Fault]:
    """Returns the rules that a day's metrics break for the model that was trained before it.

        not finite   a prediction of any row of the day is NaN or infinite
        constant     every task's predictions of the day are all the same: a dead network, whose loss is calm
        chance       AUC - 0.5 < NOISE * se, or more than `COLLAPSE` of it is gone, beyond NOISE * se; if the median
                     earlier day was above 0.5 by > MEASURABLE * se
        chance       no task's AUC - 0.5 is > NOISE * se, of the tasks with enough positives (NOISE * se < 0.1), and
                     the losses jumped
        calibration  predicted over observed beyond `CALIBRATION` or its inverse, which the noise of few positives does
                     not explain, and not so on the median earlier day
        error        RMSE > ERROR * its median on the earlier days

    Without labels only the predictions are judged.

    Args:
        metrics_by_task: By task, the metrics of each healthy day, oldest first, then of the judged day. A metric that
            could not be computed is NaN, or None as in JSON files.
        jumped: Whether the losses jumped since the run began, or since a good evaluation. If a network dies in a run's
            first steps, no earlier day shows it.
    """
    days_of = {task: [numbers(day) for day in days] for task, days in metrics_by_task.items()}
    today = {task: days[-1] for task, days in days_of.items()}
    not_finite = [task for task, day in today.items() if math.isnan(day.get("spread", 0.0))]
    if len(not_finite) == len(today):
        return [Fault(None, "not finite", "predictions are not finite")]
    if all(day.get("spread") == 0 for day in today.values()):
        return [Fault(None, "constant", "every task's predictions are all the same")]
    faults = [Fault(task, "not finite", f"{task}: predictions are not finite") for task in not_finite]
    judged = {task: days for task, days in days_of.items() if today[task]["labels"] and task not in not_finite}
    aucs = [days[-1] for days in judged.values() if NOISE * days[-1].get("auc_se", math.nan) < TOLD_APART]
    if jumped and aucs and all(day["auc"] - 0.5 < NOISE * day["auc_se"] for day in aucs):
        faults.append(Fault(None, "chance", "no task's AUC is above chance, and the losses jumped"))
    for task, (*earlier, day) in judged.items():
        found = []
        if "auc" in day:
            found = [("chance", _chance(earlier, day)), ("calibration", _calibration(earlier, day))]
        elif earlier:
            before = _median([metrics["rmse"] for metrics in earlier])
            if day["rmse"] > ERROR * before:
                found = [("error", f"RMSE {day['rmse']:.4g}, {before:.4g} on the median earlier day")]
        faults += [Fault(task, rule, f"{task}: {line}") for rule, line in found if line]
    return faults


def _chance(earlier: Sequence[Mapping[str, float]], today: Mapping[str, float]) -> str | None:
    before = _median([(day["auc"] - 0.5) / day["auc_se"] for day in earlier if day["auc_se"] > 0])
    if not before > MEASURABLE:
        return None
    excess, error = today["auc"] - 0.5, NOISE * today["auc_se"]
    usual = _median([day["auc"] - 0.5 for day in earlier])
    if excess < error:
        return f"AUC {today['auc']:.4f} ± {today['auc_se']:.4f} is chance"
    if excess + error < (1 - COLLAPSE) * usual:
        return f"AUC {today['auc']:.4f} ± {today['auc_se']:.4f}, {0.5 + usual:.4f} on the median earlier day"
    return None


def _calibration(earlier: Sequence[Mapping[str, float]], today: Mapping[str, float]) -> str | None:
    usual, ratio = _median([day["calibration"] for day in earlier]), today["calibration"]
    if today["positives"] == 0 and today["predicted"] > 0:
        ratio = math.inf
    if _is_absurd(usual) or not _is_absurd(ratio):
        return None
    if chance_of_count(today["positives"], today["predicted"]) >= CHANCE:
        return None
    if ratio == math.inf:
        return f"{today['predicted']:,.3g} positives predicted, none observed"
    return f"calibration {ratio:.3g}"


def _is_absurd(calibration: float) -> bool:
    return calibration < 1 / CALIBRATION or calibration > CALIBRATION  # False for NaN: nothing is known.


def _median(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan
