"""A day's metrics as tables and as scalars for TensorBoard."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from trainers.store.window_record import Metrics, WindowRecord

FOR_FILES = ("labels", "positives", "predicted", "spread", "rmse_se", "pr_auc_se", "slices")  # Not in the table.
OF_SLICES = ("auc", "rmse", "calibration")  # In TensorBoard.


def metric_tables(record: WindowRecord) -> list[Table]:
    """Returns the last evaluation day of a record: one column per task; and for each column of slices, a row per value.

    The table of slices shows AUC or RMSE.
    """
    tasks = record.tasks or {}
    table = Table("", *tasks, title=f"{record.eval_day}, trained to {record.last}")
    names = dict.fromkeys(metric for values in tasks.values() for metric in values if metric not in FOR_FILES)
    for name in names:
        table.add_row(name, *(_shown(values.get(name)) for values in tasks.values()))
    return [table, *(_sliced(column, tasks) for column in _columns(tasks))]


def scalars(tasks: Metrics) -> dict[str, float | None]:
    """Returns a day's metrics as METRIC/TASK, and the main ones of its slices as METRIC/TASK/COLUMN=VALUE."""
    found = {f"{metric}/{task}": v for task, m in tasks.items() for metric, v in m.items() if metric != "slices"}
    for task, metrics in tasks.items():
        for column, values in metrics.get("slices", {}).items():
            for value, of_slice in values.items():
                main = [metric for metric in OF_SLICES if metric in of_slice]
                found |= {f"{metric}/{task}/{column}={value}": of_slice[metric] for metric in main}
    return found


def _columns(tasks: Metrics) -> list[str]:
    return list(dict.fromkeys(column for metrics in tasks.values() for column in metrics.get("slices", ())))


def _sliced(column: str, tasks: Metrics) -> Table:
    of_tasks: dict[str, Mapping[str, Any]] = {task: m.get("slices", {}).get(column, {}) for task, m in tasks.items()}
    headline = {task: "auc" if "auc" in metrics else "rmse" for task, metrics in tasks.items()}
    table = Table(column, *(f"{task} {name}" for task, name in headline.items()), title=f"by {column}")
    for value in dict.fromkeys(value for values in of_tasks.values() for value in values):
        shown = (_shown(values.get(value, {}).get(headline[task])) for task, values in of_tasks.items())
        table.add_row(value, *shown)
    return table


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
