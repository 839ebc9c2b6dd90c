"""The export gate: is the model that was just trained through a day fit to serve?"""

import math
from collections.abc import Mapping, Sequence
from datetime import date

from trainers.config import GateConfig

Metrics = Mapping[str, Mapping[str, float | None]]  # By task, by metric.


def refusals(
    config: GateConfig | None, last: date, evaluations: Sequence[tuple[str, Metrics]], own: Metrics
) -> list[str]:
    """Returns why the model trained through day `last` must not be published, a line a reason; empty if it may.

    The day after is not there yet, and waiting for it would make serving a day stale. What there is:

        progress    the metrics on `last` of the model before, which had not seen it, are within the margins of those on
                    the day before: the run as a whole is on its way
        own         this model's on `last` are finite, calibrated, and within the margins of those: training on the day
                    did no harm. Calibrated means |log(predicted / observed)| <= log(calibration) + noise / sqrt(n),
                    n the positives, for so many are counted with an error of sqrt(n)

    Where there is no evaluation of `last`, or none before it, the rules that need it do not apply.

    Args:
        config: The margins; None for no gate.
        last: Last day of the window.
        evaluations: The evaluated days of the run, in order, as `RunDirectory.evaluations` returns them.
        own: The new model's metrics on `last`.
    """
    if config is None:
        return []
    known = [(day, metrics) for day, metrics in evaluations if day <= str(last)]
    progressive = known[-1][1] if known and known[-1][0] == str(last) else None
    reasons = []
    if progressive is not None and len(known) > 1:
        before_day, before = known[-2]
        for task, metrics in progressive.items():
            reasons += _worse(config, task, metrics, before[task], f"on {before_day}, before", config.noise)
    for task, metrics in own.items():
        if not any(_finite(metrics.get(name)) for name in ("logloss", "rmse")):
            reasons.append(f"{task}: predictions on {last} are not finite")
            continue
        calibration = metrics.get("calibration")
        if _finite(calibration) and not _calibrated(config, calibration, metrics["positives"]):
            reasons.append(f"{task}: predicts {calibration:.3g} of what was observed on {last}")
        if progressive is not None:
            reasons += _worse(config, task, metrics, progressive[task], "before it was trained on the day", 0.0)
    return reasons


def _worse(
    config: GateConfig,
    task: str,
    now: Mapping[str, float | None],
    before: Mapping[str, float | None],
    when: str,
    noise: float,
) -> list[str]:
    def noise_of(metric: str) -> float:
        return noise * math.hypot(*(m[metric] if _finite(m[metric]) else 0.0 for m in (now, before)))

    compared = [metric for metric in ("auc", "rmse") if _finite(now.get(metric)) and _finite(before.get(metric))]
    if "auc" in compared and now["auc"] < before["auc"] - config.auc_margin - noise_of("auc_se"):
        return [f"{task}: AUC {now['auc']:.4f}, {before['auc']:.4f} {when}"]
    if "rmse" in compared and now["rmse"] > before["rmse"] * (1 + config.error_margin) + noise_of("rmse_se"):
        return [f"{task}: RMSE {now['rmse']:.4g}, {before['rmse']:.4g} {when}"]
    return []


def _calibrated(config: GateConfig, calibration: float, positives: int) -> bool:
    bound = math.log(config.calibration) + config.noise / math.sqrt(max(1, positives))
    return calibration > 0 and abs(math.log(calibration)) <= bound


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
