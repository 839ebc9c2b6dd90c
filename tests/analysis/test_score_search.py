"""Steps on a metric without a gradient: two estimates of one gradient, and where they lead."""

import numpy as np
import pytest

from tests.analysis import reference
from tfstable.analysis.score_search import METHODS, ascend, policy_gradient, zero_order_gradient
from tfstable.metrics import Lists

ESTIMATES = {"zero-order": zero_order_gradient, "policy-gradient": policy_gradient}
AT, S = np.array([0.8, -0.6]), 0.3


def cubic(x):
    return x[0] ** 3 + 2 * x[0] * x[1] - x[1] ** 2


def lists(seed=0, n=400):
    """NDCG@3 of lists whose gains follow a mixture of three scores, plus noise."""
    rng = np.random.default_rng(seed)
    scores, groups = rng.normal(size=(n, 3)) * [1.0, 0.1, 0.01], rng.integers(0, n // 8, n)
    wanted = scores @ [0.2, 5.0, -40.0]
    gains = (wanted + 0.1 * rng.normal(size=n) > np.quantile(wanted, 0.7)).astype(float)
    return lambda x: Lists(gains, scores @ (x / [1.0, 0.1, 0.01]), groups).ndcg(3).mean


@pytest.mark.parametrize("method", METHODS)
def test_an_estimate_is_its_formula(method):
    directions = np.random.default_rng(0).standard_normal((5, 2))
    slow = {"zero-order": reference.zero_order_gradient, "policy-gradient": reference.policy_gradient}[method]
    got = ESTIMATES[method](cubic, AT, S, directions)
    np.testing.assert_allclose(got, slow(cubic, AT, S, directions), rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_an_estimate_has_the_gradient_of_the_smoothed_metric_for_expectation(method):
    # Of J(x) = E cubic(x + s u): E (x0 + s u0)^3 = x0^3 + 3 s^2 x0.
    exact = np.array([3 * AT[0] ** 2 + 3 * S**2 + 2 * AT[1], 2 * AT[0] - 2 * AT[1]])
    rng = np.random.default_rng(1)
    draws = np.array([ESTIMATES[method](cubic, AT, S, rng.standard_normal((4, 2))) for _ in range(4000)])
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - exact) < 4 * error).all()
    assert (4 * error < 0.2).all()  # The gradient is (0.99, 2.8).


def test_both_agree_in_expectation_on_a_metric_of_lists():
    metric, at, rng = lists(), np.array([0.6, 0.7, 0.4]), np.random.default_rng(2)
    means, errors = [], []
    for estimate in ESTIMATES.values():  # A metric that steps: it has no gradient, smoothed it has.
        draws = np.array([estimate(metric, at, S, rng.standard_normal((8, 3))) for _ in range(100)])
        means.append(draws.mean(axis=0))
        errors.append(draws.std(axis=0) / np.sqrt(len(draws)))
    assert (np.abs(means[0] - means[1]) < 4 * np.hypot(*errors)).all()
    assert np.linalg.norm(means[0]) > 10 * np.linalg.norm(errors[0])  # It is no comparison of zeros.


@pytest.mark.parametrize("method", METHODS)
def test_the_ascent_comes_near_the_best_weights(method):
    metric = lists()
    best = metric(np.array([0.2, 0.5, -0.4]))  # The weights behind the gains, in units of the scores' spread.
    found = ascend(metric, [np.ones(3), *np.eye(3)], method=method, steps=25, pairs=4)
    assert found.value > 0.99 * best
    assert metric(np.ones(3)) < 0.8 * best
    assert np.linalg.norm(found.parameters) == pytest.approx(1)
    assert found.value == metric(found.parameters) == max(found.path)
    assert len(found.path) == 26


def test_bad_arguments_are_named():
    for wrong, message in (
        ({"method": "newton"}, "method must be one of zero-order, policy-gradient, got 'newton'"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"scale": 0.0}, "scale positive"),
    ):
        with pytest.raises(ValueError, match=message):
            ascend(cubic, [AT], **wrong)
    with pytest.raises(ValueError, match="at least 2 parameters, not all 0"):
        ascend(cubic, [np.zeros(2)])
    with pytest.raises(ValueError, match="must be a number"):
        ascend(lambda x: float("nan"), [AT])
    with pytest.raises(ValueError, match="at least 2 for a baseline"):
        policy_gradient(cubic, AT, S, np.ones((1, 2)))
