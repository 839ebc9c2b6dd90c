import time

import numpy as np
import pytest

from tfstable.metrics import auc, gauc


def looped_gauc(labels, predictions, groups, weights):
    aucs, impressions = [], []
    for group in np.unique(groups):
        of_group = groups == group
        value = auc(labels[of_group], predictions[of_group], weights[of_group])
        if not np.isnan(value):
            aucs.append(value)
            impressions.append(weights[of_group & ~np.isnan(labels)].sum())
    return np.average(aucs, weights=impressions)


@pytest.mark.parametrize("seed", range(10))
def test_equals_a_loop_over_groups(seed):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(500) < 0.1, np.nan, rng.integers(0, 2, 500))
    predictions = rng.integers(0, 6, 500) / 6
    groups = rng.zipf(1.5, 500) % 50
    weights = rng.exponential(size=500) * rng.integers(0, 3, 500)
    assert gauc(labels, predictions, groups) == pytest.approx(looped_gauc(labels, predictions, groups, np.ones(500)))
    expected = looped_gauc(labels, predictions, groups, weights)
    assert gauc(labels, predictions, groups, weights) == pytest.approx(expected)
    assert gauc(labels, predictions, groups.astype(str), weights) == pytest.approx(expected)


def test_by_hand():
    # "a" (3 impressions): 1.0; "b" (2): 0.0; "c" has no negative. (3 * 1 + 2 * 0) / 5
    labels = [1, 0, 0, 1, 0, 1]
    predictions = [0.9, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert gauc(labels, predictions, ["a", "a", "a", "b", "b", "c"]) == pytest.approx(0.6)


def test_one_group_is_plain_auc():
    rng = np.random.default_rng(0)
    labels, predictions, weights = rng.integers(0, 2, 200), rng.random(200), rng.random(200)
    assert gauc(labels, predictions, np.zeros(200), weights) == pytest.approx(auc(labels, predictions, weights))


def test_blind_to_what_only_tells_groups_apart():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 20)
    labels, predictions = rng.integers(0, 2, 2000), rng.random(2000)
    shifted = predictions + 10 * groups
    assert gauc(labels, shifted, groups) == pytest.approx(gauc(labels, predictions, groups), abs=1e-12)


def test_rows_without_a_group_are_left_out():
    assert gauc([1, 0, 1, 0], [0.9, 0.1, 0.1, 0.9], ["a", "a", None, None]) == 1.0
    assert gauc([1, 0, 1, 0], [0.9, 0.1, 0.1, 0.9], np.array([1, 1, np.nan, np.nan])) == 1.0


@pytest.mark.parametrize(
    ("labels", "predictions", "groups"),
    [
        ([1, 0], [0.9, 0.1], ["a", "b"]),
        ([1, 0], [0.9, 0.1], [None, None]),
        ([1, 0], [0.9, np.nan], ["a", "a"]),
        ([], [], []),
    ],
)
def test_nan_where_there_is_nothing_to_measure(labels, predictions, groups):
    assert np.isnan(gauc(labels, predictions, groups))


def test_wrong_length_is_named():
    with pytest.raises(ValueError, match="groups must have as many rows as the other arrays: 2, got 1"):
        gauc([1, 0], [0.1, 0.2], ["a"])


def test_a_million_rows_and_100_000_groups_take_about_a_second():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 2, 10**6), rng.random(10**6).astype(np.float32)
    groups = rng.integers(0, 10**5, 10**6)
    start = time.perf_counter()
    assert gauc(labels, predictions, groups) == pytest.approx(0.5, abs=0.003)
    assert time.perf_counter() - start < 5  # 0.6 s on a core


@pytest.mark.parametrize(
    ("groups"),
    [["a", "a", None, ""], np.array([3.0, 3.0, np.nan, np.nan]), np.array([3, 3, -(2**63), -(2**63)])],
)
def test_rows_without_a_group_have_no_say_whatever_they_hold(groups):
    # As one user more they would be ranked wrong: (2 * 1 + 2 * 0) / 4.
    assert gauc([1, 0, 1, 0], [0.9, 0.1, 0.1, 0.9], groups) == 1.0
    assert gauc([1, 0, 1, 0], [0.9, 0.1, np.nan, np.inf], groups) == 1.0
    assert np.isnan(gauc([1, 0, 1, 0], [0.9, np.nan, 0.1, 0.9], groups))


def test_ids_beyond_a_missing_one_stay_apart():
    assert gauc([1, 0, 1, 1, 0], [0.9, 0.1, 0.5, 0.1, 0.9], ["a", "a", "", "b", "b"]) == 0.5
