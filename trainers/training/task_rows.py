"""A task's labels and weights on a day, as metrics measure them."""

from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.maturity import is_mature
from tfstable.log_columns import rate_column
from tfstable.specs import BinaryTask, TaskSpec, is_implicit


class HeldRows(NamedTuple):
    """Rows as the log holds them.

    Attributes:
        labels: `(rows,)` floats, NaN where masked.
        weights: `(rows,)` floats.
        rates: The share of such negatives that the log holds, `(rows,)` or a number; None: all.
        soft: Whether the labels are probabilities.
    """

    labels: np.ndarray
    weights: np.ndarray
    rates: np.ndarray | float | None = None
    soft: bool = False


class TaskRows(NamedTuple):
    """Rows to measure: one per row of the day, or two where labels are soft.

    Attributes:
        labels: `(measured,)` floats, NaN where masked.
        weights: `(measured,)` floats, those of the population.
        rows: The place of each in the day, `(measured,)`, for its prediction and its group; a slice if all are there.
        held: The rows behind them.
    """

    labels: np.ndarray
    weights: np.ndarray
    rows: np.ndarray | slice
    held: HeldRows


def task_rows(
    name: str, task: TaskSpec, table: pa.Table, weight: str | None, day: date, now: date | None = None
) -> TaskRows:
    """Returns the labels and weights of a task on a day, for the whole population.

    A negative weighs 1 / r where the log holds a share r of them. A soft label y is a positive of weight y and a
    negative of weight 1 - y.

    Args:
        name: The task's name.
        task: Its spec.
        table: The day's rows, with the columns of `outcome_columns`.
        weight: Column of example weights, or None.
        day: The day of the rows.
        now: The day at whose end labels are looked at: those that are not complete by then are masked. None: later.
    """
    weights = np.ones(table.num_rows)
    labels = np.full_like(weights, np.nan) if is_implicit(task) else numbers(table[task.label or name])
    for column in (weight, task.weight_column):
        if column is not None:
            weights = weights * np.nan_to_num(numbers(table[column]))
    if now is not None and not is_mature(task, day, now):
        labels = np.full_like(labels, np.nan)
    if not isinstance(task, BinaryTask):
        return TaskRows(labels, weights, slice(None), HeldRows(labels, weights))
    rates = _rates(task, table)
    held, of_negatives = HeldRows(labels, weights, rates, task.soft_labels), weights
    if rates is not None:
        of_negatives = weights / rates
    if not task.soft_labels:
        return TaskRows(labels, np.where(labels == 0, of_negatives, weights), slice(None), held)
    known, places = ~np.isnan(labels), np.arange(len(labels))
    return TaskRows(
        np.concatenate([np.where(known, 1, np.nan), np.where(known, 0, np.nan)]),
        np.nan_to_num(np.concatenate([labels * weights, (1 - labels) * of_negatives])),
        np.concatenate([places, places]),
        held,
    )


def _rates(task: BinaryTask, table: pa.Table) -> np.ndarray | float | None:
    if column := rate_column(task):
        return np.nan_to_num(numbers(table[column]), nan=1.0)  # A masked label may have none.
    return task.negative_rate if isinstance(task.negative_rate, float) else None
