"""A Keras metric that leaves out examples whose label is masked."""

import inspect
from typing import Any, Self

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfstable")
class MaskedMetric(keras.metrics.Metric):
    """Gives a metric a weight of 0 for each example whose label is NaN.

    Args:
        metric: The metric; gives name and results. If its `update_state` takes no `sample_weight`, it sees all labels
            unmasked.
        weighted: Whether the weights of examples count. Otherwise each labelled example has a weight of 1.
    """

    def __init__(self, metric: keras.metrics.Metric, weighted: bool, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "name": metric.name})
        self.metric, self.weighted = metric, weighted
        self._takes_weights = "sample_weight" in inspect.signature(metric.update_state).parameters

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None) -> None:
        if not self._takes_weights:
            self.metric.update_state(y_true, y_pred)
            return
        known = tf.math.is_finite(y_true)  # (batch, 1)
        weights = tf.ones_like(y_pred)
        if self.weighted and sample_weight is not None:
            weights = tf.reshape(tf.cast(sample_weight, y_pred.dtype), tf.shape(y_pred))
        y_true, y_pred, weights = (tf.where(known, value, 0.0) for value in (y_true, y_pred, weights))
        self.metric.update_state(y_true, y_pred, sample_weight=tf.reshape(weights, [-1]))

    def result(self) -> Any:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()

    def get_config(self) -> dict[str, Any]:
        return {"metric": keras.saving.serialize_keras_object(self.metric), "weighted": self.weighted}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})


def masked(metrics: Any, weighted: bool) -> Any:
    """Returns what `compile` takes for `metrics` with a `MaskedMetric` for each metric in it.

    Args:
        metrics: None, or names, functions and metrics, in any structure that Keras takes.
        weighted: See `MaskedMetric`.
    """
    return keras.tree.map_structure(lambda metric: _masked(metric, weighted), metrics)


def _masked(metric: Any, weighted: bool) -> Any:
    if metric is None or isinstance(metric, MaskedMetric):
        return metric
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", None)
    # A prediction is one number per example, so accuracy is binary accuracy, as Keras would choose by the shapes.
    found = keras.metrics.get("binary_accuracy" if metric in ("accuracy", "acc") else metric)
    if not isinstance(found, keras.metrics.Metric):
        found = keras.metrics.MeanMetricWrapper(found, name=name)
    elif isinstance(metric, str):
        found.name = metric
    return MaskedMetric(found, weighted)
