"""The export gate: its rules on metrics by hand, and what a run publishes on poisoned days."""

from datetime import date

import pytest

from tests.trainers.test_recovery import DAYS, events, go, log, poisoned
from tfstable import export
from trainers.config import GateConfig
from trainers.gate import refusals

__all__ = ["log"]  # A fixture.

DAY = date(2025, 1, 5)


def binary(auc: float, calibration: float = 1.0, positives: int = 400, logloss: float = 0.3) -> dict:
    return {"auc": auc, "auc_se": 0.005, "logloss": logloss, "calibration": calibration, "positives": positives}


def regression(rmse: float | None) -> dict:
    return {"rmse": rmse, "rmse_se": 0.1, "mae": rmse}


def refused(progressive: dict, before: dict, own: dict, **config) -> list[str]:
    evaluations = [("2025-01-04", before), (str(DAY), progressive), ("2025-01-06", {})]
    return refusals(GateConfig(**config), DAY, evaluations, own)


def test_a_healthy_model_passes():
    healthy = {"click": binary(0.70), "time": regression(10.0)}
    assert refused(healthy, healthy, healthy) == []
    assert refusals(GateConfig(), DAY, [], healthy) == []  # The first window: no day was evaluated before.
    # Margins: 0.02, and three standard errors of the difference, 3 * sqrt(2) * 0.005 = 0.0212.
    assert refused({"click": binary(0.66)}, {"click": binary(0.70)}, {"click": binary(0.66)}) == []


@pytest.mark.parametrize(
    ("progressive", "before", "own", "reason"),
    [
        (binary(0.65), binary(0.70), binary(0.70), "task: AUC 0.6500, 0.7000 on 2025-01-04, before"),
        (binary(0.70), binary(0.70), binary(0.67), "task: AUC 0.6700, 0.7000 before it was trained on the day"),
        (binary(0.70), binary(0.70), binary(0.70, 2.5), "task: predicts 2.5 of what was observed on 2025-01-05"),
        (binary(0.70), binary(0.70), binary(0.70, 0.3), "task: predicts 0.3 of what was observed on 2025-01-05"),
        (
            binary(0.70),
            binary(0.70),
            binary(0.70, logloss=float("nan")),
            "task: predictions on 2025-01-05 are not finite",
        ),
        (regression(13.0), regression(10.0), regression(13.0), "task: RMSE 13, 10 on 2025-01-04, before"),
        (regression(10.0), regression(10.0), regression(12.6), "task: RMSE 12.6, 10 before it was trained on the day"),
        (regression(10.0), regression(10.0), regression(None), "task: predictions on 2025-01-05 are not finite"),
    ],
)
def test_what_is_refused(progressive, before, own, reason):
    assert refused({"task": progressive}, {"task": before}, {"task": own}) == [reason]


def test_few_positives_say_little_of_calibration():
    # log(0.3) = -1.20; log(2) + 3 / sqrt(9) = 1.69, log(2) + 3 / sqrt(400) = 0.84.
    healthy = {"click": binary(0.7)}
    assert refused(healthy, healthy, {"click": binary(0.7, 0.3, positives=9)}) == []
    assert len(refused(healthy, healthy, {"click": binary(0.7, 0.3, positives=400)})) == 1


def test_an_odd_day_keeps_the_model_that_is_served(log, tmp_path):
    def flipped(table):
        return {"click": 1 - table["click"].to_numpy()}

    bad = poisoned(log, DAYS[3], tmp_path / "log", flipped)
    go(bad, tmp_path / "run", "export.when=every_window", "export.keep_versions=20")
    directory = tmp_path / "run" / "export"
    served = [export.metadata(directory / str(number))["window_end"] for number in export.versions(directory)]
    # On the odd day no model can be judged; the run then leaves it out, and goes on.
    assert served == [str(day) for day in DAYS if day != DAYS[3]]
    assert (directory / "latest").resolve().name == str(export.versions(directory)[-1])
    first, *_ = events(tmp_path / "run", "export_refused")
    assert first["window_end"] == str(DAYS[3])
    assert any(reason.startswith("click: AUC 0.3") for reason in first["reasons"])
