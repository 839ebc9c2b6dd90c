"""The map fitted to a histogram: its order, its shrinkage, and planted distortions that it undoes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfstable.calibration import MOST, Histogram, Knots, fit
from tfstable.specs import BinaryTask, RegressionTask

BINARY = BinaryTask(kind="binary")
LOG1P = RegressionTask(kind="regression", transform="log1p")
PLAIN = RegressionTask(kind="regression")
GRID = np.linspace(-20, 20, 2001)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logits(rng, n, centre=-2.0, width=1.2):
    return centre + width * rng.normal(size=n)


@settings(max_examples=60, deadline=None)
@given(
    task=st.sampled_from([BINARY, LOG1P, PLAIN]),
    seed=st.integers(0, 2**31),
    n=st.integers(1, 500),
    knots=st.integers(1, MOST),
    scale=st.sampled_from([0.01, 1.0, 6.0]),
)
def test_any_rows_give_a_finite_map_that_keeps_the_order(task, seed, n, knots, scale):
    rng = np.random.default_rng(seed)
    x, y = scale * rng.normal(size=n), rng.random(n) < rng.random()
    if task is not BINARY:
        y = y * rng.exponential(10.0 ** rng.integers(-2, 3), n)
    g = fit(task, Histogram.of(task, x, y, rng.choice([0, 1e-3, 1, 10], n)), knots)
    assert len(g.x) <= knots
    assert np.isfinite(g(GRID)).all()
    assert (np.diff(g(GRID)) > 0).all()


@pytest.mark.parametrize("task", [BINARY, LOG1P, PLAIN])
def test_without_rows_it_changes_nothing(task):
    rows = np.full(3, np.nan), np.ones(3), np.ones(3)
    for histogram in (Histogram.empty(), Histogram.of(task, *rows), Histogram.of(task, np.ones(3), *rows[:2])):
        np.testing.assert_array_equal(fit(task, histogram, 16)(GRID), GRID)


@pytest.mark.parametrize(
    ("distortion", "left"),
    # Beyond the outer knots the slope is 1, so some of a curve is left there.
    [(lambda x: x + 1.5, 0.02), (lambda x: x - 1, 0.02), (lambda x: 0.5 * x, 0.05), (lambda x: x + x**2 / 12, 0.15)],
)
def test_a_planted_distortion_of_probabilities_is_undone(distortion, left):
    rng = np.random.default_rng(1)
    x = logits(rng, 200_000)
    y = rng.random(len(x)) < sigmoid(distortion(x))
    g = fit(BINARY, Histogram.of(BINARY, x, y, np.ones(len(x))), 16)
    wanted = sigmoid(distortion(x))
    assert sigmoid(g(x)).sum() == pytest.approx(y.sum(), rel=2e-3)
    assert np.abs(sigmoid(g(x)) - wanted).mean() < left * np.abs(sigmoid(x) - wanted).mean()


def test_few_positives_shift_all_logits_alike_and_none_hardly_move_them():
    rng = np.random.default_rng(2)
    x = logits(rng, 1500, centre=-7.0)
    few = rng.random(len(x)) < sigmoid(x + 2)
    g = fit(BINARY, Histogram.of(BINARY, x, few, np.ones(len(x))), 16)
    assert 5 < few.sum() < 40
    assert len(g.x) <= 3
    assert np.ptp(g(x) - x) < 0.4 < np.mean(g(x) - x) < 2
    none = fit(BINARY, Histogram.of(BINARY, x[:100], np.zeros(100), np.ones(100)), 16)
    assert -0.1 < np.mean(none(x) - x) < 0


def test_a_reversed_order_is_pooled():
    rng = np.random.default_rng(3)
    x = logits(rng, 50_000, centre=0.0)
    y = rng.random(len(x)) < sigmoid(-x)
    g = fit(BINARY, Histogram.of(BINARY, x, y, np.ones(len(x))), 16)
    assert np.mean(sigmoid(g(x))) == pytest.approx(y.mean(), rel=5e-3)
    np.testing.assert_allclose(np.diff(g.y) / np.diff(g.x), 0.05)


def test_a_regression_of_logarithms_predicts_the_mean():
    """Duan's smearing: the noise of log(1 + y) adds s^2 / 2 to the logarithm of the mean; here s grows with x."""
    rng = np.random.default_rng(4)
    x = logits(rng, 200_000, centre=2.0, width=0.7)
    s = 0.6 + 0.2 * np.clip(x, 0, 4)
    y = np.expm1(np.maximum(x + s * rng.normal(size=len(x)), 0))
    g = fit(LOG1P, Histogram.of(LOG1P, x, y, np.ones(len(x))), 16)
    assert np.expm1(x).sum() / y.sum() < 0.7
    assert np.expm1(g(x)).sum() == pytest.approx(y.sum(), rel=0.01)
    for part in np.array_split(np.argsort(x), 8):
        assert np.expm1(g(x[part])).sum() == pytest.approx(y[part].sum(), rel=0.05)
    few = fit(LOG1P, Histogram.of(LOG1P, x[:60], y[:60], np.ones(60)), 16)
    np.testing.assert_allclose(few(x) - x, np.mean(few(x) - x), atol=0.15)  # One factor for all.
    assert np.mean(few(x) - x) > 0.1


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e5])
def test_a_regression_without_transform_is_equal_in_any_unit(unit):
    rng = np.random.default_rng(5)
    x = rng.normal(3, 1, 20_000)
    y = 0.8 * x + 2 + rng.normal(size=len(x))
    g = fit(PLAIN, Histogram.of(PLAIN, unit * x, unit * y, np.ones(len(x))), 16)
    assert g(unit * x).sum() == pytest.approx((unit * y).sum(), rel=1e-3)
    assert np.abs(g(unit * x) / unit - (0.8 * x + 2)).mean() < 0.05


