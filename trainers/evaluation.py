"""The metrics of a day."""

from datetime import date

import numpy as np
import pyarrow as pa

from tfstable.data.columns import group_type, numbers
from tfstable.data.log import DayLog, read
from tfstable.metrics import auc, auc_standard_error, calibration, gauc, log_loss, mae, rmse, rmse_standard_error
from tfstable.specs import BinaryTask, TaskSpec, label_columns
from trainers.config import Config


def evaluate(config: Config, log: DayLog, day: date, predictions: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Returns each task's metrics over every row of `day`.

    Args:
        config: The run's config: tasks, weight column, GAUC column.
        log: The log.
        day: A day of it.
        predictions: By task, `(rows of the day,)` in the log's order.

    Returns:
        For a binary task `auc`, its standard error `auc_se`, `logloss`, `calibration` (predicted over observed),
        `positives` (rows), `gauc` if a column for it is configured, `best_auc` if the true probability is known; for a
        regression `rmse`, its standard error `rmse_se`, and `mae`, in the label's units.
    """
    wanted = {*label_columns(config.tasks).values(), config.data.weight}
    wanted |= {task.truth for task in config.tasks.values() if isinstance(task, BinaryTask)}
    columns = dict.fromkeys(wanted - {None}, pa.float32())
    if (users := config.evaluation.gauc_column) and users not in columns:
        columns[users] = group_type(log.schemas(day), users)
    table = pa.Table.from_batches(read(log.units(day), columns))
    weights = None if config.data.weight is None else np.nan_to_num(numbers(table[config.data.weight]))
    groups = None
    if config.evaluation.gauc_column:
        groups = table[config.evaluation.gauc_column].combine_chunks().dictionary_encode("encode").indices.to_numpy()
    return {
        name: _binary(task, table, name, predictions[name], weights, groups)
        if isinstance(task, BinaryTask)
        else _regression(task, table, name, predictions[name], weights)
        for name, task in config.tasks.items()
    }


def _binary(task: BinaryTask, table: pa.Table, name: str, predictions, weights, groups) -> dict[str, float]:
    labels = numbers(table[task.label or name])
    metrics = {
        "auc": auc(labels, predictions, weights),
        "auc_se": auc_standard_error(labels, predictions, weights),
        "logloss": log_loss(labels, predictions, weights),
        "calibration": calibration(labels, predictions, weights),
        "positives": int(np.nansum(labels)),
    }
    if groups is not None:
        metrics["gauc"] = gauc(labels, predictions, groups, weights)
    if task.truth:
        metrics["best_auc"] = auc(labels, numbers(table[task.truth]), weights)
    return metrics


def _regression(task: TaskSpec, table: pa.Table, name: str, predictions, weights) -> dict[str, float]:
    labels = numbers(table[task.label or name])
    return {
        "rmse": rmse(labels, predictions, weights),
        "rmse_se": rmse_standard_error(labels, predictions, weights),
        "mae": mae(labels, predictions, weights),
    }
