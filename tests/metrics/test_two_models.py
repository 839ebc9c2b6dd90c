"""Churn, rank correlation, and the distribution of the prediction difference."""

import numpy as np
import pytest

from tfstable.metrics import (
    kendall,
    prediction_difference,
    prediction_difference_by,
    prediction_difference_quantiles,
    spearman,
    top_k_churn,
)


def pairwise_kendall(first, second):
    """Kendall 1945, every pair of rows."""
    i, j = np.triu_indices(len(first), 1)
    a, b = np.sign(first[i] - first[j]), np.sign(second[i] - second[j])
    return (a * b).sum() / np.sqrt((a != 0).sum() * (b != 0).sum())


def looped_churn(first, second, groups, k):
    shares = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(rows) > k:
            tops = [set(sorted(rows, key=lambda row, p=p: (-p[row], row))[:k]) for p in (first, second)]
            shares.append(1 - len(tops[0] & tops[1]) / k)
    return np.mean(shares), len(shares)


# --- Rank correlation.


@pytest.mark.parametrize("levels", [3, 10, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_correlations_equal_their_definitions_with_ties(seed, levels):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, levels, 101) / levels
    second = np.where(rng.random(101) < 0.5, first, rng.integers(0, levels, 101) / levels)
    assert kendall(first, second) == pytest.approx(pairwise_kendall(first, second), abs=1e-12)
    ranks = [np.array([(p < v).sum() + ((p == v).sum() + 1) / 2 for v in p]) for p in (first, second)]
    assert spearman(first, second) == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-12)


@pytest.mark.parametrize("correlation", [kendall, spearman])
def test_correlations_see_the_order_alone(correlation):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 500))
    assert correlation(first, np.exp(first)) == pytest.approx(1, abs=1e-12)
    assert correlation(first, -first) == pytest.approx(-1, abs=1e-12)
    assert correlation(first, second) == pytest.approx(correlation(second, first), abs=1e-12)
    assert abs(correlation(first, second)) < 0.15
    shuffled = rng.permutation(500)
    assert correlation(first[shuffled], second[shuffled]) == pytest.approx(correlation(first, second), abs=1e-12)
    assert np.isnan(correlation(first, np.zeros(500)))
    assert np.isnan(correlation([], []))
    assert np.isnan(correlation([1, np.nan], [1, 2]))
    with pytest.raises(ValueError, match="second must have as many rows"):
        correlation([1, 2], [1])


def test_kendall_by_hand():
    # Pairs of (1, 2, 3, 4) in (2, 1, 4, 3): two of six are turned round.
    assert kendall([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx((4 - 2) / 6)


# --- Churn.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 3, 10])
def test_churn_equals_a_loop_over_groups(seed, k):
    rng = np.random.default_rng(seed)
    groups = rng.zipf(1.3, 400) % 40
    first, second = rng.integers(0, 8, (2, 400)) / 8
    expected = looped_churn(first, second, groups, k)
    assert top_k_churn(first, second, groups, k) == pytest.approx(expected)
    assert top_k_churn(second, first, groups.astype(str), k) == pytest.approx(expected)


def test_churn_by_hand():
    # "a": top 2 of {0, 1, 2, 3} are {0, 1} and {0, 3}; "b": {4, 5} and {4, 5}; "c" has no more than 2 rows.
    first = [9, 8, 7, 6, 3, 2, 1, 1, 2]
    second = [9, 1, 2, 8, 2, 3, 1, 2, 1]
    assert top_k_churn(first, second, list("aaaabbbcc"), 2) == (0.25, 2)
    assert top_k_churn(first, first, list("aaaabbbcc"), 2) == (0.0, 2)
    disjoint = top_k_churn([1, 2, 3, 4], [4, 3, 2, 1], ["a"] * 4, 2)
    assert disjoint == (1.0, 1)


def test_churn_of_nothing():
    assert top_k_churn([0.5] * 6, [0.5] * 6, ["a"] * 6, 2) == (0.0, 1)  # Ties are broken alike.
    empty = top_k_churn([1, 2], [2, 1], ["a", "b"], 1)
    assert np.isnan(empty.replaced)
    assert empty.groups == 0
    assert np.isnan(top_k_churn([1, np.nan], [2, 1], ["a", "a"], 1).replaced)
    assert top_k_churn([1, 2, 9], [2, 1, 9], ["a", "a", None], 1) == (1.0, 1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        top_k_churn([1], [1], [1], 0)


# --- Prediction difference.


def test_quantiles_are_those_of_repeated_rows():
    rng = np.random.default_rng(0)
    first, second, times = rng.random(300), rng.random(300), rng.integers(0, 4, 300)
    differences = np.sort(np.repeat(2 * np.abs(first - second) / (first + second), times))
    quantiles = [0.0, 0.1, 0.5, 0.9, 0.99, 1.0]
    expected = np.quantile(differences, quantiles, method="inverted_cdf")
    got = prediction_difference_quantiles(first, second, quantiles, times)
    assert got == pytest.approx(list(expected))
    assert np.isnan(prediction_difference_quantiles([], [], [0.5])).all()
    with pytest.raises(ValueError, match="quantiles must be between 0 and 1"):
        prediction_difference_quantiles([1], [1], [50])


def test_slices_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    first, second, weights = rng.random(300), rng.random(300), rng.integers(0, 3, 300)
    slices = rng.choice(["x", "y", "z"], 300)
    got = prediction_difference_by(first, second, slices, weights)
    for value in "xyz":
        of_slice = slices == value
        expected = prediction_difference(first[of_slice], second[of_slice], weights[of_slice])
        assert got[value] == pytest.approx(expected)
    shares = {value: weights[slices == value].sum() for value in "xyz"}
    mean = np.average([got[v] for v in "xyz"], weights=[shares[v] for v in "xyz"])
    assert mean == pytest.approx(prediction_difference(first, second, weights))
    assert prediction_difference_by([1, 2, 3], [1, 2, 1], ["x", None, "y"], [0, 1, 1]) == {"y": 1.0}
    with pytest.raises(ValueError, match="slices must have as many rows as the other arrays: 1, got 2"):
        prediction_difference_by([1], [1], ["x", "y"])


def test_correlation_and_churn_of_a_million_rows():
    rng = np.random.default_rng(0)
    first = rng.random(10**6)
    second = first + 0.1 * rng.random(10**6)
    # tau = 1 - 4 P(X > 0, E > X), X the difference of two uniforms, E a tenth of one: 1 - 4 * 0.05 * (1/3 - 0.1/12).
    assert kendall(first, second) == pytest.approx(0.935, abs=1e-3)
    assert top_k_churn(first, second, rng.integers(0, 10**4, 10**6)).groups > 9990
