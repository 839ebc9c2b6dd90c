"""The compiled parts of training: many steps in one call, and predictions for a batch."""

import keras
import numpy as np
import tensorflow as tf

from tfstable.models import RankingModel


class Steps:
    """Train and predict steps of a model under a strategy.

    The host enters the graph once every n steps; each step's losses stay on the device until then.

    Args:
        strategy: The strategy under whose scope model and optimizer were made.
        model: The model, built.
        optimizer: The optimizer, built on the model's trainable variables.
    """

    def __init__(self, strategy: tf.distribute.Strategy, model: RankingModel, optimizer: keras.optimizers.Optimizer):
        self._strategy, self._model, self._optimizer = strategy, model, optimizer
        self._tasks = list(model.task_specs)

    @tf.function(reduce_retracing=True)
    def train(self, iterator, steps: tf.Tensor) -> tf.Tensor:
        """Trains `steps` steps. Returns `(steps, 1 + tasks)` float32: the total loss and each task's, a row a step."""
        losses = tf.TensorArray(tf.float32, size=steps, element_shape=[1 + len(self._tasks)])
        for step in tf.range(steps):
            per_replica = self._strategy.run(self._train_step, args=next(iterator))
            losses = losses.write(step, self._strategy.reduce(tf.distribute.ReduceOp.MEAN, per_replica, axis=None))
        return losses.stack()

    def predict(self, dataset: tf.data.Dataset, rows: int) -> dict[str, np.ndarray]:
        """Returns each task's predictions, `(rows,)` float32, for the first `rows` rows of a dataset, in its order."""
        parts = []
        for features, _, _ in self._strategy.distribute_datasets_from_function(lambda _: dataset):
            parts.append(self._predict(features))
        return {name: np.concatenate([part[name].numpy() for part in parts])[:rows] for name in self._tasks}

    # Keras does not convert its steps either: a conversion would cost seconds at every start and change nothing.
    @tf.autograph.experimental.do_not_convert
    def _train_step(self, features, labels, weight):
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._model.logits(features, training=True)
            loss = self._model.compute_loss(features, labels, logits, weight)
            # The optimizer sums gradients over replicas; each one's loss is a mean over its equal share of the batch.
            scaled = loss / self._strategy.num_replicas_in_sync
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        parts = self._model.task_losses(labels, logits, weight)
        return tf.stack([loss, *(parts[name] for name in self._tasks)])

    @tf.function(reduce_retracing=True, autograph=False)
    def _predict(self, features):
        predictions = self._strategy.run(self._model, args=(features,), kwargs={"training": False})
        return {name: self._strategy.gather(value, axis=0) for name, value in predictions.items()}
