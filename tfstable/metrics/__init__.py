"""Exact evaluation metrics in NumPy: every row of a day counts once, nothing is binned or sampled.

All of them take 1-D arrays of equal length, leave out the rows whose label is NaN (masked) or whose weight is 0, and
answer NaN, rather than a lie, where nothing is left to measure or a remaining prediction is not finite.
"""

from tfstable.metrics.auc import auc, auc_standard_error
from tfstable.metrics.calibration import calibration, expected_calibration_error
from tfstable.metrics.difference import prediction_difference
from tfstable.metrics.gauc import gauc
from tfstable.metrics.logloss import log_loss
from tfstable.metrics.regression import mae, rmse

__all__ = [
    "auc",
    "auc_standard_error",
    "calibration",
    "expected_calibration_error",
    "gauc",
    "log_loss",
    "mae",
    "prediction_difference",
    "rmse",
]
