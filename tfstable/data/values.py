"""Checks labels and weights, and counts infinite numbers, as each file is read."""

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.arrays import vectors
from tfstable.data.log import read
from tfstable.data.log_files import file_units
from tfstable.data.types import is_list
from tfstable.errors import InputError
from tfstable.log_columns import fresh_labels, label_columns, rate_column, single_columns
from tfstable.specs import BinaryTask, Feature, NumericFeature, QuantileFeature, TaskSpec, VectorFeature

WEIGHT_RULE = "a weight is finite and at least 0, or null"


class Infinite(NamedTuple):
    """Rows of a file in which a column is infinite as float32: they count as missing."""

    path: Path
    column: str
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.path}: column {self.column} has values that are infinite as float32; they count as missing "
            f"(rows: {self.rows})"
        )


class ValueChecks:
    """Checks the rows of a log as they are read: `read(..., check=ValueChecks(...))`.

    Args:
        features: Feature specs by name.
        tasks: Task specs by name.
        weight: Column of example weights, or None.
        histories: By name, the columns whose lists go together, and the feature that reads each.
    """

    def __init__(
        self,
        features: dict[str, Feature],
        tasks: dict[str, TaskSpec],
        weight: str | None = None,
        histories: Mapping[str, Mapping[str, Feature]] = MappingProxyType({}),
    ):
        column_of = single_columns(features)
        self._numbers = {column_of[name] for name, feature in features.items() if _takes_no_infinity(feature)}
        self._labels, self._weight = label_columns(tasks), weight
        self._tasks = {name: tasks[name] for name in self._labels}
        self._histories = histories
        self._seen: set[tuple[Path, str]] = set()
        self._infinite: deque[Infinite] = deque()  # Filled by a thread that reads ahead.

    def __call__(self, path: Path, rows: pa.RecordBatch) -> None:
        """Checks some rows of a file.

        Raises:
            InputError: Naming column and file, if a task cannot be trained on a label, a weight is negative or not
                finite, or lists that go together differ in length.
        """
        for name, task in self._tasks.items():
            column = self._labels[name]
            if wrong_labels(task, _numbers(rows[column])).any():
                whole = _column(path, column)
                said = f"tasks.{name}: column {column} holds {{}}; {_rule(task)}"
                raise _error(said, path, whole, wrong_labels(task, _numbers(whole)))
        if self._weight and _wrong_weights(rows[self._weight]).any():
            whole = _column(path, self._weight)
            said = f"data.weight: column {self._weight} holds {{}}; {WEIGHT_RULE}"
            raise _error(said, path, whole, _wrong_weights(whole))
        for name, task in self._tasks.items():
            if task.weight_column and _wrong_weights(rows[task.weight_column]).any():
                whole = _column(path, task.weight_column)
                said = f"tasks.{name}.weight_column: column {task.weight_column} holds {{}}; {WEIGHT_RULE}"
                raise _error(said, path, whole, _wrong_weights(whole))
            if (fresh := fresh_labels(task)) and _wrong_weights(rows[fresh.delay_column]).any():
                whole = _column(path, fresh.delay_column)
                said = f"tasks.{name}.fresh: column {fresh.delay_column} holds {{}}; a delay is finite and at least 0"
                raise _error(f"{said}, or null", path, whole, _wrong_weights(whole))
            if (rates := rate_column(task)) and _wrong_rates(rows, rates, self._labels[name]).any():
                _raise_rate(name, path, rates, self._labels[name])
        for name, columns in self._histories.items():
            _check_lengths(name, columns, path, rows)
        for column in self._numbers:
            if (path, column) not in self._seen and _infinite(rows[column]).any():
                self._seen.add((path, column))
                dtype = rows.schema.field(column).type if is_list(rows[column].type) else pa.float64()
                self._infinite.append(Infinite(path, column, int(_infinite(_column(path, column, dtype)).sum())))

    def infinite(self) -> list[Infinite]:
        """Returns the infinite columns found since the last call, each file and column once."""
        return [self._infinite.popleft() for _ in range(len(self._infinite))]


def check_labels(name: str, task: TaskSpec, labels: np.ndarray, column: str) -> None:
    """Checks the labels of a task.

    Args:
        name: The task's name.
        task: Its spec.
        labels: `(rows,)` floats, NaN where masked.
        column: The label column, for the message.

    Raises:
        InputError: If a binary label is not 0, 1 or NaN, or a regression label has no finite target.
    """
    if (wrong := wrong_labels(task, labels)).any():
        raise InputError(f"tasks.{name}: column {column} holds {labels[wrong][0]:g}; {_rule(task)}")


