"""The export gate: its rules on metrics by hand, and what a run publishes on poisoned days."""

from datetime import date
from pathlib import Path

import pytest

from tests.trainers.poisoned import DAYS, events, go, healthy_log, poisoned
from tfstable.serving import export
from trainers.config import GateConfig
from trainers.health.gate import refusals

DAY = date(2025, 1, 5)
NAN = float("nan")


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return healthy_log(tmp_path_factory.mktemp("gate") / "log")


def binary(auc: float, calibration: float = 1.0, positives: int = 400, **changed) -> dict:
    counts = {"labels": 4000, "positives": positives, "predicted": positives * calibration, "spread": 0.8}
    return {"auc": auc, "auc_se": 0.005, "logloss": 0.3, "calibration": calibration, **counts, **changed}


def regression(rmse: float, **changed) -> dict:
    counts = {"labels": 4000, "positives": 3000, "predicted": 4e4, "spread": 9.0}
    return {"rmse": rmse, "rmse_se": 0.1, "mae": rmse, **counts, **changed}


def unlabelled(metrics: dict, **changed) -> dict:
    return dict.fromkeys(metrics, NAN) | {"spread": 0.8, "labels": 0, "positives": 0, "predicted": 0.0} | changed


def refused(progressive: dict, before: dict, own: dict, odd: dict | None = None, **config) -> list[str]:
    evaluations = [("2025-01-04", before), (str(DAY), progressive), ("2025-01-06", {})]
    return refusals(GateConfig(**config), DAY, evaluations, own, odd)


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
        (binary(0.70), binary(0.70), binary(NAN, spread=NAN), "task: predictions on 2025-01-05 are not finite"),
        (
            binary(0.70),
            binary(0.70),
            binary(0.5, spread=0.0),
            "task: predicts the same value for every row of 2025-01-05",
        ),
        (regression(13.0), regression(10.0), regression(13.0), "task: RMSE 13, 10 on 2025-01-04, before"),
        (regression(10.0), regression(10.0), regression(12.7), "task: RMSE 12.7, 10 before it was trained on the day"),
        (
            regression(9.0),
            regression(9.0),
            regression(NAN, spread=NAN),
            "task: predictions on 2025-01-05 are not finite",
        ),
        (
            regression(9.0),
            regression(9.0),
            regression(9, spread=0.0),
            "task: predicts the same value for every row of 2025-01-05",
        ),
    ],
)
def test_what_is_refused(progressive, before, own, reason):
    assert refused({"task": progressive}, {"task": before}, {"task": own}) == [reason]


def test_few_positives_say_little_of_calibration():
    # log(0.3) = -1.20; log(2) + 3 / sqrt(9) = 1.69, log(2) + 3 / sqrt(400) = 0.84.
    healthy = {"click": binary(0.7, positives=9)}
    assert refused(healthy, healthy, {"click": binary(0.7, 0.3, positives=9)}) == []
    assert len(refused(healthy, healthy, {"click": binary(0.7, 0.3, positives=400)})) == 1


def test_few_positives_say_little_of_an_auc():
    few = {"follow": binary(0.39, positives=3, auc_se=0.1)}
    assert refused(few, few, {"follow": binary(0.30, positives=3, auc_se=0.1)}) == []
    one = {"follow": binary(0.9, positives=1, auc_se=NAN)}
    assert refused({"follow": binary(0.1, positives=1, auc_se=NAN)}, one, {"follow": one["follow"]}) == []


def test_a_task_without_labels_on_the_day_is_judged_by_its_predictions_and_by_earlier_days():
    healthy = {"click": binary(0.70), "time": regression(10.0)}
    nothing = {name: unlabelled(metrics) for name, metrics in healthy.items()}
    for day in (nothing, {**healthy, "click": nothing["click"]}):
        assert refused(day, healthy, day) == []
        assert refusals(GateConfig(), DAY, [], day) == []
    broken = {**healthy, "click": unlabelled(healthy["click"], spread=NAN)}
    assert refused(nothing, healthy, broken) == ["click: predictions on 2025-01-05 are not finite"]
    dead = {name: {**metrics, "spread": 0.0} for name, metrics in nothing.items()}
    assert len(refused(nothing, healthy, dead)) == 2
    # The newest day with labels says that something was wrong.
    earlier = [(f"2025-01-0{d}", {"click": binary(0.70 if d < 4 else 0.50)}) for d in range(1, 5)]
    evaluations = [*earlier, (str(DAY), {"click": nothing["click"]})]
    (reason,) = refusals(GateConfig(), DAY, evaluations, {"click": nothing["click"]})
    assert reason == "click: AUC 0.5000, 0.7000 on the median of 3 healthy days before"


