"""What a day's metrics say, each rule by itself, on made-up metrics."""

import math
from datetime import date

import pytest

from trainers.health.labels import chance_of_count, chance_of_split, label_fault
from trainers.health.verdict import EARLIER_DAYS, evaluation_faults, healthy_days, judge

NAN = math.nan


def binary(auc=0.70, se=0.01, calibration=1.0, positives=400, labels=4000, **changed) -> dict:
    metrics = {"auc": auc, "auc_se": se, "logloss": 0.5, "calibration": calibration, "spread": 0.8}
    counts = {"labels": labels, "positives": positives, "predicted": positives * (calibration or 0.0)}
    return {**metrics, **counts, **changed}


def regression(rmse=20.0, **changed) -> dict:
    return {"rmse": rmse, "mae": 5.0, "spread": 9.0, "labels": 4000, "positives": 3000, "predicted": 4e4, **changed}


def unlabelled(kind=binary, **changed) -> dict:
    """Metrics of a day without a label, or on which every row weighs 0."""
    return dict.fromkeys(kind(), NAN) | {"spread": 0.8, "labels": 0, "positives": 0, "predicted": 0.0} | changed


def said(days: dict[str, list[dict]], jumped: bool = False) -> list[str]:
    return [fault.line for fault in evaluation_faults(days, jumped)]


# --- Predictions.


def test_predictions_that_are_not_finite_for_one_task_and_for_all():
    broken = binary(auc=NAN, spread=NAN)
    assert said({"click": [binary(), broken], "watch": [regression()]}) == ["click: predictions are not finite"]
    both = {"click": [binary(), broken], "watch": [regression(NAN, spread=NAN)]}
    assert said(both) == ["predictions are not finite"]
    # Whatever the day's labels.
    assert said({"click": [unlabelled(spread=NAN)]}) == ["predictions are not finite"]


def test_no_label_is_no_verdict():
    assert said({"click": [binary(), unlabelled()], "watch": [regression()]}) == []
    assert said({"click": [binary(), unlabelled()], "watch": [unlabelled(regression)]}, jumped=True) == []
    assert not judge(date(2025, 1, 2), {"click": unlabelled()}, [], {}).labelled
    assert judge(date(2025, 1, 2), {"click": unlabelled(), "like": binary()}, [], {}).labelled


def test_a_model_that_says_the_same_of_everything_is_dead():
    dead = {"click": [binary(0.5, 0.0, spread=0.0)], "watch": [regression(spread=0.0)]}
    assert said(dead) == ["every task's predictions are all the same"]
    assert said({"click": [unlabelled(spread=0.0)]}) == ["every task's predictions are all the same"]
    assert said({**dead, "like": [binary(0.503)]}) == []


# --- Labelled rows.


def test_an_auc_lost_to_chance_is_told_where_it_was_measurable():
    assert said({"click": [binary(), binary(0.71)]}) == []
    (line,) = said({"click": [binary(), binary(0.51)]})
    assert line.startswith("click: AUC 0.5100")
    # A rare task: 0.60 +- 0.05 has never been measurably above chance.
    assert said({"follow": [binary(0.6, 0.05), binary(0.5, 0.05)]}) == []
    assert said({"click": [binary(0.5)]}) == []  # No earlier day: nothing was lost.


def test_a_network_that_died_in_its_first_steps_is_told_by_its_jump_and_its_day():
    dead = {"click": [binary(0.505)], "like": [binary(0.48, 0.03)], "watch": [regression()]}
    assert said(dead) == []
    assert said(dead, jumped=True) == ["no task's AUC is above chance, and the losses jumped"]
    assert said({**dead, "like": [binary(0.6, 0.03)]}, jumped=True) == []
    assert said({"like": [binary(0.55, 0.07)]}, jumped=True) == []  # Too few positives to tell 0.6 from chance.


def test_an_auc_that_lost_most_of_its_excess_is_told():
    assert len(said({"click": [binary(0.70, 0.004), binary(0.55, 0.004)]})) == 1
    assert said({"click": [binary(0.70, 0.004), binary(0.65, 0.004)]}) == []


def test_absurd_error():
    assert said({"watch": [regression(20), regression(22)]}) == []
    assert "RMSE" in said({"watch": [regression(20), regression(22), regression(300)]})[0]


def test_absurd_calibration():
    assert said({"click": [binary(), binary(calibration=30.0)]}) == ["click: calibration 30"]
    assert said({"click": [binary(calibration=20.0), binary(calibration=30.0)]}) == []  # It has always been so,
    days = [binary(), binary(calibration=20.0), binary()]
    assert said({"click": [*days, binary(calibration=0.03)]}) == ["click: calibration 0.03"]  # and here it has not.


@pytest.mark.parametrize("earlier", [NAN, None])
def test_a_day_whose_calibration_is_unknown_switches_no_rule_off(earlier):
    days = [binary(), binary(calibration=earlier, predicted=0.1, positives=0)]
    assert said({"click": [*days, binary(calibration=0.04)]}) == ["click: calibration 0.04"]
    assert said({"click": [days[1], binary(calibration=0.04)]}) == ["click: calibration 0.04"]


@pytest.mark.parametrize(("positives", "predicted", "absurd"), [(1, 0.05, False), (0, 3, False), (2, 40, True)])
def test_few_positives_make_no_absurd_calibration(positives, predicted, absurd):
    today = binary(calibration=predicted / positives if positives else NAN, positives=positives, predicted=predicted)
    assert bool(said({"follow": [binary(positives=3)] * 5 + [today]})) == absurd