def wrong_labels(task: TaskSpec, labels: np.ndarray) -> np.ndarray:
    """Returns `(rows,)` bool: the labels that the task cannot be trained on. NaN, a masked label, is right."""
    if isinstance(task, BinaryTask):
        wrong = (labels < 0) | (labels > 1) if task.soft_labels else (labels != 0) & (labels != 1)
        return wrong & ~np.isnan(labels)
    return np.isinf(labels) | (labels <= -1 if task.transform == "log1p" else False)


def _rule(task: TaskSpec) -> str:
    if isinstance(task, BinaryTask):
        return "a soft label is between 0 and 1, or null" if task.soft_labels else "a binary label is 0, 1 or null"
    return "log1p needs finite labels above -1, or null" if task.transform == "log1p" else "a label is finite or null"


def _error(said: str, path: Path, whole: pa.ChunkedArray, wrong: np.ndarray) -> InputError:
    value = whole.to_numpy()[wrong][0]  # The file's own value: 1e300 is infinite only as float32.
    return InputError(f"{said.format(f'{value:g}')} ({path}: {wrong.sum()} of its {len(wrong)} rows)")


def _check_lengths(name: str, columns: Mapping[str, Feature], path: Path, rows: pa.RecordBatch) -> None:
    """Checks that the lists of a row are as long as each other; a null has any length."""
    (first, *others), of_column = columns, {c: _lengths(rows[c], feature) for c, feature in columns.items()}
    for column in others:
        differ = pc.not_equal(of_column[first], of_column[column])
        if wrong := pc.sum(differ).as_py():
            a, b = (of_column[c].filter(differ)[0] for c in (first, column))
            raise InputError(
                f"{name}: columns {first} and {column} have {a} and {b} values in a row; write a value per event into "
                f"each list, null where it is not known ({path}: {wrong} of {rows.num_rows} rows read)"
            )


def _lengths(array: pa.Array, feature: Feature) -> pa.Array:
    """Values per row, `(rows,)` integers; null for a null."""
    if is_list(array.type):
        return pc.list_value_length(array)
    text = array.cast(pa.string())
    counts = pc.add(pc.count_substring(text, getattr(feature, "delimiter", "")), 1)
    return pc.if_else(pc.equal(text, ""), None, counts)


def _takes_no_infinity(feature: Feature) -> bool:
    if isinstance(feature, NumericFeature):
        return feature.clip is None or not all(map(math.isfinite, feature.clip))
    return isinstance(feature, QuantileFeature | VectorFeature)


def _wrong_weights(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    weights = _numbers(array)
    return ~((weights >= 0) & (weights < np.inf)) & np.asarray(array.is_valid())


def _wrong_rates(rows: Mapping[str, pa.Array | pa.ChunkedArray] | pa.RecordBatch, rate: str, label: str) -> np.ndarray:
    """Which labelled rows have no rate of negatives above 0 and at most 1."""
    rates = _numbers(rows[rate])
    return ~((rates > 0) & (rates <= 1)) & ~np.isnan(_numbers(rows[label]))


def _raise_rate(task: str, path: Path, rate: str, label: str) -> None:
    columns = {column: _column(path, column) for column in (rate, label)}
    wrong = _wrong_rates(columns, rate, label)
    value = columns[rate].to_numpy()[wrong][0]
    shown = "a null" if np.isnan(value) else f"{value:g}"
    raise InputError(
        f"tasks.{task}.negative_rate: column {rate} holds {shown}; a rate is above 0 and at most 1, for every row with "
        f"a label ({path}: {wrong.sum()} of its {len(wrong)} rows)"
    )


def _infinite(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Which rows hold a number that is infinite as float32, a vector counting once; of lists, which of their values."""
    if pa.types.is_fixed_size_list(array.type):
        return np.isinf(vectors(array)).any(axis=1)
    if is_list(array.type):
        array = pc.list_flatten(array)
    return np.isinf(_numbers(array)) if pa.types.is_floating(array.type) else np.zeros(len(array), bool)


def _numbers(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """`(rows,)` float32, as training takes them; NaN for a null."""
    with np.errstate(over="ignore"):
        return np.asarray(array).astype(np.float32)


def _column(path: Path, column: str, dtype: pa.DataType = pa.float64()) -> pa.ChunkedArray:  # noqa: B008
    """A whole column of a file."""
    batches = read(file_units(path), {column: dtype})
    return pa.chunked_array([batch[column] for batch in batches], dtype)
