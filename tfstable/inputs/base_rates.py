"""The base rate of a task, which its head predicts before the first step."""

import numpy as np

from tfstable.data.values import check_labels
from tfstable.errors import InputError
from tfstable.specs import BinaryTask, RegressionTask, TaskSpec


class BaseRate:
    """Rate of positives of the whole population, or mean of a regression's transformed labels.

    Args:
        name: The task's name.
        task: Its spec.
    """

    def __init__(self, name: str, task: TaskSpec):
        self._name, self._task, self._known, self._sum = name, task, 0.0, 0.0

    def add(self, y: np.ndarray, log_rates: np.ndarray | None = None) -> None:
        """Adds labels.

        Args:
            y: `(rows,)`, NaN where masked.
            log_rates: `(rows,)`, the logarithm of the share of negatives like this one that the log holds; None: 0.

        Raises:
            InputError: If a label is invalid; see `check_labels`.
        """
        check_labels(self._name, self._task, y, self._column)
        known = ~np.isnan(y)
        y = y[known].astype(np.float64)
        if isinstance(self._task, RegressionTask) and self._task.transform == "log1p":
            y = np.log1p(y)
        self._known += len(y) if log_rates is None else (y + (1 - y) / np.exp(log_rates[known])).sum()
        self._sum += y.sum()

    def result(self) -> float:
        """Returns the rate; 1/2 or 0 for a task whose labels are not complete yet.

        Raises:
            InputError: If another task has no label.
        """
        if not self._known and not self._task.matures_after_days:
            raise InputError(
                f"tasks.{self._name}: column {self._column} has no label in the first window; drop the task"
            )
        if isinstance(self._task, BinaryTask):
            if self._task.base_rate is not None:
                return self._task.base_rate
            return float((self._sum + 0.5) / (self._known + 1))
        return float(self._sum / self._known) if self._known else 0.0

    def remarks(self) -> list[str]:
        """Returns what the user ought to know of it."""
        if self._known or not isinstance(self._task, BinaryTask) or self._task.base_rate is not None:
            return []
        return [
            f"tasks.{self._name}: no label is complete at the end of the first window, so the untrained model predicts "
            f"0.5; set tasks.{self._name}.base_rate"
        ]

    @property
    def _column(self) -> str:
        return self._task.label or self._name
