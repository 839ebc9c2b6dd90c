"""A model of several tasks that works with Keras's own `compile`, `fit`, `evaluate`, `save` and `export`."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfstable.models.loss_weights import LossWeights
from tfstable.models.losses import example_losses, mean_squared_logits
from tfstable.models.masked_metric import masked
from tfstable.models.mean_of_batches import MeanOfBatches
from tfstable.models.penalised import PenalisedModel
from tfstable.models.prepared import prepared
from tfstable.models.targets import (
    batch_size,
    label_shares,
    labels_by_task,
    only_tasks,
    rows_of_batch,
    weights_by_task,
)


class MultitaskModel(PenalisedModel):
    """A model of several tasks, each with its loss on logits, for Keras to train, evaluate, save and export.

    A subclass has `task_specs`, `input_signature`, and a `call` that returns predictions by task, or logits with
    `as_logits=True`. All forward passes go through `Model.__call__`: there Keras makes the variables, tells every layer
    whether it trains, and forgets the losses of the call before.

    `fit` takes labels as a dict by task (or an array for a single task), `(batch,)` or `(batch, 1)`, bool, integer or
    float, NaN where masked, and weights as an array or a dict by task. The reported `loss` is the mean over examples,
    without the batches that the optimizer skipped; NaN if it skipped all. Metrics see only labelled examples;
    `weighted_metrics` also use the example weights. An example counts the same on any replica.
    """

    task_weights: LossWeights | None = None
    _has_metrics: bool

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loss_tracker = MeanOfBatches(name="loss")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.logits is not MultitaskModel.logits or "as_logits" not in inspect.signature(cls.call).parameters:
            raise TypeError(
                f"{cls.__name__} must not replace logits, and its call must take as_logits, because fit and predict "
                "share one forward pass: replace a stage, such as embed, interact, shared_bottom or heads."
            )

    # --- The forward pass.

    def call(
        self, features: Mapping[str, tf.Tensor], training: bool | None = None, as_logits: bool = False
    ) -> dict[str, tf.Tensor]:
        raise NotImplementedError

    # --- The loss.

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Returns the scalar loss: the tasks' weighted sum, plus the losses that layers and stages added.

        Args:
            x: Model inputs; unused here.
            y: Labels by task, `(batch,)`, NaN where masked.
            y_pred: Logits by task, `(batch,)`, of the model's last call. Not predictions: losses work on logits.
            sample_weight: Example weights, `(batch,)`, or a dict of them by task, or None.
            training: Whether `task_weights` weigh the tasks, and `logit_penalty` adds to them; else their own weights
                do, and nothing is added.
        """
        losses = self.task_losses(y, y_pred, sample_weight)
        if training and self.task_weights is not None:
            total = self.task_weights.total(losses, self.label_shares(y, sample_weight))
        else:
            total = tf.add_n([self.task_specs[name].weight * loss for name, loss in losses.items()])
        if training and self.logit_penalty:
            tasks = {name: self.task_specs[name] for name in self.labelled}
            y, weights = labels_by_task(self.labelled, y, self.logit_dtype), weights_by_task(tasks, sample_weight)
            total += self.logit_penalty * tf.cast(mean_squared_logits(tasks, y_pred, y, weights), total.dtype)
        added = [tf.reduce_sum(tf.cast(loss, total.dtype)) for loss in self.losses]
        return total + tf.add_n(added) if added else total

    def task_losses(self, y: Any, logits: Mapping[str, tf.Tensor], sample_weight: Any = None) -> dict[str, tf.Tensor]:
        """Returns the loss of each task of `labelled`: the sum over its labelled examples, each times its weight, over
        the batch's size.

        The divisor is the same for every task and replica. So an example counts the same on any replica, and a rarely
        labelled task does not dominate a batch in which one example has its label.
        """
        y = labels_by_task(self.labelled, y, self.logit_dtype)
        weights, losses = weights_by_task(self.labelled, sample_weight), {}
        for name in self.labelled:
            task, weight = self.task_specs[name], weights[name]
            each = example_losses(name, task, logits, y, weight)
            losses[name] = tf.reduce_mean(each if weight is None else each * tf.cast(weight, each.dtype))
        return losses

    def label_shares(self, y: Any, sample_weight: Any = None) -> dict[str, tf.Tensor]:
        """Returns the labelled examples of each task, each times its weight, over the size of the batch."""
        return label_shares(self.labelled, y, sample_weight, self.logit_dtype)

    # --- Variables: all made at the first use.

    fit, evaluate, predict = (prepared(name) for name in ("fit", "evaluate", "predict"))
    train_on_batch, test_on_batch, predict_on_batch = (
        prepared(name) for name in ("train_on_batch", "test_on_batch", "predict_on_batch")
    )
    save, save_weights, load_weights = (prepared(name) for name in ("save", "save_weights", "load_weights"))
    get_weights, set_weights, count_params, summary = (
        prepared(name) for name in ("get_weights", "set_weights", "count_params", "summary")
    )

    def prepare(self) -> None:
        """Makes all missing variables: of the model, and of the optimizer and metrics given to `compile`."""
        with self.distribute_strategy.scope():
            if not self.built:
                self.build()
            if not self.compiled:
                return
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
            if not self._has_metrics and self.distribute_strategy.num_replicas_in_sync > 1:
                with keras.StatelessScope():  # On replicas no variable can be made. In this scope nothing is counted.
                    none = dict.fromkeys(self.task_specs, tf.zeros([0], self.logit_dtype))
                    self.compute_metrics({}, none, none)
                self._has_metrics = True

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: Keras would make variables here from a batch of data, but they exist already."""

    def get_build_config(self) -> dict[str, Any]:
        self.prepare()
        return {"input_shape": None}  # The specs give all shapes.

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.prepare()

    # --- Training and evaluation.

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: None = None,
        loss_weights: None = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Takes the arguments of `keras.Model.compile`, except losses.

        Raises:
            ValueError: If `loss` or `loss_weights` is given, or, on several replicas, `steps_per_execution` above 1 or
                `jit_compile=True`.
        """
        for name, value in (("loss", loss), ("loss_weights", loss_weights)):
            if value is not None:
                raise ValueError(
                    f"{name} must be None: the tasks define their losses; set the weight of a task in its spec, or "
                    f"replace compute_loss. Got {value!r}."
                )
        weighted, unweighted = masked(weighted_metrics, weighted=True), masked(metrics, weighted=False)
        super().compile(optimizer, metrics=unweighted, weighted_metrics=weighted, **kwargs)
        self._has_metrics = False
        if self.distribute_strategy.num_replicas_in_sync > 1 and (self.steps_per_execution > 1 or self.jit_compile):
            raise ValueError(
                "steps_per_execution must be 1 and jit_compile must not be True on several replicas, where Keras "
                f"supports neither; got {self.steps_per_execution} and {self.jit_compile}."
            )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.prepare()

    @property
    def metrics(self) -> list[Any]:
        """Keras's metrics, with this model's loss instead of Keras's."""
        return [self.loss_tracker, *(metric for metric in super().metrics if metric.name != "loss")]

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y = labels_by_task(self.labelled, y, self.logit_dtype)
        rows, share = rows_of_batch(y)

        def scale(loss: tf.Tensor) -> tf.Tensor:
            # The optimizer sums gradients over replicas.
            scaled = loss if share is None else tf.where(share > 0, loss * tf.cast(share, loss.dtype), 0.0)
            return self.optimizer.scale_loss(scaled)

        gradients, trained = self.training_gradients(x, y, sample_weight, rows, self.optimizer.iterations, scale)
        skipped = getattr(self.optimizer, "skipped_steps", None)
        before = None if skipped is None else tf.identity(skipped.value)
        if self.trainable_variables:
            gradients = self.flooded(gradients, trained.fixed, sample_weight, share)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        applied = None if skipped is None else tf.equal(tf.identity(skipped.value), before)
        if self.task_weights is not None:
            losses, shares = self.task_losses(y, trained.logits, sample_weight), self.label_shares(y, sample_weight)
            self.task_weights.after_step(losses, shares, batch_size(y), True if applied is None else applied)
        return self._report(x, y, trained.logits, sample_weight, trained.plain, applied)

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y = labels_by_task(self.labelled, y, self.logit_dtype)
        logits = self.logits(x, training=False)
        loss = self.stage(self.compute_loss, x, y, logits, sample_weight, training=False)
        return self._report(x, y, logits, sample_weight, loss)

    def _report(
        self,
        x: Any,
        y: dict[str, tf.Tensor],
        logits: Mapping[str, tf.Tensor],
        sample_weight: Any,
        loss: tf.Tensor,
        applied: tf.Tensor | None = None,
    ) -> dict[str, Any]:
        """Updates the loss and the metrics by a batch, unless its step was not applied; returns their results."""
        examples = batch_size(y)
        if applied is not None:
            examples = tf.where(applied, examples, 0)
            y = {name: tf.where(applied, y[name], float("nan")) for name in self.labelled}
        self.loss_tracker.update_state(tf.where(examples > 0, loss, 0.0), sample_weight=examples)
        return self.compute_metrics(x, y, self.predictions(logits), sample_weight)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Mapping[str, tf.Tensor], sample_weight: Any = None
    ) -> dict[str, Any]:
        """Updates the metrics given to `compile` and returns the results of all metrics, like `keras.Model`.

        Args:
            x: Model inputs; unused here.
            y: Labels by task, NaN where masked.
            y_pred: Predictions by task, `(batch,)`.
            sample_weight: As in `fit`.
        """
        y = only_tasks(self.labelled, "y", labels_by_task(self.labelled, y, self.logit_dtype))
        weights = None if sample_weight is None else weights_by_task(self.labelled, sample_weight)
        y_pred = {name: y_pred[name] for name in self.labelled}
        # (batch, 1): Keras's means average over the last axis before they apply weights.
        y, y_pred = ({name: value[:, None] for name, value in by_task.items()} for by_task in (y, y_pred))
        return super().compute_metrics(x, y, y_pred, weights)

    # --- SavedModels.

    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the shape and type of each input, for any batch size."""
        raise NotImplementedError

    @functools.wraps(keras.Model.export)
    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        self.prepare()
        signature = [self.input_signature()] if input_signature is None else input_signature
        super().export(filepath, format, verbose, signature, **kwargs)

    @property
    def _default_save_signature(self) -> Callable[..., Any]:
        """The function that `tf.saved_model.save` uses for `serving_default`; Keras's own makes every input a float."""
        return tf.function(lambda features: self(features, training=False), input_signature=[self.input_signature()])
