"""Exact evaluation metrics in NumPy: every row of a day counts once, nothing is binned or sampled.

Each takes 1-D arrays of equal length and leaves out rows whose label is NaN (masked) or whose weight is 0. It returns
NaN if no row is left or a remaining prediction is not finite.
"""

from tfstable.metrics.auc import auc, auc_standard_error, auc_with_standard_error
from tfstable.metrics.auc_difference import AucDifference, auc_bootstrap, auc_difference
from tfstable.metrics.average_precision import (
    AveragePrecision,
    AveragePrecisionDifference,
    average_precision,
    average_precision_difference,
)
from tfstable.metrics.calibration import calibration, expected_calibration_error
from tfstable.metrics.churn import Churn, top_k_churn
from tfstable.metrics.difference import (
    prediction_difference,
    prediction_difference_by,
    prediction_difference_quantiles,
)
from tfstable.metrics.gauc import gauc
from tfstable.metrics.list_difference import ListDifference, list_bootstrap
from tfstable.metrics.lists import GroupValues, Lists
from tfstable.metrics.logloss import EntropyDifference, log_loss, normalised_entropy, normalised_entropy_difference
from tfstable.metrics.rank_correlation import kendall, spearman
from tfstable.metrics.ranking import mean_average_precision, mrr, ndcg, recall
from tfstable.metrics.regression import RmseDifference, mae, rmse, rmse_difference, rmse_standard_error

__all__ = [
    "AucDifference",
    "AveragePrecision",
    "AveragePrecisionDifference",
    "Churn",
    "EntropyDifference",
    "GroupValues",
    "ListDifference",
    "Lists",
    "RmseDifference",
    "auc",
    "auc_bootstrap",
    "auc_difference",
    "auc_standard_error",
    "auc_with_standard_error",
    "average_precision",
    "average_precision_difference",
    "calibration",
    "expected_calibration_error",
    "gauc",
    "kendall",
    "list_bootstrap",
    "log_loss",
    "mae",
    "mean_average_precision",
    "mrr",
    "ndcg",
    "normalised_entropy",
    "normalised_entropy_difference",
    "prediction_difference",
    "prediction_difference_by",
    "prediction_difference_quantiles",
    "recall",
    "rmse",
    "rmse_difference",
    "rmse_standard_error",
    "spearman",
    "top_k_churn",
]
