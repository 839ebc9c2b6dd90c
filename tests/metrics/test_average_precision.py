"""PR-AUC against its definition, and its standard errors against resampling; normalised entropy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfstable.metrics import (
    average_precision,
    average_precision_difference,
    log_loss,
    normalised_entropy,
    normalised_entropy_difference,
)

ROWS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, float("nan")]),
        st.sampled_from([0.1, 0.5, 0.9]) | st.floats(0, 1),
        st.sampled_from([0.0, 1.0]) | st.floats(1e-3, 1e3),
    ),
    min_size=1,
    max_size=20,
)


def by_thresholds(labels, predictions, weights):
    kept = ~np.isnan(labels) & (weights > 0)
    y, p, w = labels[kept], predictions[kept], weights[kept]
    if not y.any():
        return float("nan")
    precision = [np.sum((w * y)[p >= t]) / np.sum(w[p >= t]) for t in p]
    return float(np.sum(w * y * precision) / np.sum(w * y))


@given(ROWS)
def test_average_precision(rows):
    labels, predictions, weights = map(np.array, zip(*rows, strict=True))
    for w in (weights, np.ones(len(rows))):
        expected = by_thresholds(labels, predictions, w)
        assert average_precision(labels, predictions, w).value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def sample(n=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.2).astype(float)
    first = (labels + rng.normal(0, 1.0, n)).round(1)  # With ties.
    return labels, first, first + rng.normal(0, 0.5, n).round(1), rng.random(n) + 0.5


def test_standard_errors_are_derivatives_by_the_weights():
    labels, first, second, weights = sample(60)
    found = average_precision(labels, first, weights)
    paired = average_precision_difference(labels, first, second, weights)
    moved = [weights + step for step in 1e-6 * np.eye(60)]
    alone = [average_precision(labels, first, w).value - found.value for w in moved]
    apart = [average_precision_difference(labels, first, second, w).difference - paired.difference for w in moved]
    for error, changes in ((found.se, alone), (paired.difference_se, apart)):
        slopes = np.array(changes) / 1e-6
        assert error == pytest.approx(np.sqrt(60 / 59 * np.sum((weights * slopes) ** 2)), rel=1e-4)


def test_standard_errors_are_those_of_other_days():
    days = [sample(600, seed) for seed in range(300)]
    found = [average_precision(labels, first) for labels, first, _, _ in days]
    assert np.mean([f.se for f in found]) == pytest.approx(np.std([f.value for f in found]), rel=0.1)
    paired = [average_precision_difference(labels, first, second) for labels, first, second, _ in days]
    assert np.mean([f.difference_se for f in paired]) == pytest.approx(np.std([f.difference for f in paired]), rel=0.1)
    assert paired[0].first == found[0].value
    assert paired[0].difference == pytest.approx(paired[0].second - paired[0].first)


def test_one_value_for_all_rows_gets_the_base_rate():
    assert average_precision([1, 0, 0, 0], [0.5] * 4).value == 0.25
    assert np.isnan(average_precision([1, 0, 0, 0], [0.5] * 4).se)  # A single positive.


@pytest.mark.parametrize("rows", [([], []), ([0, 0], [0.1, 0.2]), ([1, 0], [np.nan, 0.1]), ([np.nan], [0.1])])
def test_nothing_to_measure(rows):
    assert np.isnan(average_precision(*rows)).all()
    assert np.isnan(normalised_entropy(*rows))


@given(ROWS)
def test_normalised_entropy_is_the_log_loss_over_that_of_the_base_rate(rows):
    labels, predictions, weights = map(np.array, zip(*rows, strict=True))
    kept = ~np.isnan(labels) & (weights > 0)
    rate = np.average(labels[kept], weights=weights[kept]) if kept.any() else 0.0
    expected = float("nan")
    if 1e-6 < rate < 1 - 1e-6:  # Closer, log_loss clips the rate.
        expected = log_loss(labels, predictions, weights) / log_loss(labels, np.full(len(rows), rate), weights)
    elif 0 < rate < 1:
        return
    assert normalised_entropy(labels, predictions, weights) == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_difference_of_normalised_entropies():
    labels, _, _, weights = sample()
    rng = np.random.default_rng(1)
    first, second = rng.uniform(0.1, 0.3, (2, 300))
    found = normalised_entropy_difference(labels, first, second, weights)
    assert (found.first, found.second) == tuple(normalised_entropy(labels, p, weights) for p in (first, second))
    assert found.difference == pytest.approx(found.second - found.first)
    days = []
    for seed in range(300):
        labels = (np.random.default_rng(seed).random(300) < 0.2).astype(float)
        days.append(normalised_entropy_difference(labels, first, second))
    # The rows' predictions stay the same here, and only their labels are drawn.
    assert np.mean([d.difference_se for d in days]) == pytest.approx(np.std([d.difference for d in days]), rel=0.25)
