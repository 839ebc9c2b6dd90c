"""Labels, weights, offsets and groups of rows of a log, as losses read them."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.log import DAY
from tfstable.data.maturity import UsedLabels
from tfstable.inputs.groups import group_numbers
from tfstable.log_columns import fresh_labels, label_columns, outcome_columns, rate_column
from tfstable.specs import GROUP, LATE, OFFSET, WEIGHT, TaskSpec


class Targets:
    """Turns outcome columns into labels and weights.

    Args:
        tasks: Task specs by name.
        weight: Column of example weights; None: every example weighs 1. A null weighs 0.
        group: Column whose values group the rows of a day, and the type to read it as; None: there are no groups.

    Attributes:
        columns: The columns to read, with their types.
        names: Names of what a call returns: the tasks, then what else losses read of a row.
    """

    def __init__(self, tasks: Mapping[str, TaskSpec], weight: str | None, group: tuple[str, pa.DataType] | None = None):
        self._weight, self._labels, self._group = weight, label_columns(tasks), group
        self._weights = {WEIGHT + name: task.weight_column for name, task in tasks.items() if task.weight_column}
        self._rates = {OFFSET + name: column for name, task in tasks.items() if (column := rate_column(task))}
        self._fresh = {name: fresh for name, task in tasks.items() if (fresh := fresh_labels(task))}
        self.columns = dict.fromkeys(outcome_columns(tasks, weight), pa.float32())
        self.names = [*self._labels, *self._weights, *self._rates, *(LATE + name for name in self._fresh)]
        if group is not None:
            self.names.append(GROUP)
            self.columns |= {group[0]: group[1], DAY: pa.int32()}
        self._late = {name: task.matures_after_days for name, task in tasks.items() if task.matures_after_days}

    def __call__(self, table: pa.Table, used: UsedLabels | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns labels by name, NaN where masked, and weights, `(rows,)` float32 each; groups are int64.

        Args:
            table: Rows with the columns of `columns`; given `used`, also DAY, if labels of a task mature late.
            used: The labels that are used; all others are masked. None: all are used.
        """
        weight = np.ones(table.num_rows, np.float32)
        if self._weight:
            weight = np.nan_to_num(numbers(table[self._weight]), nan=0.0)
        labels = {name: numbers(table[column]) for name, column in self._labels.items()}
        late = {LATE + name: np.zeros(table.num_rows, np.float32) for name in self._fresh}
        if used is not None and self._late:
            days = table[DAY].to_numpy()
            for name, y in labels.items():
                if fresh := self._fresh.get(name):
                    elapsed = used.last.toordinal() - days
                    delay = np.nan_to_num(numbers(table[fresh.delay_column]), nan=0.0)
                    y = np.where((y == 1) & (delay > elapsed), np.float32(0), y)
                    late[LATE + name] = np.where(
                        elapsed < self._late[name], np.float32(fresh.late_share), late[LATE + name]
                    )
                there = [day.toordinal() for day, tasks in used.tasks_of.items() if name in tasks]
                labels[name] = np.where(np.isin(days, there), y, np.float32("nan"))
        labels |= {name: np.nan_to_num(numbers(table[column]), nan=0.0) for name, column in self._weights.items()}
        # A rate of 1 where it is null, as the checks allow for masked labels.
        labels |= {name: np.log(np.nan_to_num(numbers(table[column]), nan=1.0)) for name, column in self._rates.items()}
        if self._group is not None:
            labels[GROUP] = group_numbers(table[self._group[0]], table[DAY].to_numpy())
        return labels | late, weight
