import numpy as np
import pytest

from tfstable.metrics import auc, auc_bootstrap, auc_difference, auc_standard_error


def textbook_delong(labels, first, second):
    """DeLong et al. 1988, equations 4 to 6: the covariance matrix of two AUCs from their m x n kernel matrices."""
    rows, columns = [], []
    for p in (first, second):
        x, y = p[labels == 1], p[labels == 0]
        psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])  # (m, n)
        rows.append(psi.mean(axis=1))
        columns.append(psi.mean(axis=0))
    return np.cov(rows) / len(rows[0]) + np.cov(columns) / len(columns[0])


def two_models(seed, n=80, levels=9):
    """Labels, scores of two models that agree in part and have ties, and weights, some of them 0."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(float)
    labels[:4] = 0, 1, 0, 1
    common = rng.normal(size=n) + labels
    first, second = (np.round((common + rng.normal(size=n)) * levels) / levels for _ in range(2))
    weights = rng.exponential(size=n) * rng.integers(0, 3, n)
    weights[:4] = 1
    return labels, first, second, weights


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_textbook(seed):
    labels, first, second, weights = two_models(seed)
    S = textbook_delong(labels, first, second)
    got = auc_difference(labels, first, second)
    assert (got.first, got.second) == pytest.approx((auc(labels, first), auc(labels, second)), abs=1e-12)
    assert (got.first_se**2, got.second_se**2, got.covariance) == pytest.approx((S[0, 0], S[1, 1], S[0, 1]))
    assert got.difference == pytest.approx(got.second - got.first)
    assert got.difference_se**2 == pytest.approx(S[0, 0] + S[1, 1] - 2 * S[0, 1])
    weighted = auc_difference(labels, first, second, weights)
    assert weighted.first == pytest.approx(auc(labels, first, weights))
    assert weighted.second_se == pytest.approx(auc_standard_error(labels, second, weights))
    assert auc_difference(labels, first, second, 5 * weights) == pytest.approx(weighted)


def test_properties():
    labels, first, second, weights = two_models(0)
    one, other = (auc_difference(labels, *pair, weights) for pair in ((first, second), (second, first)))
    assert one.difference == pytest.approx(-other.difference)
    assert one.difference_se == pytest.approx(other.difference_se)
    same = auc_difference(labels, first, np.exp(first), weights)  # Another scale, the same order.
    assert (same.difference, same.difference_se) == (0.0, 0.0)
    assert same.covariance == pytest.approx(same.first_se**2)
    masked = np.r_[labels, np.nan]
    assert auc_difference(masked, np.r_[first, np.inf], np.r_[second, np.nan], np.r_[weights, 1]) == one


def test_the_error_is_the_scatter_of_the_difference_over_samples_and_below_that_of_unpaired_models():
    rng = np.random.default_rng(0)
    differences, errors, unpaired = [], [], []
    for _ in range(500):
        labels = (rng.random(300) < 0.3).astype(float)
        common = rng.normal(size=300) + labels
        got = auc_difference(labels, common + 0.3 * rng.normal(size=300), common + 0.3 * rng.normal(size=300))
        differences.append(got.difference)
        errors.append(got.difference_se)
        unpaired.append(np.hypot(got.first_se, got.second_se))
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.1)  # the scatter itself is known to 3%
    assert np.mean(errors) < 0.5 * np.mean(unpaired)


def test_bootstrap_draws_are_aucs_of_repeated_users():
    # Draw the users as the function does, and repeat their rows in earnest.
    labels, first, second, weights = two_models(3)
    users = np.random.default_rng(1).integers(0, 12, len(labels)).astype(object)
    draws = auc_bootstrap(labels, first, second, users, weights, samples=20, seed=7)
    kept = weights > 0
    names = np.array([user for user in dict.fromkeys(users) if (kept & (users == user)).any()])
    rng = np.random.default_rng(7)
    for draw in draws:
        chosen = names[rng.integers(0, len(names), len(names))]
        rows = np.concatenate([np.flatnonzero(kept & (users == user)) for user in chosen])
        expected = [auc(labels[rows], p[rows], weights[rows]) for p in (first, second)]
        np.testing.assert_allclose(draw, expected, rtol=1e-12)


def test_bootstrap_agrees_with_delong_on_independent_rows_and_sees_users():
    rng = np.random.default_rng(0)
    labels = (rng.random(2000) < 0.3).astype(float)
    common = rng.normal(size=2000) + labels
    first, second = common + 0.5 * rng.normal(size=2000), common + 0.5 * rng.normal(size=2000)
    got = auc_difference(labels, first, second)
    draws = auc_bootstrap(labels, first, second, np.full(2000, None), samples=400)  # each row a user of its own
    assert np.std(draws[:, 1] - draws[:, 0]) == pytest.approx(got.difference_se, rel=0.12)
    assert np.std(draws[:, 0]) == pytest.approx(got.first_se, rel=0.12)
    # Every user ten times the same row: a tenth of the independent rows, and DeLong's error too small by sqrt(10).
    rows = np.repeat(np.arange(200), 10)
    draws = auc_bootstrap(labels[rows], first[rows], second[rows], rows, samples=400)
    delong = auc_difference(labels[rows], first[rows], second[rows]).difference_se
    assert np.std(draws[:, 1] - draws[:, 0]) == pytest.approx(np.sqrt(10) * delong, rel=0.15)


def test_nothing_to_measure_is_nan():
    assert np.isnan(auc_difference([1, 1], [0.1, 0.2], [0.1, 0.2])).all()
    assert np.isnan(auc_difference([], [], [])).all()
    assert np.isnan(auc_difference([0, 1], [0.1, 0.2], [0.1, np.inf])).all()
    alone = auc_difference([0, 0, 1], [0.1, 0.2, 0.3], [0.1, 0.4, 0.3])
    assert alone.difference == -0.5
    assert np.isnan(alone.difference_se)
    assert np.isnan(auc_bootstrap([1, 1], [0.1, 0.2], [0.1, 0.2], [1, 2], samples=3)).all()
    assert np.isnan(auc_bootstrap([], [], [], [], samples=3)).all()
    # A user with both classes and one with a single class: a draw of the second alone has no AUC.
    draws = auc_bootstrap([0, 1, 1], [1, 2, 3], [1, 2, 3], ["a", "a", "b"], samples=50)
    assert 0 < np.isnan(draws[:, 0]).sum() < 50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc_difference([1, 0], [0.1, 0.2], [0.1]), "second must have as many rows as the other arrays: 2"),
        (lambda: auc_difference([2, 0], [0.1, 0.2], [0.1, 0.2]), "labels must be 0 or 1"),
        (lambda: auc_bootstrap([1, 0], [0.1, 0.2], [0.1, 0.2], [1]), "groups must have as many rows"),
        (lambda: auc_bootstrap([1, 0], [0.1, 0.2], [0.1, 0.2], [1, 2], samples=0), "samples must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
