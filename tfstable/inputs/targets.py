"""Labels, weights, offsets and groups of rows of a log, as losses read them."""

from collections.abc import Collection, Mapping
from datetime import date

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.log import DAY
from tfstable.log_columns import label_columns, outcome_columns, rate_column
from tfstable.specs import GROUP, MISSING_INT, OFFSET, WEIGHT, TaskSpec

UsedLabels = Mapping[date, Collection[str]]  # By day, the tasks whose labels are used.


class Targets:
    """Turns outcome columns into labels and weights.

    Args:
        tasks: Task specs by name.
        weight: Column of example weights; None: every example weighs 1. A null weighs 0.
        group: Column whose values group the rows of a day, and the type to read it as; None: there are no groups.

    Attributes:
        columns: The columns to read, with their types.
        names: Names of what a call returns: the tasks, then what else losses read of a row.
        late: The tasks whose labels are complete only days later: a call that is given `used` needs the column DAY.
    """

    def __init__(self, tasks: Mapping[str, TaskSpec], weight: str | None, group: tuple[str, pa.DataType] | None = None):
        self._weight, self._labels, self._group = weight, label_columns(tasks), group
        self._weights = {WEIGHT + name: task.weight_column for name, task in tasks.items() if task.weight_column}
        self._rates = {OFFSET + name: column for name, task in tasks.items() if (column := rate_column(task))}
        self.columns = dict.fromkeys(outcome_columns(tasks, weight), pa.float32())
        self.names = [*self._labels, *self._weights, *self._rates]
        if group is not None:
            self.names.append(GROUP)
            self.columns |= {group[0]: group[1], DAY: pa.int32()}
        self.late = [name for name, task in tasks.items() if task.matures_after_days]

    def __call__(self, table: pa.Table, used: UsedLabels | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns labels by name, NaN where masked, and weights, `(rows,)` float32 each; groups are int64.

        Args:
            table: Rows with the columns of `columns`.
            used: Masks the labels of other tasks on each day; None: no label.
        """
        weight = np.ones(table.num_rows, np.float32)
        if self._weight:
            weight = np.nan_to_num(numbers(table[self._weight]), nan=0.0)
        labels = {name: numbers(table[column]) for name, column in self._labels.items()}
        if used is not None and self.late:
            days = table[DAY].to_numpy()
            for name in labels:
                there = [day.toordinal() for day, tasks in used.items() if name in tasks]
                labels[name] = np.where(np.isin(days, there), labels[name], np.float32("nan"))
        labels |= {name: np.nan_to_num(numbers(table[column]), nan=0.0) for name, column in self._weights.items()}
        # A rate of 1 where it is null, as the checks allow for masked labels.
        labels |= {name: np.log(np.nan_to_num(numbers(table[column]), nan=1.0)) for name, column in self._rates.items()}
        if self._group is not None:
            labels[GROUP] = group_numbers(table[self._group[0]], table[DAY].to_numpy())
        return labels, weight


def group_numbers(column: pa.ChunkedArray, days: np.ndarray) -> np.ndarray:
    """Returns a number for each value of a column on each day, `(rows,)` int64; -1 for rows without a value.

    A null, an empty text, a NaN and the smallest int64 are no values.

    Args:
        column: Text or numbers.
        days: `(rows,)` the day of each row, as an ordinal.
    """
    coded = column.combine_chunks()
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    values = coded.dictionary.to_pylist()
    known = [value is not None and value not in ("", MISSING_INT) and value == value for value in values]
    number_of = np.append(np.where(known, np.arange(len(values)), -1), -1)  # The last one is for nulls.
    numbers_of = number_of[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    _, day = np.unique(days, return_inverse=True)
    return np.where(numbers_of < 0, -1, numbers_of * (day.max(initial=0) + 1) + day).astype(np.int64)
