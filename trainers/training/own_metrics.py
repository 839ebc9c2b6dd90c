"""Metrics of one's own, by import path. Imports no TensorFlow."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from datetime import date
from numbers import Real

import numpy as np

from tfstable.errors import InputError
from trainers.config import Config

#: Takes labels, predictions, weights and groups, each `(rows,)`, and returns a number.
Function = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], float]


def own_metrics(config: Config) -> dict[str, Function]:
    """Imports the functions that `evaluation.metrics` names.

    Raises:
        InputError: If one cannot be imported, or does not take four arguments.
    """
    return {
        name: imported(metric.function, f"evaluation.metrics.{name}")
        for name, metric in config.evaluation.own_metrics.items()
    }


def measure_own(
    config: Config,
    functions: Mapping[str, Function],
    task: str,
    day: date,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> dict[str, float]:
    """Returns the own metrics of a task on a day.

    Args:
        config: The config.
        functions: As `own_metrics` returns them.
        task: The task.
        day: The day, for messages.
        rows: Labels, predictions, weights and groups of all rows; those without a label or of weight 0 are left out.
            NaN without others.

    Raises:
        InputError: If a function raises an error or does not return a number.
    """
    labels, _, weights, _ = rows
    counted = ~np.isnan(labels) & (weights > 0)
    found: dict[str, float] = {}
    for name, metric in config.evaluation.own_metrics.items():
        if metric.tasks and task not in metric.tasks:
            continue
        if not counted.any():
            found[name] = float("nan")
            continue
        where = f"evaluation.metrics.{name}: {metric.function} on task {task}, day {day}"
        try:
            value = functions[name](*(each[counted] for each in rows))
        except Exception as error:
            raise InputError(
                f"{where}: {type(error).__name__}: {error}; mend the function, or remove it from the config, and run "
                "the command again"
            ) from error
        if not isinstance(value, Real):
            raise InputError(f"{where} returned {type(value).__name__}, expected a number; mend the function")
        found[name] = float(value)
    return found


def imported(path: str, where: str) -> Function:
    """Imports a function of labels, predictions, weights and groups.

    Args:
        path: Its import path.
        where: The key or option that names it, for messages.

    Raises:
        InputError: If it cannot be imported, or does not take four arguments.
    """
    module, _, attribute = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{where}: {path} cannot be imported ({error}); is its package on PYTHONPATH?") from None
    try:
        inspect.signature(found).bind(None, None, None, None)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: {path} is no function of labels, predictions, weights and groups ({error})"
        ) from None
    return found
