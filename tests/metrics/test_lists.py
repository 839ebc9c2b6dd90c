"""Metrics of lists against their definitions, averaged over every order of the rows within ties."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfstable.metrics import Lists, gauc, list_bootstrap, mean_average_precision, mrr, ndcg, recall

SCORES = st.sampled_from([0.0, 0.5, 1.0])
ROWS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 1.0, float("nan")]), SCORES, st.sampled_from([0.0, 1.0, 0.3, 2.5]), st.integers(0, 2)
    ),
    min_size=1,
    max_size=9,
)
GRADES = st.sampled_from([0.0, 1.0, 0.25, 3.0, float("nan")])


def gained(y, w, k):
    return sum(w[i] * y[i] / np.log2(2 + i) for i in range(min(k, len(y))))


def slow_ndcg(y, w, k):
    best = np.argsort(-w * y)
    return gained(y, w, k) / gained(y[best], w[best], k)


def slow_dcg(y, w, k):
    return gained(y, w, k) / (np.sum(w * y) / np.sum(y))


def slow_recall(y, w, k):
    return np.sum((w * y)[:k]) / np.sum(w * y)


def slow_reciprocal_rank(y, w, k):
    return 1 / (1 + next(i for i in range(len(y)) if y[i] > 0))


def slow_average_precision(y, w, k):
    precisions = [y[: i + 1].sum() / (i + 1) for i in range(len(y))]
    return np.sum(w * y * precisions) / np.sum(w * y)


SLOW = {
    "ndcg": (lambda *rows, k: ndcg(*rows, k=k), slow_ndcg),
    "dcg": (lambda *rows, k: Lists(*rows).dcg(k).mean, slow_dcg),
    "recall": (lambda *rows, k: recall(*rows, k=k), slow_recall),
    "mrr": (lambda *rows, k: mrr(*rows), slow_reciprocal_rank),
    "map": (lambda *rows, k: mean_average_precision(*rows), slow_average_precision),
}


def expected(metric, labels, predictions, groups, weights, k):
    """The mean over groups; within a group over all orders that the predictions allow."""
    total, of_groups = 0.0, 0.0
    for group in set(groups.tolist()):
        rows = np.flatnonzero((groups == group) & (labels == labels) & (weights > 0))
        y, p, w = labels[rows], predictions[rows], weights[rows]
        if not (y > 0).any():
            continue
        orders = [np.array(o) for o in itertools.permutations(range(len(y))) if (np.diff(p[list(o)]) <= 0).all()]
        value = np.mean([metric(y[order], w[order], k) for order in orders])
        u = np.sum(w * y) / np.sum(y)
        total, of_groups = total + u, of_groups + u * value
    return of_groups / total if total else float("nan")


@pytest.mark.parametrize("name", SLOW)
@given(rows=ROWS, k=st.integers(1, 4))
def test_equals_the_mean_over_all_orders_of_ties(name, rows, k):
    labels, predictions, weights, groups = map(np.array, zip(*rows, strict=True))
    groups = np.where(np.arange(len(rows)) >= 6, groups + 3, groups)  # Groups of at most six rows.
    fast, slow = SLOW[name]
    for w in (weights, np.ones(len(rows))):
        got = fast(labels, predictions, groups, w, k=k)
        assert got == pytest.approx(expected(slow, labels, predictions, groups, w, k), abs=1e-12, nan_ok=True)


@given(
    rows=st.lists(st.tuples(GRADES, SCORES, st.sampled_from([1.0, 0.3])), min_size=1, max_size=6), k=st.integers(1, 4)
)
def test_graded_labels_are_gains(rows, k):
    labels, predictions, weights = map(np.array, zip(*rows, strict=True))
    groups = np.zeros(len(rows))
    for fast, slow in ((ndcg, slow_ndcg), (recall, slow_recall)):
        got = fast(labels, predictions, groups, weights, k=k)
        assert got == pytest.approx(expected(slow, labels, predictions, groups, weights, k), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("method", ["reciprocal_rank", "average_precision", "ndcg", "recall", "auc"])
@pytest.mark.parametrize("dtype", [int, float])
def test_copies_are_repeated_rows(method, dtype):
    rng = np.random.default_rng(0)
    labels, predictions, groups = rng.integers(0, 2, 300), rng.integers(0, 4, 300) / 4, rng.integers(0, 40, 300)
    copies, weights = np.where(labels == 0, rng.integers(1, 5, 300), 1), rng.random(40)[groups]
    arguments = (3,) if method in ("ndcg", "recall") else ()
    got = getattr(Lists(labels, predictions, groups, weights, copies=copies.astype(dtype)), method)(*arguments)
    repeated = Lists(*(np.repeat(x, copies) for x in (labels, predictions, groups, weights)))
    expected = getattr(repeated, method)(*arguments)
    assert got.mean == pytest.approx(expected.mean, abs=1e-12)


def test_long_ties():
    # One positive of n equal rows: H_n / n. Two of n: the mean over the first one's place.
    n = 10**5
    labels = np.zeros(n)
    labels[0] = 1
    assert mrr(labels, np.ones(n), np.zeros(n)) == pytest.approx(np.sum(1 / np.arange(1, n + 1)) / n)
    labels[1] = 1
    j = np.arange(1, n)
    assert mrr(labels, np.ones(n), np.zeros(n)) == pytest.approx(np.sum(2 * (n - j) / (n * (n - 1)) / j))
    sampled = Lists([1, 0], [0.5, 0.5], [0, 0], copies=[1, 10**9])
    assert sampled.reciprocal_rank().mean == pytest.approx((np.log(1e9) + 0.5772156649) / 1e9, rel=1e-6)


def test_weights_of_requests_weigh_them_and_their_scale_does_not_matter():
    rng = np.random.default_rng(0)
    labels, predictions, groups = rng.integers(0, 2, 200), rng.random(200), rng.integers(0, 2, 200)
    weights = np.where(groups == 0, 3.0, 1.0)
    for metric in (ndcg, recall, mrr, mean_average_precision):
        alone = [metric(labels[groups == g], predictions[groups == g], groups[groups == g]) for g in (0, 1)]
        assert metric(labels, predictions, groups, weights) == pytest.approx((3 * alone[0] + alone[1]) / 4)
        assert metric(labels, predictions, groups, 7 * weights) == pytest.approx(
            metric(labels, predictions, groups, weights)
        )


def test_gauc_weighted_by_positives():
    # User a: AUC 1, one positive of two rows. User b: AUC 1/4, two positives of four.
    labels, predictions = [1, 0, 1, 1, 0, 0], [0.9, 0.1, 0.2, 0.4, 0.3, 0.5]
    users = ["a", "a", "b", "b", "b", "b"]
    assert gauc(labels, predictions, users, weighting="positives") == pytest.approx((1 + 2 * 0.25) / 3)
    assert gauc(labels, predictions, users) == pytest.approx((2 + 4 * 0.25) / 6)
    with pytest.raises(ValueError, match="weighting must be impressions or positives, got 'rows'"):
        gauc(labels, predictions, users, weighting="rows")


@pytest.mark.parametrize("metric", [ndcg, recall, mrr, mean_average_precision])
def test_nothing_to_measure(metric):
    for rows in ([], [], []), ([0, 0], [0.1, 0.2], [1, 1]), ([1], [0.5], [None]), ([1, 0], [np.nan, 0.5], [1, 1]):
        assert np.isnan(metric(*rows))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ndcg([1], [0.5], ["a"], k=0)
    with pytest.raises(ValueError, match="labels must be at least 0"):
        recall([-1], [0.5], ["a"])
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        mrr([0.5], [0.5], ["a"])
    with pytest.raises(ValueError, match="copies must be finite and at least 1, got"):
        Lists([1], [0.5], ["a"], copies=[0.5])


def test_the_bootstrap_brackets_the_difference_and_agrees_with_its_standard_error():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), 8)
    labels = (rng.random(3200) < 0.3).astype(float)
    good, noisy = labels + rng.normal(0, 1.0, 3200), labels + rng.normal(0, 1.5, 3200)
    first, second = (Lists(labels, p, groups).ndcg(5) for p in (noisy, good))
    found = list_bootstrap(first, second, samples=400)
    assert (found.first, found.second) == (ndcg(labels, noisy, groups, k=5), ndcg(labels, good, groups, k=5))
    assert found.difference == pytest.approx(found.second - found.first)
    drawn = found.draws[:, 1] - found.draws[:, 0]
    assert drawn.std() == pytest.approx(found.difference_se, rel=0.1)
    assert drawn.mean() == pytest.approx(found.difference, abs=0.2 * found.difference_se)
    with pytest.raises(ValueError, match="the groups of the two models differ"):
        list_bootstrap(first, Lists(labels, good, groups // 2).ndcg(5))


def test_more_groups_than_16_bits_number():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 70_000))
    predictions = np.concatenate([first, second])
    got = ndcg(np.repeat([1, 0], 70_000), predictions, np.tile(rng.permutation(70_000), 2))
    assert got == pytest.approx(np.mean(np.where(first > second, 1.0, 1 / np.log2(3))))