def test_positives_predicted_where_there_is_none():
    today = binary(calibration=NAN, positives=0, predicted=50.0)
    assert said({"follow": [binary(positives=1), today]}) == ["follow: 50 positives predicted, none observed"]


# --- The labels themselves.


def fault(positives: int, earlier: list[int], predicted: float | None = None, labels: int = 1000) -> str | None:
    today = binary(positives=positives, labels=labels, predicted=positives if predicted is None else predicted)
    return label_fault("click", "2025-01-09", today, [binary(positives=k, labels=1000) for k in earlier])


def test_a_frequent_task_without_a_positive_is_a_broken_join():
    assert fault(0, [300] * 3) == "click: no positive among 1,000 labels on 2025-01-09, about 300 expected"
    assert fault(0, [300]) is not None
    assert fault(0, [20] * 10) is not None
    assert fault(0, [], predicted=300) == "click: no positive among 1,000 labels on 2025-01-09, about 300 expected"


@pytest.mark.parametrize("daily", [0, 1, 3, 8])
def test_a_rare_task_may_have_no_positive(daily):
    assert fault(0, [daily] * 10) is None
    assert fault(0, [daily]) is None
    assert fault(0, [], predicted=daily) is None
    assert fault(0, [0] * 5, predicted=0.01) is None


def test_one_rich_day_of_a_rare_task_says_little():
    assert fault(0, [12]) is None  # 12 then and 0 now: once in 4,000 such pairs.
    assert fault(0, [12] * 10) is not None


def test_labels_that_are_all_positive():
    assert fault(1000, [300] * 3) == "click: no negative among 1,000 labels on 2025-01-09, about 700 expected"
    assert fault(1000, [995] * 10) is None  # Five negatives a day: there may be none.


def test_a_rate_that_falls_or_jumps_tenfold():
    assert fault(25, [300] * 3) == "click: 25 positives among 1,000 labels on 2025-01-09, about 300 expected"
    assert fault(40, [300] * 3) is None
    assert fault(25, [300] * 3, predicted=25) is not None  # A model that has learned a broken join does not mend it.
    assert (
        fault(400, [30] * 3, predicted=30) == "click: 400 positives among 1,000 labels on 2025-01-09, about 30 expected"
    )
    assert fault(400, [30] * 3, predicted=380) is None  # What rose for good is learned.
    assert fault(3, [0, 0, 1], predicted=0.2) is None
    assert fault(200, [0] * 10, predicted=0.2) is None  # A task that begins.


def test_a_regression_whose_labels_are_all_zero():
    today, before = regression(positives=0), regression(positives=3000)
    (line,) = judge(date(2025, 1, 9), {"watch": today}, [("2025-01-08", {"watch": before})], {}).labels.values()
    assert line == "watch: no label other than 0 among 4,000 labels on 2025-01-09, about 3,000 expected"
    assert label_fault("watch", "", regression(positives=4000), [regression(positives=300)]) is None


def test_nothing_is_said_of_a_model_by_labels_that_are_wrong():
    evaluations = [("2025-01-08", {"click": binary(), "like": binary()})]
    broken = binary(NAN, NAN, calibration=NAN, positives=0, predicted=420.0)
    verdict = judge(date(2025, 1, 9), {"click": broken, "like": binary()}, evaluations, {})
    assert list(verdict.labels) == ["click"]
    assert verdict.faults == []
    assert not verdict.labelled


def test_probabilities_are_bounds_that_are_exact_where_nothing_is_counted():
    assert chance_of_count(0, 9.0) == pytest.approx(math.exp(-9))
    assert chance_of_count(0, 0) == chance_of_count(7, 7) == 1
    # Of 30 positives in eleven equal days none on the last: (10 / 11)^30.
    assert chance_of_split(0, 100, 30, 1000) == pytest.approx((10 / 11) ** 30)
    tail = sum(math.exp(-4) * 4**k / math.factorial(k) for k in range(12, 60))
    assert tail < chance_of_count(12, 4) < 20 * tail


# --- Which days count.


def test_odd_and_unlabelled_days_are_no_yardstick():
    days = [(f"2025-01-{d:02}", {"click": binary(0.7 + d / 1000), "like": binary(0.6)}) for d in range(1, 20)]
    days[17][1]["click"] = unlabelled()
    odd = {"2025-01-17": {"click": ["a reason"]}}
    assert [day for day, _ in healthy_days("click", days, odd, date(2025, 1, 19))] == [
        f"2025-01-{d:02}" for d in range(16 - EARLIER_DAYS + 1, 17)
    ]
    assert [day for day, _ in healthy_days("like", days, odd, date(2025, 1, 19))][-2:] == ["2025-01-17", "2025-01-18"]
    since = healthy_days("click", days, odd, date(2025, 1, 19), since=date(2025, 1, 15))
    assert [day for day, _ in since] == ["2025-01-15", "2025-01-16"]


def test_labels_shuffled_for_good_stay_odd():
    days, odd = [(f"2025-01-{d:02}", {"click": binary()}) for d in range(1, 4)], {}
    for d in range(4, 31):
        day, today = date(2025, 1, d), {"click": binary(0.5)}
        (line,) = judge(day, today, days, odd).faults
        odd[str(day)] = {"click": [line.line]}
        days.append((str(day), today))
