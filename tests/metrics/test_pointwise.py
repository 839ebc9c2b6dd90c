"""Metrics that are sums over rows: calibration, log loss, regression errors, prediction difference."""

import numpy as np
import pytest

from tfstable.metrics import (
    calibration,
    expected_calibration_error,
    log_loss,
    mae,
    prediction_difference,
    rmse,
    rmse_difference,
    rmse_standard_error,
)

ALL = [calibration, expected_calibration_error, log_loss, rmse, mae]


def test_by_hand():
    labels, predictions = [1, 0, 0, 1], [0.5, 0.25, 0.25, 0.5]
    assert calibration(labels, predictions) == 1.5 / 2
    assert log_loss(labels, predictions) == pytest.approx((2 * np.log(2) - 2 * np.log(0.75)) / 4)
    assert rmse(labels, predictions) == pytest.approx(np.sqrt((2 * 0.25 + 2 * 0.0625) / 4))
    assert mae(labels, predictions) == pytest.approx((2 * 0.5 + 2 * 0.25) / 4)
    # Two bins: 0.25 predicted where none happens, 0.5 where all do.
    assert expected_calibration_error(labels, predictions, bins=2) == pytest.approx((2 * 0.25 + 2 * 0.5) / 4)
    assert expected_calibration_error(labels, predictions, bins=1) == pytest.approx(0.125)


@pytest.mark.parametrize("metric", ALL)
def test_whole_weights_are_repeated_rows(metric):
    rng = np.random.default_rng(0)
    labels, predictions, times = rng.integers(0, 2, 200), rng.random(200).round(1), rng.integers(0, 4, 200)
    if metric is expected_calibration_error:  # its bins hold equally many rows, whatever they weigh
        times = np.full(200, 3)
    repeated = metric(np.repeat(labels, times), np.repeat(predictions, times))
    assert metric(labels, predictions, times) == pytest.approx(repeated)


@pytest.mark.parametrize("metric", ALL)
def test_masked_rows_are_left_out_with_their_predictions(metric):
    expected = metric([1, 0, 1], [0.4, 0.3, 0.9], [1, 2, 3])
    assert metric([1, np.nan, 0, 1], [0.4, np.nan, 0.3, 0.9], [1, np.nan, 2, 3]) == expected
    assert metric([1, 1, 0, 1], [0.4, np.inf, 0.3, 0.9], [1, 0, 2, 3]) == expected


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("prediction", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_makes_it_nan(metric, prediction):
    assert np.isnan(metric([1, 0], [prediction, 0.3]))


@pytest.mark.parametrize("metric", ALL)
def test_no_rows(metric):
    assert np.isnan(metric([], []))
    assert np.isnan(metric([np.nan], [0.5]))


@pytest.mark.parametrize("metric", [*ALL, prediction_difference])
def test_wrong_lengths_are_named(metric):
    with pytest.raises(ValueError, match="must have as many rows as the other arrays: 2, got 3"):
        metric([1, 0], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("metric", [log_loss, expected_calibration_error])
def test_logits_are_not_probabilities(metric):
    with pytest.raises(ValueError, match=r"predictions must be between 0 and 1, got 1\.5"):
        metric([1, 0], [0.3, 1.5])


def test_log_loss_of_certain_float32_probabilities_is_finite():
    predictions = np.array([0.0, 1.0], dtype=np.float32)
    assert log_loss([1, 0], predictions) == pytest.approx(-np.log(1e-7))
    assert log_loss([0, 1], predictions) == pytest.approx(1e-7, rel=1e-6)


def test_calibration_without_positives_is_nan():
    assert np.isnan(calibration([0, 0], [0.1, 0.2]))


def test_true_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    p = rng.beta(2, 5, 200_000)
    labels = (rng.random(200_000) < p).astype(float)
    assert calibration(labels, p) == pytest.approx(1, abs=0.02)
    assert expected_calibration_error(labels, p) < 0.01
    assert expected_calibration_error(labels, np.sqrt(p)) > 0.1
    shuffled = rng.permutation(len(p))
    rounded = p.round(2)
    assert expected_calibration_error(labels[shuffled], rounded[shuffled]) == pytest.approx(
        expected_calibration_error(labels, rounded), abs=1e-12
    )


def test_prediction_difference():
    # 2 * 0.1 / 0.3 = 2/3; equal: 0; both 0: 0; one of them 0: 2.
    first, second = np.array([0.1, 0.4, 0.0, 0.0]), np.array([0.2, 0.4, 0.0, 0.3])
    assert prediction_difference(first, second) == pytest.approx((2 / 3 + 0 + 0 + 2) / 4)
    assert prediction_difference(first, second, [1, 0, 0, 1]) == pytest.approx((2 / 3 + 2) / 2)
    assert prediction_difference(first, second) == prediction_difference(second, first)
    assert prediction_difference(7 * first, 7 * second) == pytest.approx(prediction_difference(first, second))
    assert np.isnan(prediction_difference([0.1, np.nan], [0.1, 0.2]))
    assert np.isnan(prediction_difference([], []))
    # A regression may predict below 0: the magnitudes are the scale. 2 * 3 / (1 + 2), and opposite signs differ wholly.
    assert prediction_difference([-1.0], [2.0]) == 2.0
    assert prediction_difference([-1.0], [-3.0]) == 1.0


def test_rmse_difference_and_its_error():
    rng = np.random.default_rng(0)
    differences, errors = [], []
    for _ in range(500):
        labels, weights = rng.normal(size=200), rng.exponential(size=200)
        common = rng.normal(size=200)
        first, second = (labels + common + 0.5 * rng.normal(size=200) for _ in range(2))
        got = rmse_difference(labels, first, second, weights)
        differences.append(got.difference)
        errors.append(got.difference_se)
    assert (got.first, got.second) == pytest.approx((rmse(labels, first, weights), rmse(labels, second, weights)))
    assert got.difference == pytest.approx(got.second - got.first)
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.1)
    # By hand: errors 1, 1 against 1, 3: R = 1 and sqrt 5; d = 0, 8 has a mean of 4 with a variance of 2 / 1 * 32 / 4.
    assert rmse_difference([0, 0], [1, 1], [1, 3]) == pytest.approx(
        (1, np.sqrt(5), np.sqrt(5) - 1, 4 / (1 + np.sqrt(5)))
    )
    assert rmse_difference([0, np.nan], [0, np.inf], [0, 1])[:3] == (0, 0, 0)
    assert np.isnan(rmse_difference([0, 1], [0, np.inf], [0, 1])).all()


def test_standard_error_of_rmse_is_the_scatter_of_samples():
    rng = np.random.default_rng(0)
    samples = [(rng.normal(size=400), rng.exponential(size=400)) for _ in range(600)]
    seen = np.std([rmse(labels, predictions) for labels, predictions in samples])
    stated = np.mean([rmse_standard_error(labels, predictions) for labels, predictions in samples])
    assert stated == pytest.approx(seen, rel=0.1)
    assert rmse_standard_error([1.0, 2.0], [1.0, 2.0]) == 0
    assert np.isnan(rmse_standard_error([1.0], [2.0]))
    # By hand: squares 1 and 9, mean 5, variance of the mean 2 / 1 * (16 + 16) / 4 = 16, root 4, over 2 sqrt(5).
    assert rmse_standard_error([0.0, 0.0], [1.0, 3.0]) == pytest.approx(4 / (2 * np.sqrt(5)))
