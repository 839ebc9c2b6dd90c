import time

import numpy as np
import pytest

from tfstable.metrics import auc, auc_standard_error


def pairwise_auc(labels, predictions, weights):
    """The definition: every pair of a positive and a negative."""
    won = total = 0.0
    for y_i, p_i, w_i in zip(labels, predictions, weights, strict=True):
        for y_j, p_j, w_j in zip(labels, predictions, weights, strict=True):
            if y_i == 1 and y_j == 0:
                won += w_i * w_j * (float(p_i > p_j) + 0.5 * float(p_i == p_j))
                total += w_i * w_j
    return won / total


def textbook_delong_variance(labels, predictions):
    """DeLong et al. 1988, equations 4 to 6, with the m x n matrix of kernel values."""
    x, y = predictions[labels == 1], predictions[labels == 0]
    psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])  # (m, n)
    return psi.mean(axis=1).var(ddof=1) / len(x) + psi.mean(axis=0).var(ddof=1) / len(y)


def random_rows(seed, n=60, levels=7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(float)
    labels[:2] = 0, 1
    predictions = rng.integers(0, levels, n) / levels
    weights = rng.exponential(size=n) * rng.integers(0, 3, n)
    weights[:2] = 1
    return labels, predictions, weights


def test_by_hand():
    # Positives 0.8 and 0.4 against negatives 0.4 and 0.1: wins 1, 1, a tie 0.5, 1 of four pairs.
    assert auc([1, 1, 0, 0], [0.8, 0.4, 0.4, 0.1]) == 3.5 / 4


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_definition_with_ties_and_weights(seed):
    labels, predictions, weights = random_rows(seed)
    assert auc(labels, predictions) == pytest.approx(pairwise_auc(labels, predictions, np.ones(60)), abs=1e-12)
    assert auc(labels, predictions, weights) == pytest.approx(pairwise_auc(labels, predictions, weights), abs=1e-12)


def test_only_the_order_of_predictions_matters():
    labels, predictions, weights = random_rows(0)
    expected = auc(labels, predictions, weights)
    assert auc(labels, np.exp(5 * predictions) - 3, weights) == expected
    assert auc(labels, -predictions, weights) == pytest.approx(1 - expected, abs=1e-12)
    assert auc(1 - labels, predictions, weights) == pytest.approx(1 - expected, abs=1e-12)


def test_order_of_rows_and_zero_weights_do_not_matter():
    labels, predictions, weights = random_rows(1)
    expected = auc(labels, predictions, weights)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    assert auc(labels[shuffled], predictions[shuffled], weights[shuffled]) == pytest.approx(expected, abs=1e-12)
    kept = weights > 0
    assert auc(labels[kept], predictions[kept], weights[kept]) == expected


def test_whole_weights_are_repeated_rows():
    labels, predictions, _ = random_rows(2)
    times = np.random.default_rng(2).integers(0, 4, len(labels))
    repeated = auc(np.repeat(labels, times), np.repeat(predictions, times))
    assert auc(labels, predictions, times) == pytest.approx(repeated, abs=1e-12)


def test_constant_and_perfect_predictions():
    assert auc([0, 1, 1, 0], [0.3] * 4) == 0.5
    assert auc([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.2]) == 1.0
    assert auc_standard_error([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.2]) == 0.0


def test_masked_rows_are_left_out_with_their_predictions():
    assert auc([1, np.nan, 0, None], [0.8, np.nan, 0.1, 0.9]) == 1.0


@pytest.mark.parametrize(
    ("labels", "predictions", "weights"),
    [
        ([1, 1], [0.1, 0.2], None),
        ([0, 0], [0.1, 0.2], None),
        ([], [], None),
        ([1, 0], [np.nan, 0.2], None),
        ([1, 0], [0.1, np.inf], None),
        ([1, 0], [0.1, 0.2], [0, 1]),
    ],
)
def test_nan_where_there_is_nothing_to_measure(labels, predictions, weights):
    assert np.isnan(auc(labels, predictions, weights))
    assert np.isnan(auc_standard_error(labels, predictions, weights))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0], [0.1]), "predictions must have as many rows as the other arrays: 2, got 1"),
        (([1, 0], [[0.1], [0.2]]), r"predictions must be 1-D, got shape \(2, 1\)"),
        (([2, 0], [0.1, 0.2]), "labels must be 0 or 1 .NaN where masked., got 2"),
        (([np.inf, 0], [0.1, 0.2]), "labels must be finite, or NaN where masked, got inf"),
        (([1, 0], [0.1, 0.2], [1, -1]), "weights must be finite and at least 0, got -1"),
        (([1, 0], [0.1, 0.2], [1]), "weights must have as many rows as the other arrays: 2, got 1"),
    ],
)
def test_wrong_arrays_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        auc(*arguments)


@pytest.mark.parametrize("seed", range(5))
def test_standard_error_is_delongs(seed):
    labels, predictions, weights = random_rows(seed)
    assert auc_standard_error(labels, predictions) ** 2 == pytest.approx(textbook_delong_variance(labels, predictions))
    assert auc_standard_error(labels, predictions, 3 * weights) == pytest.approx(
        auc_standard_error(labels, predictions, weights)
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_standard_error_is_the_scatter_of_auc_over_samples(weighted):
    rng = np.random.default_rng(0)
    aucs, errors = [], []
    for _ in range(600):
        labels = (rng.random(300) < 0.2).astype(float)
        predictions = rng.normal(size=300) + labels
        weights = rng.exponential(size=300) if weighted else None
        aucs.append(auc(labels, predictions, weights))
        errors.append(auc_standard_error(labels, predictions, weights))
    assert np.mean(errors) == pytest.approx(np.std(aucs), rel=0.1)  # the scatter itself is known to 3%


def test_a_million_rows_take_about_a_second():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 2, 10**6), rng.random(10**6).astype(np.float32)
    start = time.perf_counter()
    assert auc(labels, predictions) == pytest.approx(0.5, abs=0.003)
    assert time.perf_counter() - start < 5  # 0.4 s on a core