def test_the_yardstick_is_the_median_of_the_last_healthy_days():
    def run(*aucs: float, odd: dict | None = None) -> list[str]:
        evaluations = [(f"2025-01-{d:02}", {"click": binary(auc)}) for d, auc in enumerate(aucs, 1)]
        return refusals(GateConfig(), date(2025, 1, len(aucs)), evaluations, {"click": binary(aucs[-1])}, odd)

    assert run(0.70, 0.70, 0.70, 0.50, 0.50) == ["click: AUC 0.5000, 0.7000 on the median of 4 healthy days before"]
    assert run(0.70, 0.70, 0.70, 0.99, 0.70) == []  # A day that leaked its labels is no yardstick.
    # Days that were told odd are none either, and are not served themselves.
    odd = {f"2025-01-{d:02}": {"click": ["click: a reason"]} for d in range(3, 13)}
    assert run(0.70, 0.70, *[0.50] * 10, 0.70, odd=odd) == []
    assert len(run(0.70, 0.70, *[0.50] * 10, 0.50, odd=odd)) == 1
    assert run(0.70, 0.70, 0.70, odd=odd) == ["click: a reason on 2025-01-03"]
    assert (
        refusals(
            GateConfig(),
            DAY,
            [("2025-01-04", {"click": binary(0.7)}), (str(DAY), {"click": binary(0.5)})],
            {"click": binary(0.5)},
            since=DAY,
        )
        == []
    )


def test_labels_of_the_day_are_judged_where_no_evaluation_did():
    own = {"click": binary(NAN, NAN, positives=0, predicted=350.0)}
    (reason,) = refusals(GateConfig(), DAY, [("2025-01-04", {"click": binary(0.7)})], own)
    assert reason == "click: no positive among 4,000 labels on 2025-01-05, about 400 expected"
    assert len(refusals(GateConfig(), DAY, [], own)) == 1
    rare = {"follow": binary(NAN, NAN, positives=0, predicted=2.0)}
    assert refusals(GateConfig(), DAY, [("2025-01-04", {"follow": binary(0.7, positives=2)})], rare) == []
    eager = {"follow": binary(NAN, NAN, positives=0, predicted=40.0)}
    (reason,) = refusals(GateConfig(), DAY, [("2025-01-04", {"follow": binary(0.7, positives=2)})], eager)
    assert reason == "follow: predicts 40 positives on 2025-01-05, which has none"


def test_a_task_that_never_had_a_positive_may_tell_nothing_apart():
    never = {"follow": binary(NAN, NAN, positives=0, predicted=0.5, spread=0.0)}
    assert refused(never, never, never) == []
    once = {"follow": binary(0.6, positives=1)}
    assert refused(never, once, never) == ["follow: predicts the same value for every row of 2025-01-05"]


def test_an_odd_day_keeps_the_model_that_is_served(log, tmp_path):
    def flipped(table):
        return {"click": 1 - table["click"].to_numpy()}

    bad = poisoned(log, DAYS[3], tmp_path / "log", flipped)
    go(bad, tmp_path / "run", "export.when=every_window", "export.keep_versions=20")
    directory = tmp_path / "run" / "export"
    served = [export.metadata(directory / str(number)).window_end for number in export.versions(directory)]
    # On the odd day no model can be judged; the run then leaves it out, and goes on.
    assert served == [str(day) for day in DAYS if day != DAYS[3]]
    assert (directory / "latest").resolve().name == str(export.versions(directory)[-1])
    first, *_ = events(tmp_path / "run", "export_refused")
    assert first["window_end"] == str(DAYS[3])
    assert any(reason.startswith("click: AUC 0.3") for reason in first["reasons"])
