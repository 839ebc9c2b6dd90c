"""Rows that weigh 0, have no label or no group change no metric, whatever they hold."""

import numpy as np
import pytest

from tfstable import metrics

ROWS = 60
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, ROWS).astype(float)
FIRST, SECOND = RNG.random((2, ROWS))
WEIGHTS = RNG.integers(1, 4, ROWS).astype(float)
USERS = RNG.permutation(np.repeat(["a", "b", "c"], ROWS // 3))

ONE_MODEL = [
    metrics.auc,
    metrics.auc_standard_error,
    metrics.average_precision,
    metrics.calibration,
    metrics.expected_calibration_error,
    metrics.log_loss,
    metrics.mae,
    metrics.normalised_entropy,
    metrics.rmse,
    metrics.rmse_standard_error,
]
WITH_LABELS = {function.__name__: lambda y, p, q, u, w, f=function: f(y, p, w) for function in ONE_MODEL} | {
    "gauc": lambda y, p, q, u, w: metrics.gauc(y, p, u, w),
    "ndcg": lambda y, p, q, u, w: metrics.ndcg(y, p, u, w, k=3),
    "recall": lambda y, p, q, u, w: metrics.recall(y, p, u, w, k=3),
    "mrr": lambda y, p, q, u, w: metrics.mrr(y, p, u, w),
    "mean_average_precision": lambda y, p, q, u, w: metrics.mean_average_precision(y, p, u, w),
    "average_precision_difference": lambda y, p, q, u, w: metrics.average_precision_difference(y, p, q, w),
    "normalised_entropy_difference": lambda y, p, q, u, w: metrics.normalised_entropy_difference(y, p, q, w),
    "auc_difference": lambda y, p, q, u, w: metrics.auc_difference(y, p, q, w),
    "auc_bootstrap": lambda y, p, q, u, w: metrics.auc_bootstrap(y, p, q, u, w, samples=5),
    "rmse_difference": lambda y, p, q, u, w: metrics.rmse_difference(y, p, q, w),
}
OF_TWO_MODELS = {
    "prediction_difference": lambda y, p, q, u, w: metrics.prediction_difference(p, q, w),
    "quantiles": lambda y, p, q, u, w: metrics.prediction_difference_quantiles(p, q, [0.1, 0.5, 0.9], w),
    "by": lambda y, p, q, u, w: list(metrics.prediction_difference_by(p, q, u, w).values()),
}
BY_GROUP = {
    **{name: WITH_LABELS[name] for name in ("gauc", "ndcg", "recall", "mrr", "mean_average_precision")},
    "churn": lambda y, p, q, u, w: metrics.top_k_churn(p, q, u, k=3),
    "by": OF_TWO_MODELS["by"],
}


def with_rows(label, prediction, user, weight):
    """The rows and, before and between them, others that shall not count."""
    places = np.array([0, 0, 7, 30, ROWS])
    added = [np.insert(LABELS, places, label), *(np.insert(p, places, prediction) for p in (FIRST, SECOND))]
    return [*added, np.insert(USERS.astype(object), places, user), np.insert(WEIGHTS, places, weight)]


@pytest.mark.parametrize("name", WITH_LABELS)
@pytest.mark.parametrize("prediction", [0.5, np.nan, np.inf])
def test_rows_without_a_label(name, prediction):
    expected = WITH_LABELS[name](LABELS, FIRST, SECOND, USERS, WEIGHTS)
    np.testing.assert_array_equal(WITH_LABELS[name](*with_rows(np.nan, prediction, USERS[0], 1.0)), expected)


@pytest.mark.parametrize("name", WITH_LABELS | OF_TWO_MODELS)
@pytest.mark.parametrize("prediction", [0.5, np.nan, -np.inf])
@pytest.mark.parametrize("label", [1.0, 2.0, np.inf, np.nan])
def test_rows_of_weight_zero(name, prediction, label):
    function = (WITH_LABELS | OF_TWO_MODELS)[name]
    expected = function(LABELS, FIRST, SECOND, USERS, WEIGHTS)
    got = function(*with_rows(label, prediction, USERS[0], 0.0))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", BY_GROUP)
@pytest.mark.parametrize("prediction", [0.5, np.nan, np.inf])
@pytest.mark.parametrize("user", [None, np.nan])
def test_rows_without_a_group(name, prediction, user):
    expected = BY_GROUP[name](LABELS, FIRST, SECOND, USERS, WEIGHTS)
    np.testing.assert_array_equal(BY_GROUP[name](*with_rows(1.0, prediction, user, 1.0)), expected)
