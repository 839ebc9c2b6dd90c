"""Do tasks pull the weights that they share in one direction? The cosines between their gradients."""

from collections.abc import Mapping

import tensorflow as tf

from tfstable.models import RankingModel
from tfstable.optimizers import is_embedding_table


class TaskGradients:
    """Measures the cosines between the gradients of the tasks' losses, over the dense weights that they share.

        cos_kl = g_k . g_l / (|g_k| |g_l|)

    Shared are the dense variables that reach the losses of two tasks or more: bottom, experts, cross layers, readers
    of histories; not towers, and not embedding tables. A task's weight does not matter to a cosine. It costs a backward
    pass per task.

    Args:
        model: The model, built.

    Reference:
        Yu et al., "Gradient Surgery for Multi-Task Learning", 2020: tasks whose gradients point apart conflict.
    """

    def __init__(self, model: RankingModel):
        self._model, self.tasks = model, model.labelled
        own = () if model.task_weights is None else model.task_weights.trainable_variables
        mine = {id(variable) for variable in own}
        self._variables = [v for v in model.trainable_variables if not is_embedding_table(v) and id(v) not in mine]
        # Replicated variables can only be read on a replica; every replica measures the same.
        any_variable = self._variables[0].value
        self._strategy = getattr(any_variable, "distribute_strategy", tf.distribute.get_strategy())

    def __call__(
        self, features: Mapping[str, tf.Tensor], labels: Mapping[str, tf.Tensor], weight: tf.Tensor
    ) -> dict[str, dict[str, float]]:
        """Returns the figures of one batch, as a dataset of the trainer yields it.

        Returns:
            By pair of tasks, "A, B", its `gradient_cosine`; by task its `gradient_norm`. A cosine is 0 where a task has
            no gradient.
        """
        per_replica = self._measure(features, labels, weight)
        products = self._strategy.experimental_local_results(per_replica)[0].numpy()  # (tasks, tasks)
        norms = products.diagonal().clip(0) ** 0.5
        found = {task: {"gradient_norm": float(norm)} for task, norm in zip(self.tasks, norms, strict=True)}
        for i, one in enumerate(self.tasks):
            for j in range(i + 1, len(self.tasks)):
                size = norms[i] * norms[j]
                cosine = float(products[i, j] / size) if size > 0 else 0.0
                found[f"{one}, {self.tasks[j]}"] = {"gradient_cosine": cosine}
        return found

    @tf.function(reduce_retracing=True, autograph=False)
    def _measure(
        self, features: Mapping[str, tf.Tensor], labels: Mapping[str, tf.Tensor], weight: tf.Tensor
    ) -> tf.Tensor:
        return self._strategy.run(self._products, args=(features, labels, weight))

    def _products(
        self, features: Mapping[str, tf.Tensor], labels: Mapping[str, tf.Tensor], weight: tf.Tensor
    ) -> tf.Tensor:
        """The products of the tasks' gradients over the shared variables, `(tasks, tasks)` float64."""
        with tf.GradientTape(persistent=True) as tape:
            logits = self._model.logits(features, training=False)  # Dropout would be noise.
            losses = self._model.task_losses(labels, logits, weight)
        values = [variable.value for variable in self._variables]
        gradients = {task: tape.gradient(losses[task], values) for task in self.tasks}
        products = tf.zeros([len(self.tasks), len(self.tasks)], tf.float64)
        for of_variable in zip(*gradients.values(), strict=True):
            if sum(gradient is not None for gradient in of_variable) < 2:
                continue
            some = next(gradient for gradient in of_variable if gradient is not None)
            each = [tf.zeros_like(some) if gradient is None else gradient for gradient in of_variable]
            stacked = tf.cast(tf.reshape(tf.stack(each), [len(each), -1]), tf.float64)  # (tasks, size)
            products += tf.matmul(stacked, stacked, transpose_b=True)
        return products
