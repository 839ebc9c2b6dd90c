"""Evaluated days, each predicted again by the model of its time, which had not been trained on it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.columns import check_schemas, group_type
from tfstable.data.log import DayLog, read
from tfstable.data.maturity import is_mature
from tfstable.errors import InputError
from tfstable.log_columns import outcome_columns
from trainers.config import Config
from trainers.studies.tune_score.metric import ValuedRows
from trainers.training.evaluation import group_ids
from trainers.training.run import Run
from trainers.training.task_rows import task_rows


@dataclass(frozen=True)
class ScoredDay:
    """The rows of a day that count: those with a list, a label that has a value, and a positive weight.

    Attributes:
        day: The day.
        trained_to: Last day that the model had been trained on.
        predictions: `(rows, tasks)` float64, in each task's units.
        rows: Their gains, weights and lists.
    """

    day: date
    trained_to: date
    predictions: np.ndarray
    rows: ValuedRows


def scored_days(
    run: Run,
    values: Mapping[str, float],
    group: str,
    most: int | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> list[ScoredDay]:
    """Predicts the days after each kept checkpoint that ends a window, up to the end of the next window.

    It reads checkpoints of other times, so the run's parts end at the newest one again.

    Args:
        run: A trained run.
        values: What a label of each task is worth.
        group: Column of the lists.
        most: Newest days to predict; None: all.
        progress: Called with the days done, the days in all, and the next step.

    Raises:
        InputError: If there are fewer than two such days, or the log does not have the column.
    """
    check_schemas(run.log, run.log.days[-1], {}, [], [group])
    run.trained_to()  # Or an error, before anything is read.
    parts = run.parts()
    config, log, state = run.config, parts.log, parts.state
    todo = [*_todo(config, log, values, [(s.last, s.number) for s in state.checkpoints.all() if s.last and not s.step])]
    todo = todo[-most:] if most else todo
    if len(todo) < 2:
        raise InputError(
            f"{run.path}: {len(todo)} evaluated days can be predicted by a model that had not seen them; two are "
            "needed, one to choose on and one to judge on. Train on more days, with trainer.keep_checkpoints above 2"
        )
    for day, _, _ in todo:
        check_schemas(log, day, {}, outcome_columns(config.tasks, config.data.weight), [group])
    found = []
    for place, (day, trained_to, number) in enumerate(todo):
        progress(place, len(todo), f"predicting {day}")
        state.restore(number)
        found.append(_scored(config, log, day, trained_to, state.predict(day), values, group))
    state.restore()
    progress(len(todo), len(todo), "predicted")
    return found


def _todo(
    config: Config, log: DayLog, values: Mapping[str, float], saved: list[tuple[date, int]]
) -> Iterator[tuple[date, date, int]]:
    """Day, last day trained before it, and checkpoint; without days whose labels are not complete yet."""
    for last, number in dict(saved).items():
        for day in [day for day in log.days if day > last][: config.trainer.stride_days]:
            if all(is_mature(config.tasks[name], day, log.days[-1]) for name in values):
                yield day, last, number


def _scored(
    config: Config,
    log: DayLog,
    day: date,
    trained_to: date,
    predictions: Mapping[str, np.ndarray],
    values: Mapping[str, float],
    group: str,
) -> ScoredDay:
    columns = dict.fromkeys(outcome_columns(config.tasks, config.data.weight), pa.float32())
    columns |= {group: group_type(log.schemas(day), group)} if group not in columns else {}
    table = pa.Table.from_batches(read(log.units(day), columns))
    groups = group_ids(table[group])
    weights = np.ones(table.num_rows)
    if config.data.weight:
        weights = np.nan_to_num(numbers(table[config.data.weight]).astype(np.float64))
    labels = {name: task_rows(name, config.tasks[name], table, None, day).held.labels for name in values}
    gains = np.zeros(table.num_rows)
    for name, value in values.items():
        gains += value * np.nan_to_num(labels[name])  # Unknown, where another is known: what did not come to pass.
    known = np.any([~np.isnan(each) for each in labels.values()], axis=0)
    kept = known & (weights > 0) & ~np.isnan(groups)
    if (wrong := gains[kept] < 0).any():
        raise InputError(f"day {day}: {int(wrong.sum())} rows are worth less than 0, because a label is negative")
    stacked = np.stack([np.asarray(predictions[name], np.float64) for name in config.tasks], axis=1)
    rows = ValuedRows(gains[kept], weights[kept], groups[kept].astype(np.int64))
    return ScoredDay(day, trained_to, stacked[kept], rows)
