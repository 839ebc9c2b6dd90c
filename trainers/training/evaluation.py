"""The metrics of a day."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.columns import group_type
from tfstable.data.log import DayLog, read
from tfstable.log_columns import outcome_columns
from tfstable.metrics import auc
from tfstable.metrics.rows import group_numbers
from tfstable.specs import BinaryTask, is_implicit
from trainers.config import Config
from trainers.training import measures
from trainers.training.own_metrics import Function, measure_own, own_metrics
from trainers.training.slices import slices
from trainers.training.task_rows import task_rows


def evaluate(
    config: Config,
    log: DayLog,
    day: date,
    predictions: dict[str, np.ndarray],
    now: date | None = None,
    *,
    detailed: bool = True,
) -> dict[str, dict[str, Any]]:
    """Returns each task's metrics over every row of `day`, for the whole population.

    Args:
        config: The run's config: tasks, weight column, `evaluation`.
        log: The log.
        day: A day of it.
        predictions: By task, `(rows of the day,)` in the log's order. Tasks without predictions or labels are left out.
        now: The day at whose end labels are looked at; labels that mature later are masked. None: all are complete.
        detailed: False leaves out what gate and detector do not read: PR-AUC, normalised entropy, ECE, lists, one's own
            metrics and slices.

    Returns:
        For a binary task `auc` and `pr_auc`, their standard errors `auc_se` and `pr_auc_se`, `logloss`, `ne` (log loss
        over that of the base rate), `calibration` (predicted over observed), `ece`, `gauc` if a column for it is
        configured, `ndcg@k`, `recall@k`, `mrr` and `map` with `evaluation.ranking`, and `best_auc` if the true
        probability is known; for a regression `rmse`, its standard error `rmse_se`, and `mae`, in the label's units,
        and `calibration` (sum of the predictions over sum of the labels; NaN if a label is negative). NaN where no row
        counts; rows with a label and a positive weight do. One's own metrics by name.

        For every task also counts of the rows that the log holds: `labels`, the rows that count; `positives` of them
        (of a regression: labels other than 0); `predicted`, the positives (the sum) that the model expects; `spread`,
        the largest minus the smallest prediction over all rows of the day: 0 if all are equal, NaN if one is not
        finite. A day of one row has no spread.

        With `evaluation.slices`, `slices`: by column and value the same metrics of the value's rows. A value
        without labels has none.

    Raises:
        InputError: If a metric of one's own fails.
    """
    settings = config.evaluation
    wanted = outcome_columns(config.tasks, config.data.weight)
    wanted += [task.truth for task in config.tasks.values() if isinstance(task, BinaryTask) and task.truth]
    columns = dict.fromkeys(wanted, pa.float32())
    grouping = settings.group_columns if detailed else [settings.gauc_column] if settings.gauc_column else []
    schemas = log.schemas(day)
    columns |= {name: group_type(schemas, name) for name in grouping if name not in columns}
    table = pa.Table.from_batches(read(log.units(day), columns))
    functions = own_metrics(config) if detailed else None
    found = _measure(config, table, predictions, day, now, functions)
    for column in settings.slices if detailed else ():
        for value, rows in slices(table[column]).items():
            part = {name: p[rows] for name, p in predictions.items()}
            for name, metrics in _measure(config, table.filter(pa.array(rows)), part, day, now, functions).items():
                metrics.pop("spread", None)
                if metrics["labels"]:
                    found[name].setdefault("slices", {}).setdefault(column, {})[value] = metrics
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


def _measure(
    config: Config,
    table: pa.Table,
    predictions: Mapping[str, np.ndarray],
    day: date,
    now: date | None,
    functions: Mapping[str, Function] | None,
) -> dict[str, dict[str, Any]]:
    """Measures rows of a day; without `functions` only what gate and detector read."""
    settings, detailed = config.evaluation, functions is not None
    users = group_ids(table[settings.gauc_column]) if settings.gauc_column else None
    groups = users
    if settings.ranking is not None and detailed and settings.ranking.by != settings.gauc_column:
        groups = group_ids(table[settings.ranking.by])
    found: dict[str, dict[str, Any]] = {}
    for name, task in config.tasks.items():
        if name not in predictions or is_implicit(task):
            continue
        of_task, predicted = task_rows(name, task, table, config.data.weight, day, now), predictions[name]
        labels, weights, rows = of_task.labels, of_task.weights, of_task.rows
        if isinstance(task, BinaryTask):
            found[name] = measures.binary(of_task, predicted, users, detailed)
            if settings.ranking is not None and detailed:
                assert groups is not None
                found[name] |= measures.lists(of_task.held, predicted, groups, settings.ranking.at)
            if task.truth:
                found[name]["best_auc"] = auc(labels, numbers(table[task.truth])[rows], weights)
        else:
            found[name] = measures.regression(labels, predicted[rows], weights)
        if functions:
            ids = np.full(len(predicted), -1) if groups is None else np.nan_to_num(groups, nan=-1).astype(np.int64)
            found[name] |= measure_own(config, functions, name, day, (labels, predicted[rows], weights, ids[rows]))
        found[name] |= measures.counts(of_task.held, predicted)
    return found
