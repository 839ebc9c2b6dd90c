"""Rows of a day as the model takes them, with labels, and the model of a time before that day."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tfstable.data.log import DayLog, read
from tfstable.errors import InputError
from tfstable.log_columns import outcome_columns
from tfstable.metrics import auc_difference, rmse_difference
from tfstable.specs import is_implicit
from trainers.config import Config
from trainers.training.run import Run
from trainers.training.state import RunState
from trainers.training.task_rows import TaskRows, task_rows


class Sample(NamedTuple):
    """Rows of a day.

    Attributes:
        numbers: Their places in the day, `(rows,)`, ascending.
        inputs: Model inputs by feature, `(rows, ...)`.
        labels: By task with labels that are complete.
    """

    numbers: np.ndarray
    inputs: dict[str, np.ndarray]
    labels: dict[str, TaskRows]


@contextmanager
def model_before(run: Run, day: date) -> Iterator[tuple[RunState, date]]:
    """Yields the run's state at the newest kept checkpoint that had not been trained on `day`, and its last day.

    If there is none, the newest checkpoint. Afterwards the state is at the newest one again.

    Raises:
        InputError: If no window has been trained yet, or the log does not have the day.
    """
    log = run.log
    if day not in log.days:
        raise InputError(f"{log.path}: no day {day}; it has {log.days[0]} to {log.days[-1]}")
    newest = run.trained_to()
    state = run.parts().state
    before = [saved for saved in state.checkpoints.all() if saved.last and saved.last < day and not saved.step]
    if not before or (newest and newest < day):
        assert newest is not None  # Else `trained_to` raises.
        yield state, newest
        return
    state.restore(before[-1].number)
    try:
        assert before[-1].last is not None
        yield state, before[-1].last
    finally:
        state.restore()


def read_sample(config: Config, log: DayLog, state: RunState, day: date, most: int) -> Sample:
    """Reads every n-th row of a day, at most `most` of them.

    Raises:
        InputError: If a file cannot be read or does not fit the config.
    """
    every, start, parts = -(-log.rows(day) // most), 0, []
    columns = dict.fromkeys(outcome_columns(config.tasks, config.data.weight), pa.float32()) | state.reader.columns
    for batch in read(log.units(day), columns):
        parts.append(batch.take(pa.array(np.arange(-start % every, batch.num_rows, every))))
        start += batch.num_rows
    table = pa.Table.from_batches(parts)
    packed = state.reader.convert(table, first=day, ids=state.ids_now(), statistics=state.fitted().statistics)
    features, _, _ = state.reader.layout.unpack(packed)
    labels = {}
    for name, task in config.tasks.items():
        if not is_implicit(task):
            of_task = task_rows(name, task, table, config.data.weight, day, now=log.days[-1])
            if (~np.isnan(of_task.labels) & (of_task.weights > 0)).any():
                labels[name] = of_task
    return Sample(
        np.arange(table.num_rows) * every, {name: np.asarray(value) for name, value in features.items()}, labels
    )


def auc_loss(of_task: TaskRows, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Returns by how much the AUC falls from predictions to others, and the standard error over the rows."""
    y, w, rows, _ = of_task
    found = auc_difference(y, after[rows], before[rows], w)
    return found.difference, found.difference_se


def rmse_loss(of_task: TaskRows, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Returns by how much the RMSE rises, in the label's units, and the standard error over the rows."""
    found = rmse_difference(of_task.labels, before[of_task.rows], after[of_task.rows], of_task.weights)
    return found.difference, found.difference_se
