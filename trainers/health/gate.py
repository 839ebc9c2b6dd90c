"""The export gate: is the model that was just trained through a day fit to serve?"""

import math
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from trainers.config import GateConfig
from trainers.health.labels import CHANCE, chance_of_count, label_fault, numbers
from trainers.health.verdict import EARLIER_DAYS, Evaluations, Odd, TaskMetrics, has_labels, healthy_days

# Two models on the same rows err alike: their difference has about this share of the noise between two days,
# sqrt(1 - r), with r about 0.9 the correlation of their errors.
PAIRED = 0.3


def refusals(
    config: GateConfig | None,
    last: date,
    evaluations: Evaluations,
    own: Mapping[str, Mapping[str, float]],
    odd: Odd | None = None,
    since: date | None = None,
) -> list[str]:
    """Returns why the model trained through day `last` must not be published, one line per reason; empty if it may be.

    The log does not have the day after yet, and waiting for it would make serving a day stale. The rules, per task:

        predictions this model's predictions of every row of `last` are finite and not all the same; a task that never
                    had a positive may have equal predictions
        labels      the labels of `last`, or of the newest day with labels, are not odd (`trainers.health.labels`,
                    `trainers.health.verdict`)
        progress    on that day the previous model, which had not seen it, is within the margins of the median healthy
                    day before: the run as a whole is healthy
        own         on `last` this model is calibrated, and within the margins of the previous model: training on the
                    day did no harm. Calibrated means |log(predicted / observed)| <= log(calibration) + noise / sqrt(n),
                    n the positives, since a count of n has an error of sqrt(n)

    A rule does not apply without the labels of `last` or the evaluations that it needs.

    Args:
        config: The margins; None for no gate.
        last: Last day of the window.
        evaluations: The evaluated days of the run, in order, as `RunDirectory.evaluations` returns them.
        own: The new model's metrics on `last`.
        odd: Faults of the evaluated days, as `RunDirectory.odd_days` returns it.
        since: First day to compare with; None: the run's first.
    """
    if config is None:
        return []
    evaluations, odd, reasons = [(day, tasks) for day, tasks in evaluations if day <= str(last)], odd or {}, []
    for task, metrics in own.items():
        positives = [metrics.get("positives"), *(tasks[task].get("positives") for _, tasks in evaluations)]
        if broken := _predictions(task, last, metrics, any(positives)):
            reasons.append(broken)
            continue
        healthy = healthy_days(task, evaluations, odd, last, since)
        reasons += _progress(config, task, evaluations, odd, since)
        if metrics["labels"] and task not in odd.get(str(last), ()):
            if fault := label_fault(task, last, metrics, [earlier for _, earlier in healthy]):
                reasons.append(fault)
            else:
                reasons += _own(config, task, last, metrics, dict(evaluations).get(str(last), {}).get(task))
    return reasons


def _predictions(task: str, last: date, own: Mapping[str, float], has_positives: bool) -> str | None:
    """Returns why a model is refused by its predictions, without labels; None if it is not."""
    spread = own.get("spread", 1.0)  # A day of one row has none.
    if not math.isfinite(spread):
        return f"{task}: predictions on {last} are not finite"
    if spread == 0 and (has_positives or "rmse" in own):
        return f"{task}: predicts the same value for every row of {last}"
    return None


def _progress(config: GateConfig, task: str, evaluations: Evaluations, odd: Odd, since: date | None) -> list[str]:
    """Returns the reasons of the newest evaluation against the run as a whole."""
    newest = [(day, tasks[task]) for day, tasks in evaluations[-EARLIER_DAYS:] if has_labels(tasks[task])][-1:]
    if not newest:
        return []
    ((day, progressive),) = newest
    if since is not None and day < str(since):
        return []
    if reasons := odd.get(day, {}).get(task):
        return [reason if day in reason else f"{reason} on {day}" for reason in reasons]
    healthy = healthy_days(task, evaluations, odd, date.fromisoformat(day), since)
    when = (
        f"on {healthy[0][0]}, before" if len(healthy) == 1 else f"on the median of {len(healthy)} healthy days before"
    )
    return _worse(config, task, numbers(progressive), [metrics for _, metrics in healthy], when, config.noise)


def _own(
    config: GateConfig, task: str, last: date, own: Mapping[str, float], progressive: TaskMetrics | None
) -> list[str]:
    """Returns the reasons of a day's labels against the model that was trained on it."""
    reasons = []
    if "auc" in own and not own["positives"]:
        if chance_of_count(0, own["predicted"] / config.calibration) < CHANCE:
            reasons.append(f"{task}: predicts {own['predicted']:.3g} positives on {last}, which has none")
    elif "auc" in own and not _calibrated(config, own["calibration"], own["positives"]):
        reasons.append(f"{task}: predicts {own['calibration']:.3g} of what was observed on {last}")
    if progressive is not None:
        reasons += _worse(config, task, own, [progressive], "before it was trained on the day", PAIRED * config.noise)
    return reasons


def _worse(
    config: GateConfig, task: str, now: Mapping[str, float], before: Sequence[TaskMetrics], when: str, noise: float
) -> list[str]:
    """Compares a day with the median of days before; the median of n days is as noisy as one of n times the rows."""
    days = [numbers(metrics) for metrics in before]
    for metric, sign, margin in (("auc", -1, config.auc_margin), ("rmse", 1, config.error_margin)):
        error = f"{metric}_se"  # Unknown where a class has a single row.
        known = [day for day in days if _finite(day.get(metric)) and _finite(day[error])]
        if not known or not _finite(now.get(metric)) or not _finite(now[error]):
            continue
        usual, usual_error = (float(np.median([day[name] for day in known])) for name in (metric, error))
        allowed = noise * math.hypot(now[error], usual_error / math.sqrt(len(known)))
        allowed += margin if metric == "auc" else margin * usual
        if sign * (now[metric] - usual) > allowed:
            shown = ".4f" if metric == "auc" else ".4g"
            return [f"{task}: {metric.upper()} {now[metric]:{shown}}, {usual:{shown}} {when}"]
    return []


def _calibrated(config: GateConfig, calibration: float, positives: float) -> bool:
    bound = math.log(config.calibration) + config.noise / math.sqrt(positives)
    return calibration > 0 and abs(math.log(calibration)) <= bound


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
