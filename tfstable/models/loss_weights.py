"""Weights of the tasks' losses that are learned or follow the losses, at a cost that does not grow with the model."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfstable.specs import RegressionTask, TaskSpec

HORIZON = 100  # Steps over which Famo smooths the losses: a batch has few positives of a rare task, or none.
DECAY = 1e-3  # Of Famo's xi per step, gamma in the paper.

Scalars = Mapping[str, tf.Tensor]  # By task.


class LossWeights(keras.layers.Layer):
    """Weighs the losses of tasks. The tasks' own `weight` stays as a preference, a factor of what is found here.

    Args:
        tasks: Specs of the tasks with labels, by name.
    """

    def __init__(self, tasks: Mapping[str, TaskSpec], **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.tasks = list(tasks)
        self._preferences = [task.weight for task in tasks.values()]
        self._parts = [0.5 if isinstance(task, RegressionTask) else 1.0 for task in tasks.values()]

    def total(self, losses: Scalars, shares: Scalars) -> tf.Tensor:
        """Returns the loss to minimise, a scalar.

        Args:
            losses: Scalars, sums over the labelled examples over the size of the batch.
            shares: Scalars, the labelled examples, each times its weight, over the size of the batch.
        """
        raise NotImplementedError

    def after_step(self, losses: Scalars, shares: Scalars, examples: tf.Tensor, applied: Any = True) -> None:
        """Takes note of a step, in replica context.

        Args:
            losses, shares: Of the step, as `total` takes them.
            examples: Size of this replica's batch, a scalar.
            applied: Whether the optimizer did not skip the step.
        """

    def _in_order(self, values: Scalars) -> tf.Tensor:
        return tf.stack([tf.cast(values[name], self.variable_dtype) for name in self.tasks])  # (tasks,)


class Uncertainty(LossWeights):
    """Weights by a noise per task, which is learned with the other weights:

        sum_k exp(-s_k) L_k + s_k / 2,  with L_k / 2 for a squared error;  s_k = log sigma_k^2, 0 at the start

    The second term counts once per labelled example, like the first: a task with few labels is not taken for one with
    little noise. For steady losses the weight of a binary task tends to 1 / (2 mean loss per labelled example), of a
    regression to 1 / (its mean squared error). So the optimum weighs a rare task, whose loss is small, most.

    Reference:
        Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics",
        2018.
    """

    def build(self, input_shape: Any = None) -> None:
        self.log_variance = self.add_weight(shape=(len(self.tasks),), initializer="zeros", name="log_variance")
        self.built = True

    def total(self, losses: Scalars, shares: Scalars) -> tf.Tensor:
        s, preferences = self.log_variance, tf.constant(self._preferences, self.variable_dtype)
        parts = tf.constant(self._parts, self.variable_dtype)
        each = parts * tf.exp(-s) * self._in_order(losses) + self._in_order(shares) * s / 2
        return tf.reduce_sum(preferences * each)

    def weights_now(self) -> tf.Tensor:
        """Returns the factor of each task's loss, `(tasks,)`."""
        return tf.constant(self._preferences, self.variable_dtype) * self._parts * tf.exp(-self.log_variance)


class Famo(LossWeights):
    """Weights under which all losses fall at one rate, in the relative sense, after FAMO:

        w_k = c z_k / l_k,  z = softmax(xi + log preference),  c such that the weights have the sum of the preferences
        xi <- (1 - gamma) xi - K z (d - sum_k z_k d_k),  d_k = log l_k before the step - log l_k after it

    FAMO computes the losses l anew after each step, by a second forward pass on the batch. On a stream the next batch
    has new examples anyway, so this one takes l_k from a running mean per labelled example, over about 100 steps: no
    second pass, a noise that cancels in the sum of the d_k over the steps, and nothing learned from a batch without
    labels of the task. A plain gradient step of rate K, the number of tasks, replaces FAMO's Adam, which would
    turn the noise of small d_k into steps of full size.

    Reference:
        Liu, Feng, Stone, Liu, "FAMO: Fast Adaptive Multitask Optimization", 2023.
    """

    def build(self, input_shape: Any = None) -> None:
        shape = (len(self.tasks),)
        keys = {"initializer": "zeros", "trainable": False, "aggregation": "only_first_replica"}
        self.xi = self.add_weight(shape=shape, name="xi", **keys)
        self.losses_seen = self.add_weight(shape=shape, name="losses_seen", **keys)  # Running sums of losses,
        self.labels_seen = self.add_weight(shape=shape, name="labels_seen", **keys)  # and of labelled examples.
        self.built = True

    def total(self, losses: Scalars, shares: Scalars) -> tf.Tensor:
        return tf.reduce_sum(tf.stop_gradient(self.weights_now()) * self._in_order(losses))

    def weights_now(self) -> tf.Tensor:
        """Returns the factor of each task's loss, `(tasks,)`."""
        preferences = tf.constant(self._preferences, self.variable_dtype)
        shares = self._shares() / _level(self.losses_seen, self.labels_seen)
        return tf.math.divide_no_nan(shares, tf.reduce_sum(shares)) * tf.reduce_sum(preferences)

    def after_step(self, losses: Scalars, shares: Scalars, examples: tf.Tensor, applied: Any = True) -> None:
        sums = tf.stack([self._in_order(losses), self._in_order(shares)]) * tf.cast(examples, self.variable_dtype)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            sums = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, sums)
        known = tf.logical_and(applied, tf.reduce_all(tf.math.is_finite(sums)))
        before, labels = tf.identity(self.losses_seen.value), tf.identity(self.labels_seen.value)
        after, labels_after = tf.unstack((1 - 1 / HORIZON) * tf.stack([before, labels]) + sums)
        seen = (labels > 0) & (before > 0) & (after > 0)
        fallen = tf.math.log(_level(before, labels) / _level(after, labels_after))
        d, z = tf.where(seen, fallen, 0.0), self._shares()
        xi = (1 - DECAY) * self.xi.value - len(self.tasks) * z * (d - tf.reduce_sum(z * d))
        news = ((self.xi, xi), (self.losses_seen, after), (self.labels_seen, labels_after))
        for variable, new in news:
            variable.assign(tf.where(known, new, variable.value))

    def _shares(self) -> tf.Tensor:
        """z, `(tasks,)`; 0 for a task of weight 0."""
        unscaled = tf.constant(self._preferences, self.variable_dtype) * tf.exp(self.xi - tf.reduce_max(self.xi))
        return tf.math.divide_no_nan(unscaled, tf.reduce_sum(unscaled))


def _level(losses: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The mean loss per labelled example, `(tasks,)`; 1 where none has been seen."""
    losses, labels = tf.convert_to_tensor(losses), tf.convert_to_tensor(labels)
    return tf.where((labels > 0) & (losses > 0), tf.math.divide_no_nan(losses, labels), 1.0)


def make_loss_weights(kind: str, tasks: Mapping[str, TaskSpec], dtype: Any) -> LossWeights | None:
    """Returns the weights of `RankingOptions.loss_weights`; None for fixed ones.

    Args:
        kind: "fixed", "uncertainty" or "famo".
        tasks: Specs of the tasks with labels, by name.
        dtype: Of the logits.
    """
    kinds: Sequence[tuple[str, type[LossWeights]]] = (("uncertainty", Uncertainty), ("famo", Famo))
    return next((made(tasks, name="loss_weights", dtype=dtype) for name, made in kinds if name == kind), None)
