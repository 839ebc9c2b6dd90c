"""The loss of a task for each example of a batch."""

from collections.abc import Mapping

import tensorflow as tf

from tfstable.log_columns import rate_column
from tfstable.models import list_losses
from tfstable.models import tasks as task_math
from tfstable.models.targets import groups, offset
from tfstable.specs import BinaryTask, TaskSpec


def example_losses(
    name: str, task: TaskSpec, logits: tf.Tensor, y: Mapping[str, tf.Tensor], weights: tf.Tensor | None
) -> tf.Tensor:
    """Returns the loss of each example before its weight, `(batch,)`, in the logits' dtype.

    Args:
        name: Name of the task.
        task: The task.
        logits: `(batch,)`.
        y: What `labels_by_task` returns.
        weights: `(batch,)` example weights, which a loss over lists reads; None: each weighs 1.
    """
    rate = offset(name, y) if rate_column(task) else None
    each = task_math.loss(task, logits if rate is None else logits - tf.cast(rate, logits.dtype), y[name])
    if not isinstance(task, BinaryTask) or task.loss is None:
        return each
    of_lists = list_losses.loss(task, logits, y[name], groups(y), weights, rate)
    return (1 - task.loss.weight) * each + task.loss.weight * of_lists