def test_weights_count_by_their_ratios_and_a_sampled_negative_as_its_share():
    rng = np.random.default_rng(6)
    x = logits(rng, 100_000)
    y = (rng.random(len(x)) < sigmoid(x - 0.7)).astype(float)
    kept = (y == 1) | (rng.random(len(x)) < 0.2)
    whole = fit(BINARY, Histogram.of(BINARY, x, y, np.ones(len(x))), 16)
    scaled = fit(BINARY, Histogram.of(BINARY, x, y, np.full(len(x), 50.0)), 16)
    np.testing.assert_allclose(scaled(GRID), whole(GRID), rtol=1e-6)
    weights = np.where(y == 1, 1.0, 5.0)[kept]
    np.testing.assert_allclose(fit(BINARY, Histogram.of(BINARY, x[kept], y[kept], weights), 16)(x), whole(x), atol=0.15)


def test_a_histogram_adds_decays_and_returns_from_json():
    rng = np.random.default_rng(7)
    x, y, w = logits(rng, 1000), rng.random(1000) < 0.1, rng.random(1000)
    halves = Histogram.of(BINARY, x[:500], y[:500], w[:500]) + Histogram.of(BINARY, x[500:], y[500:], w[500:])
    whole = Histogram.of(BINARY, x, y, w)
    np.testing.assert_allclose(halves.sums, whole.sums, rtol=1e-12)
    np.testing.assert_allclose(whole.decayed(0.5).sums, Histogram.of(BINARY, x, y, w / 2).sums, rtol=1e-12)
    np.testing.assert_array_equal(Histogram.from_json(whole.to_json()).sums, whole.sums)
    np.testing.assert_array_equal(Histogram.from_json(Histogram.empty().to_json()).sums, 0)


def test_logits_beyond_the_edges_are_counted():
    wide = Histogram.of(BINARY, np.array([-1e6, -17, 17, 1e6]), np.zeros(4), np.ones(4))
    assert wide.sums[[0, -1], 0].tolist() == [2, 2]


def test_packed_knots_give_the_map():
    g = Knots(np.array([-1.0, 0.0, 2.0]), np.array([-2.0, 0.5, 1.0]))
    np.testing.assert_allclose(g(np.array([-3.0, -1.0, -0.5, 1.0, 2.0, 5.0])), [-4.0, -2.0, -0.75, 0.75, 1.0, 4.0])
    x, y, slope = g.packed()
    assert x.shape == (MOST,)
    np.testing.assert_array_equal(slope[:3], [2.5, 0.25, 0.0])
    np.testing.assert_array_equal(y[2:], 1.0)
    back = Knots.from_json(g.to_json())
    np.testing.assert_array_equal(back.packed(), g.packed())
