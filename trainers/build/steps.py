"""The compiled parts of training: many steps in one call, and predictions for a batch."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfstable.analysis import Rotations
from tfstable.models import RankingModel
from tfstable.models.targets import Rows, batch_size


class Steps:
    """Train and predict steps of a model under a strategy.

    The host enters the graph once every n steps; each step's losses stay on the device until then.

    Args:
        strategy: The strategy under whose scope model and optimizer were made.
        model: The model, built.
        optimizer: The optimizer, built on the model's trainable variables.
        xla: Compile with XLA: on one device the whole step; on several the forward and backward pass, without the sums
            over replicas. TPUs always compile.
        dense_tables: Turn the gradients of embedding tables into dense ones before they are summed over the replicas,
            as TPUs without SparseCores need. The cost of a step then grows with the sizes of the tables.
        rotations: Measures each step; None for nothing.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: RankingModel,
        optimizer: keras.optimizers.Optimizer,
        xla: bool = False,
        dense_tables: bool = False,
        rotations: Rotations | None = None,
    ):
        self._strategy, self._model, self._optimizer = strategy, model, optimizer
        self._tasks, self._labelled, self._dense_tables = list(model.task_specs), model.labelled, dense_tables
        self._replicas, self._rotations = strategy.num_replicas_in_sync, rotations
        self._loss_dtype = tf.as_dtype(model.logit_dtype)
        self._step, self._compute_gradients = self.train_step, self._gradients
        if xla and self._replicas == 1:
            self._step = tf.function(self.train_step, jit_compile=True, autograph=False)
        elif xla:
            self._compute_gradients = tf.function(self._gradients, jit_compile=True, autograph=False)

    @tf.function(reduce_retracing=True)
    def train(self, iterator: Iterator[Any], steps: tf.Tensor, rate_factors: tf.Tensor | None = None) -> tf.Tensor:
        """Trains `steps` steps. Returns `(steps, 1 + tasks)` floats: the total loss and that of each task with a label.

        Args:
            iterator: Yields batches.
            steps: Number of steps.
            rate_factors: `(steps, groups)`, the factor of each group's learning rate in each step; None: keep the
                current factors.
        """
        losses = tf.TensorArray(self._loss_dtype, size=steps, element_shape=[1 + len(self._labelled)])
        for step in tf.range(steps):
            if rate_factors is not None:
                for group, optimizer in enumerate(self._optimizer.optimizers):
                    optimizer.rate_factor.assign(rate_factors[step, group])
            before = [] if self._rotations is None else self._rotations.weights()
            per_replica = self._strategy.run(self._step, args=next(iterator))
            if self._rotations is not None:
                self._rotations.after_step(before)
            losses = losses.write(step, self._strategy.reduce(tf.distribute.ReduceOp.MEAN, per_replica, axis=None))
        return losses.stack()

    def diagnostics(self) -> dict[str, dict[str, float]]:
        """Returns the figures of the optimizer's last tracked step: by variable, and by scale-invariant layer."""
        turned = {} if self._rotations is None else self._rotations.figures()
        return {**self._optimizer.diagnostics(), **turned}

    def trace(self, iterator: Iterator[Any], rate_factors: tf.TensorSpec | None = None) -> None:
        """Compiles `train` without a step. This takes as long as many steps."""
        self.train.get_concrete_function(iterator, tf.TensorSpec([], tf.int32), rate_factors)

    def predict(self, dataset: tf.distribute.DistributedDataset | tf.data.Dataset, rows: int) -> dict[str, np.ndarray]:
        """Returns each task's predictions, `(rows,)`, for the first `rows` rows of a dataset, in its order."""
        return self.predict_both(dataset, rows)[0]

    def predict_both(
        self, dataset: tf.distribute.DistributedDataset | tf.data.Dataset, rows: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Returns what `predict` does, and the logits of the calibrated tasks before their calibration."""
        parts = [self._predict(features) for features, _, _ in dataset]
        predictions, logits = (
            {name: np.concatenate([part[kind][name].numpy() for part in parts])[:rows] for name in names}
            for kind, names in enumerate((self._tasks, self._model.calibration))
        )
        return predictions, logits

    # Keras does not convert its steps either: a conversion would cost seconds at every start and change nothing.
    @tf.autograph.experimental.do_not_convert
    def train_step(
        self, features: Mapping[str, tf.Tensor], labels: Mapping[str, tf.Tensor], weight: tf.Tensor
    ) -> tf.Tensor:
        """One step in replica context, on a replica's part of a batch. Returns its losses, `(1 + tasks,)`."""
        own, step = batch_size(labels), tf.identity(self._optimizer.iterations.value)
        place = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        rows = Rows(place * own, self._replicas * own)  # Each replica has an equal share.
        gradients, losses, shares = self._compute_gradients(features, labels, weight, rows, step)
        share = None if self._replicas == 1 else tf.constant(1 / self._replicas)
        gradients = self._model.flooded(gradients, losses[0], weight, share)
        if self._dense_tables:
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        weights = self._model.task_weights
        before = tf.identity(self._optimizer.skipped_steps.value) if weights is not None else None
        self._optimizer.apply_gradients(zip(gradients, self._model.trainable_variables, strict=True))
        if weights is not None:
            applied = tf.equal(tf.identity(self._optimizer.skipped_steps.value), before)
            parts = dict(zip(self._labelled, tf.unstack(losses[1:]), strict=True))
            weights.after_step(parts, shares, batch_size(labels), applied)
        return losses

    def _gradients(
        self,
        features: Mapping[str, tf.Tensor],
        labels: Mapping[str, tf.Tensor],
        weight: tf.Tensor,
        rows: Rows,
        step: tf.Tensor,
    ) -> tuple[list[tf.Tensor], tf.Tensor, dict[str, tf.Tensor]]:
        # The optimizer sums gradients over replicas; each one's loss is a mean over its equal share of the batch.
        gradients, trained = self._model.training_gradients(
            features, labels, weight, rows, step, lambda loss: loss / self._replicas
        )
        # What is told to users and to the detector has one scale, whatever the weights and the penalty do.
        loss, parts = trained.fixed, self._model.task_losses(labels, trained.logits, weight)
        shares = {}
        if self._model.task_weights is not None:
            shares = self._model.label_shares(labels, weight)
        return gradients, tf.stack([loss, *(parts[name] for name in self._labelled)]), shares

    @tf.function(reduce_retracing=True, autograph=False)
    def _predict(self, features: Mapping[str, tf.Tensor]) -> list[dict[str, tf.Tensor]]:
        both = self._strategy.run(self._both, args=(features,))
        return [{name: self._strategy.gather(value, axis=0) for name, value in kind.items()} for kind in both]

    def _both(self, features: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        if not self._model.calibration:
            return self._model(features, training=False), {}
        logits = self._model.logits(features, training=False)
        return self._model.predictions(logits), self._model.uncalibrated_logits(logits)
