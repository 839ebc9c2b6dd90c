"""The metrics of a day."""

from datetime import date

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.columns import group_type
from tfstable.data.log import DayLog, read
from tfstable.log_columns import outcome_columns
from tfstable.metrics import auc, auc_standard_error, calibration, gauc, log_loss, mae, rmse, rmse_standard_error
from tfstable.metrics.rows import group_numbers
from tfstable.specs import BinaryTask, is_implicit
from trainers.config import Config
from trainers.training.task_rows import HeldRows, task_rows


def evaluate(
    config: Config, log: DayLog, day: date, predictions: dict[str, np.ndarray], now: date | None = None
) -> dict[str, dict[str, float]]:
    """Returns each task's metrics over every row of `day`, for the whole population.

    Args:
        config: The run's config: tasks, weight column, GAUC column.
        log: The log.
        day: A day of it.
        predictions: By task, `(rows of the day,)` in the log's order. Tasks without predictions or labels are left out.
        now: The day at whose end labels are looked at; labels that mature later are masked. None: all are complete.

    Returns:
        For a binary task `auc`, its standard error `auc_se`, `logloss`, `calibration` (predicted over observed), `gauc`
        if a column for it is configured, `best_auc` if the true probability is known; for a regression `rmse`, its
        standard error `rmse_se`, and `mae`, in the label's units, and `calibration` (sum of the predictions over sum of
        the labels; NaN if a label is negative). NaN where no row counts; rows with a label and a positive weight do.

        For every task also counts of the rows that the log holds: `labels`, the rows that count; `positives` of them
        (of a regression: labels other than 0); `predicted`, the positives (the sum) that the model expects; `spread`,
        the largest minus the smallest prediction over all rows of the day: 0 if all are equal, NaN if one is not
        finite. A day of one row has no spread.
    """
    wanted = outcome_columns(config.tasks, config.data.weight)
    wanted += [task.truth for task in config.tasks.values() if isinstance(task, BinaryTask) and task.truth]
    columns = dict.fromkeys(wanted, pa.float32())
    if (users := config.evaluation.gauc_column) and users not in columns:
        columns[users] = group_type(log.schemas(day), users)
    table = pa.Table.from_batches(read(log.units(day), columns))
    groups = group_ids(table[config.evaluation.gauc_column]) if config.evaluation.gauc_column else None
    found = {}
    for name, task in config.tasks.items():
        if name not in predictions or is_implicit(task):
            continue
        of_task = task_rows(name, task, table, config.data.weight, day, now)
        labels, weights, rows = of_task.labels, of_task.weights, of_task.rows
        predicted = predictions[name][rows]
        if isinstance(task, BinaryTask):
            found[name] = _binary(labels, predicted, weights, None if groups is None else groups[rows])
            if task.truth:
                found[name]["best_auc"] = auc(labels, numbers(table[task.truth])[rows], weights)
        else:
            found[name] = _regression(labels, predicted, weights)
        found[name] |= _counts(of_task.held, predictions[name])
    return found


def group_ids(column: pa.ChunkedArray) -> np.ndarray:
    """Returns a number for each distinct value of a column of users, `(rows,)` float64; NaN for rows without one.

    It takes text, integers of any size and nulls; `tfstable.metrics.rows.group_numbers` defines missing values.
    """
    coded = column.combine_chunks().dictionary_encode()
    values = coded.dictionary.to_numpy(zero_copy_only=False)
    number_of = np.append(group_numbers(values, len(values)), -1)  # The last one is for nulls.
    ids = number_of[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return np.where(ids < 0, np.nan, ids)


def _binary(
    labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, groups: np.ndarray | None
) -> dict[str, float]:
    metrics = {
        "auc": auc(labels, predictions, weights),
        "auc_se": auc_standard_error(labels, predictions, weights),
        "logloss": log_loss(labels, predictions, weights),
        "calibration": calibration(labels, predictions, weights),
    }
    return metrics if groups is None else metrics | {"gauc": gauc(labels, predictions, groups, weights)}


def _regression(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    negative = (labels[weights > 0] < 0).any()
    return {
        "rmse": rmse(labels, predictions, weights),
        "rmse_se": rmse_standard_error(labels, predictions, weights),
        "mae": mae(labels, predictions, weights),
        "calibration": float("nan") if negative else calibration(labels, predictions, weights),
    }


def _counts(held: HeldRows, predictions: np.ndarray) -> dict[str, float]:
    counted = ~np.isnan(held.labels) & (held.weights > 0)
    predicted = predictions[counted].astype(np.float64)
    if held.rates is not None:
        predicted /= predicted + (1 - predicted) * np.broadcast_to(held.rates, counted.shape)[counted]
    labels = held.labels[counted]
    counts = {
        "labels": int(counted.sum()),
        "positives": float(np.sum(labels, dtype=np.float64)) if held.soft else int((labels != 0).sum()),
        "predicted": float(predicted.sum()),
    }
    if not np.isfinite(predictions).all():
        return counts | {"spread": float("nan")}
    return counts | ({"spread": float(np.ptp(predictions))} if len(predictions) > 1 else {})
