"""Converts labels and weights from `fit` and other callers to the form that losses and metrics read."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfstable.specs import GROUP, OFFSET


def labels_by_task(tasks: Collection[str], y: Any, dtype: Any) -> dict[str, tf.Tensor]:
    """Returns the labels of each task, `(batch,)` in `dtype`, NaN where masked; then what else losses read of a row.

    Args:
        tasks: Names of the tasks.
        y: Labels by task, `(batch,)` or `(batch, 1)`, numbers or bools; other tasks are ignored, but not names that
            begin with "//" (`tfstable.specs.OFFSET`). A model of a single task also takes an array.
        dtype: A float type.

    Raises:
        ValueError: If the labels of a task are missing or have another shape.
    """
    if not isinstance(y, Mapping):
        if y is None or isinstance(y, list | tuple) or len(tasks) > 1:
            raise ValueError(f"y must be a dict with the labels of each task ({', '.join(tasks)}); got {_kind(y)}.")
        y = dict.fromkeys(tasks, y)
    others = {name: _column(value, name) for name, value in y.items() if name.startswith("//")}
    y = only_tasks(tasks, "y", y)
    return {name: tf.cast(_column(y[name], f"labels of task {name}"), dtype) for name in tasks} | others


def offset(task: str, y: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the logarithm of a task's rate of negatives, `(batch,)`, from what `labels_by_task` returns.

    Raises:
        ValueError: If it is not there.
    """
    if OFFSET + task not in y:
        raise ValueError(
            f"y must have {OFFSET + task}, the logarithm of the rate of negatives per example, since "
            f"tasks.{task}.negative_rate is a column; it has {', '.join(y)}."
        )
    return y[OFFSET + task]


def groups(y: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the number of each row's group, `(batch,)`, from what `labels_by_task` returns.

    Raises:
        ValueError: If it is not there, or it is no integer.
    """
    if GROUP not in y:
        raise ValueError(
            f"y must have {GROUP}, the number of each example's group, an integer, -1 without one, since a task has a "
            f"loss over lists; it has {', '.join(y)}."
        )
    if not y[GROUP].dtype.is_integer:
        raise ValueError(f"y must have integers under {GROUP}, the numbers of the groups; got {y[GROUP].dtype.name}.")
    return y[GROUP]


def weights_by_task(tasks: Collection[str], sample_weight: Any) -> dict[str, tf.Tensor | None]:
    """Returns the example weights of each task, `(batch,)`, or None for a task without weights.

    Args:
        tasks: Names of the tasks.
        sample_weight: None, or one array for all tasks, `(batch,)` or `(batch, 1)`, or a dict of such arrays by task.

    Raises:
        ValueError: If a dict lacks a task, or weights have another shape.
    """
    if sample_weight is None:
        return dict.fromkeys(tasks)
    if not isinstance(sample_weight, Mapping):
        return dict.fromkeys(tasks, _column(sample_weight, "sample_weight"))
    sample_weight = only_tasks(tasks, "sample_weight", sample_weight)
    return {name: _column(sample_weight[name], f"sample_weight of task {name}") for name in tasks}


def label_shares(tasks: Collection[str], y: Any, sample_weight: Any, dtype: Any) -> dict[str, tf.Tensor]:
    """Returns the labelled examples of each task, each times its weight, over the size of the batch: scalars.

    Args:
        tasks, y, dtype: As `labels_by_task` takes them.
        sample_weight: As `weights_by_task` takes it.
    """
    y, weights, shares = labels_by_task(tasks, y, dtype), weights_by_task(tasks, sample_weight), {}
    for name in tasks:
        known, weight = tf.cast(tf.math.is_finite(y[name]), dtype), weights[name]
        shares[name] = tf.reduce_mean(known if weight is None else known * tf.cast(weight, dtype))
    return shares


def only_tasks(tasks: Collection[str], argument: str, given: Any, others: bool = False) -> Any:
    """Returns a dict's entries for the tasks, and with `others` what else losses read; other values unchanged.

    Raises:
        ValueError: If a dict has no entry for a task.
    """
    if not isinstance(given, Mapping):
        return given
    if missing := [name for name in tasks if name not in given]:
        has = ", ".join(map(str, given)) or "nothing"
        raise ValueError(f"{argument} has nothing for task {', '.join(missing)}; it has {has}.")
    read = [name for name in given if others and str(name).startswith("//")]
    return {name: given[name] for name in (*tasks, *read)}


def batch_size(y: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the number of examples, from their labels by task; a scalar."""
    return tf.shape(next(iter(y.values())))[0]


class Rows(NamedTuple):
    """Where a replica's rows are in a batch that several share.

    Attributes:
        start: The first of them, a scalar.
        total: Rows of the whole batch, a scalar.
    """

    start: Any
    total: Any


def rows_of_batch(y: Mapping[str, tf.Tensor]) -> tuple[Rows, tf.Tensor | None]:
    """Returns where this replica's rows are, and its share of the global batch, a float32 scalar; None on one replica.

    Args:
        y: Labels by task; replicas may have different numbers of examples, or none.
    """
    own, replicas = batch_size(y), tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return Rows(0, own), None
    context = tf.distribute.get_replica_context()
    place = tf.cast(context.replica_id_in_sync_group, tf.int32)
    mine = tf.one_hot(place, replicas) * tf.cast(own, tf.float32)
    counts = context.all_reduce(tf.distribute.ReduceOp.SUM, mine)  # (replicas,)
    total = tf.reduce_sum(counts)
    start = tf.reduce_sum(tf.where(tf.range(replicas) < place, counts, 0.0))
    return Rows(tf.cast(start, tf.int32), tf.cast(total, tf.int32)), tf.cast(own, tf.float32) / total


def _column(value: Any, what: str) -> tf.Tensor:
    value = tf.convert_to_tensor(value)
    rank = value.shape.rank
    if rank == 1:
        return value
    if rank is not None and (rank != 2 or value.shape[1] not in (None, 1)):
        raise ValueError(f"{what} must have the shape (batch,) or (batch, 1); got {tuple(value.shape)}.")
    return tf.reshape(value, [-1])


def _kind(y: Any) -> str:
    return "None" if y is None else "a list" if isinstance(y, list | tuple) else "one array"
