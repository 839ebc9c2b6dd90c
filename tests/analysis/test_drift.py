"""Drift against sums by hand and by definition."""

import numpy as np
import pytest

from tfstable.analysis.drift import deviation_ratio, population_stability_index, standardised_shift


def test_shift_and_ratio_are_in_fitted_deviations():
    x = np.array([10.0, 14.0])
    assert standardised_shift(x, mean=8.0, deviation=2.0) == 2.0
    assert deviation_ratio(x, deviation=4.0) == 0.5


def test_what_cannot_be_measured_is_nan():
    nothing, one = np.zeros(0), np.ones(1)
    assert np.isnan([standardised_shift(nothing, 0.0, 1.0), deviation_ratio(nothing, 1.0)]).all()
    assert np.isnan([standardised_shift(one, 0.0, 0.0), deviation_ratio(one, 0.0)]).all()
    assert np.isnan(population_stability_index(np.zeros(3), np.ones(3)))
    assert np.isnan(population_stability_index(np.ones(3), np.zeros(3)))


def test_the_index_is_the_sum_of_its_definition():
    e, a = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.2])
    expected = 0.2 * np.log(2) + 0.1 * np.log(4 / 3) - 0.3 * np.log(0.4)
    assert population_stability_index(1e8 * e, 1e8 * a) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("rows", "buckets"), [(300, 10), (2000, 32)])
def test_samples_of_one_distribution_have_an_index_of_about_zero(rows, buckets):
    rng = np.random.default_rng(0)
    e, a = rng.multinomial(rows, [1 / buckets] * buckets, size=(2, 400))
    found = [population_stability_index(x, y) for x, y in zip(e, a, strict=True)]
    noise = (buckets - 1) * 2 / rows
    assert np.mean(found) < noise / 2  # Without the correction it is the noise.
    assert np.max(found) < 3 * noise


def test_rows_that_share_their_values_are_fewer_draws():
    # Each of 50 videos has 40 rows: by its rows, the index of two samples of one distribution looks like a change.
    rng = np.random.default_rng(0)
    e, a = 40 * rng.multinomial(50, [0.1] * 10, size=(2, 400))
    by_rows = np.mean([population_stability_index(x, y) for x, y in zip(e, a, strict=True)])
    by_videos = np.mean([population_stability_index(x, y, draws=50) for x, y in zip(e, a, strict=True)])
    assert by_rows > 0.25 > 0.15 > by_videos
