"""The metrics of a task on given rows."""

import numpy as np

from tfstable.metrics import (
    Lists,
    auc_with_standard_error,
    average_precision,
    calibration,
    expected_calibration_error,
    gauc,
    log_loss,
    mae,
    normalised_entropy,
    rmse,
    rmse_standard_error,
)
from trainers.training.task_rows import HeldRows, TaskRows


def binary(of_task: TaskRows, predictions: np.ndarray, users: np.ndarray | None, detailed: bool) -> dict[str, float]:
    """Returns the metrics of a binary task.

    Args:
        of_task: Labels and weights.
        predictions: `(rows,)`, one per row that the log holds.
        users: `(rows,)` for GAUC; None: no GAUC.
        detailed: Whether to measure more than gate and detector read.
    """
    labels, weights, p = of_task.labels, of_task.weights, predictions[of_task.rows]
    metrics = dict(zip(("auc", "auc_se"), auc_with_standard_error(labels, p, weights), strict=True))
    if detailed:
        pr_auc = average_precision(labels, p, weights)
        metrics |= {"pr_auc": pr_auc.value, "pr_auc_se": pr_auc.se}
    metrics["logloss"] = log_loss(labels, p, weights)
    if detailed:
        metrics["ne"] = normalised_entropy(labels, p, weights)
    metrics["calibration"] = calibration(labels, p, weights)
    if detailed:
        metrics["ece"] = expected_calibration_error(labels, p, weights)
    return metrics if users is None else metrics | {"gauc": gauc(labels, p, users[of_task.rows], weights)}


def ranked(held: HeldRows, predictions: np.ndarray, groups: np.ndarray) -> Lists:
    """Returns the lists of a binary task for the whole population.

    Args:
        held: The rows that the log holds. A sampled negative takes 1 / rate positions; a soft label is a gain.
        predictions: `(rows,)`.
        groups: `(rows,)` ids of the lists, NaN for rows without one.
    """
    labels, copies = held.labels, None
    if held.rates is not None:  # A soft label y is y positives and (1 - y) / rate negatives.
        copies = np.where(np.isnan(labels), 1.0, labels + (1 - labels) / held.rates)
        labels = labels / copies
    return Lists(labels, predictions, groups, held.weights, copies=copies, binary=not held.soft)


def lists(held: HeldRows, predictions: np.ndarray, groups: np.ndarray, at: tuple[int, ...]) -> dict[str, float]:
    """Returns the metrics of the lists that `ranked` makes at lengths `at`; soft labels have no MRR and MAP."""
    rows = ranked(held, predictions, groups)
    metrics = {f"ndcg@{k}": rows.ndcg(k).mean for k in at} | {f"recall@{k}": rows.recall(k).mean for k in at}
    if not held.soft:
        metrics |= {"mrr": rows.reciprocal_rank().mean, "map": rows.average_precision().mean}
    return metrics


def regression(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Returns the metrics of a regression, in the label's units."""
    negative = (labels[weights > 0] < 0).any()
    return {
        "rmse": rmse(labels, predictions, weights),
        "rmse_se": rmse_standard_error(labels, predictions, weights),
        "mae": mae(labels, predictions, weights),
        "calibration": float("nan") if negative else calibration(labels, predictions, weights),
    }


def counts(held: HeldRows, predictions: np.ndarray) -> dict[str, float]:
    """Returns labels, positives and predicted positives of the rows that the log holds, and the predictions' spread."""
    counted = ~np.isnan(held.labels) & (held.weights > 0)
    predicted = predictions[counted].astype(np.float64)
    if held.rates is not None:
        predicted /= predicted + (1 - predicted) * np.broadcast_to(held.rates, counted.shape)[counted]
    labels = held.labels[counted]
    found = {
        "labels": int(counted.sum()),
        "positives": float(np.sum(labels, dtype=np.float64)) if held.soft else int((labels != 0).sum()),
        "predicted": float(predicted.sum()),
    }
    if not np.isfinite(predictions).all():
        return found | {"spread": float("nan")}
    return found | ({"spread": float(np.ptp(predictions))} if len(predictions) > 1 else {})
