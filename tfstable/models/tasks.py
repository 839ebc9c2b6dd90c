"""The mathematics of a task: loss and prediction from its logit, and the initial logit."""

import math
from collections.abc import Callable, Mapping

import tensorflow as tf

from tfstable.specs import BinaryTask, TaskSpec


def loss(task: TaskSpec, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example, `(batch,)`, in the logits' dtype: cross-entropy in nats, or the squared error.

    The squared error is on the scale of the task's transform. Masked examples (NaN labels) have a loss of 0.

    Args:
        task: The task.
        logits: `(batch,)`, of the examples as they are trained; see `population_logits`.
        labels: `(batch,)`.
    """
    known = tf.math.is_finite(labels)
    # Replaces the label before the loss, not the loss afterwards: else the gradient would be 0 * NaN.
    labels = tf.cast(tf.where(known, labels, 0.0), logits.dtype)
    if isinstance(task, BinaryTask):
        if task.positive_weight == 1:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        else:
            losses = tf.nn.weighted_cross_entropy_with_logits(labels, logits, task.positive_weight)
    else:
        losses = tf.square(logits - (tf.math.log1p(labels) if task.transform == "log1p" else labels))
    return tf.where(known, losses, 0.0)


def prediction(
    task: TaskSpec, logits: tf.Tensor, calibrate: Callable[[tf.Tensor], tf.Tensor] = lambda logits: logits
) -> tf.Tensor:
    """Returns probabilities for a binary task, and values in the label's own units for a regression.

    Args:
        task: The task.
        logits: `(batch,)`, of the examples as they are trained.
        calibrate: Maps the logits of the population.
    """
    logits = calibrate(population_logits(task, logits))
    if isinstance(task, BinaryTask):
        return tf.sigmoid(logits)
    return tf.math.expm1(logits) if task.transform == "log1p" else logits


def population_logits(task: TaskSpec, logits: tf.Tensor) -> tf.Tensor:
    """Returns the logits of the whole population with complete labels, `(batch,)`, from those of what is trained.

    Where the log holds a share r of the negatives, its odds are 1 / r times those of the population: the logit is
    shifted by log r (He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", 2014). Where r is a
    column, the loss shifts instead (`task_losses` of the model).
    """
    if not isinstance(task, BinaryTask):
        return logits
    if isinstance(task.negative_rate, float):
        logits += math.log(task.negative_rate)
    return logits


def late_loss(logits: tf.Tensor, labels: tf.Tensor, late: tf.Tensor) -> tf.Tensor:
    """Returns the loss of labels of which a share of the positives is still to come, in nats, `(batch,)`.

    It is the cross-entropy of what is known: a positive label with probability p (1 - late), none with the rest. For
    complete labels it is the usual one. So rows with and without all of their labels train one p.

    Args:
        logits: `(batch,)`, of p.
        labels: `(batch,)`, 0 or 1; NaN where masked.
        late: `(batch,)`, from 0 to below 1.

    Reference:
        Chapelle, "Modeling Delayed Feedback in Display Advertising", 2014, for delays that are known.
    """
    none = tf.math.softplus(logits) - tf.math.softplus(logits + tf.math.log(tf.maximum(late, 1e-37)))
    losses = tf.where(labels == 1, tf.math.softplus(-logits), none)
    return tf.where(tf.math.is_finite(labels), losses, 0.0)


def with_products(tasks: Mapping[str, TaskSpec], logits: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the logits of all tasks, `(batch,)` each, from those of tasks with heads.

    With p_i = sigmoid(l_i), the odds against both of two are (1 - p_1 p_2) / (p_1 p_2) = e^(-l_1) + e^(-l_2) +
    e^(-l_1 - l_2), so the logit of a product of two is

        l = -logsumexp(-l_1, -l_2, -l_1 - l_2)

    and of more, that of the first two with the next. No probability comes near 0 or 1, so nothing is lost there, as it
    would be in log p - log(1 - p). The cross-entropy of this logit is the loss of ESMM's product.

    Args:
        tasks: Task specs by name.
        logits: By task with a head, `(batch,)`; others are kept.

    Reference:
        Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion Rate",
        2018.
    """
    found = dict(logits)
    for name, task in tasks.items():
        if name in logits or not isinstance(task, BinaryTask) or not task.product_of:
            continue
        of = [population_logits(tasks[factor], logits[factor]) for factor in task.product_of]
        product = of[0]
        for other in of[1:]:
            product = -tf.reduce_logsumexp(tf.stack([-product, -other, -product - other]), axis=0)
        found[name] = product - population_logits(task, tf.zeros([], product.dtype))  # As the log is sampled.
    return found


def initial_logit(task: TaskSpec, base_rate: float) -> float:
    """Returns the logit that predicts the base rate (the mean label, after the transform) for every example."""
    if isinstance(task, BinaryTask):
        base_rate = min(max(base_rate, 1e-6), 1 - 1e-6)  # `statistics.fit` has a prior; a caller's own rate may be 0.
        return math.log(base_rate / (1 - base_rate))
    return base_rate
