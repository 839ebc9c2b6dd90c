"""The loss of a task for each example of a batch."""

from collections.abc import Mapping

import tensorflow as tf

from tfstable.log_columns import rate_column
from tfstable.models import list_losses
from tfstable.models import tasks as task_math
from tfstable.models.targets import groups, offset
from tfstable.specs import LATE, LOGIT_SUM, BinaryTask, TaskSpec


def mean_squared_logits(
    tasks: Mapping[str, TaskSpec],
    logits: Mapping[str, tf.Tensor],
    y: Mapping[str, tf.Tensor],
    weights: Mapping[str, tf.Tensor | None],
) -> tf.Tensor:
    """Returns the sum over binary tasks of the mean of their squared logits, which `model.logit_penalty` weighs.

    Like a loss, a square counts where the task has a label, times the example's weight, over the size of the batch.
    (Kannan, Kurakin, Goodfellow, "Adversarial Logit Pairing", 2018, call the penalty logit squeezing.)

    Args:
        tasks: The tasks with a label.
        logits, y: As `example_losses` takes them.
        weights: What `weights_by_task` returns.
    """
    means = []
    for name in (name for name, task in tasks.items() if isinstance(task, BinaryTask)):
        logit, weight = logits[name], weights[name]
        square = tf.where(tf.math.is_finite(tf.cast(y[name], logit.dtype)), tf.square(logit), 0.0)
        means.append(tf.reduce_mean(square if weight is None else square * tf.cast(weight, logit.dtype)))
    return tf.add_n(means) if means else tf.zeros([])


def example_losses(
    name: str,
    task: TaskSpec,
    logits: Mapping[str, tf.Tensor],
    y: Mapping[str, tf.Tensor],
    weights: tf.Tensor | None,
) -> tf.Tensor:
    """Returns the loss of each example before its weight, `(batch,)`, in the logits' dtype.

    Args:
        name: Name of the task.
        task: The task.
        logits: What the model returns as logits, `(batch,)` each.
        y: What `labels_by_task` returns.
        weights: `(batch,)` example weights, which a loss over lists reads; None: each weighs 1.

    Raises:
        ValueError: If the groups of a loss over lists, or the second logits of `jrc`, are missing.
    """
    logit = logits[name]
    rate = offset(name, y) if rate_column(task) else None
    trained = logit if rate is None else logit - tf.cast(rate, logit.dtype)
    if LATE + name in y:
        each = task_math.late_loss(trained, y[name], tf.cast(y[LATE + name], logit.dtype))
    else:
        each = task_math.loss(task, trained, y[name])
    if not isinstance(task, BinaryTask) or task.loss is None:
        return each
    sums = logits.get(LOGIT_SUM + name)
    if sums is None and task.loss.kind == "jrc":
        raise ValueError(
            f"task {name} has the loss jrc, but heads returned no {LOGIT_SUM}{name}; take tfstable.models.JointRanking"
        )
    of_lists = list_losses.loss(task, logit, y[name], groups(y), weights, rate, sums)
    return (1 - task.loss.weight) * each + task.loss.weight * of_lists
