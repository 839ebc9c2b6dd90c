"""Metrics for Keras's own loops, where a metric must be summed batch by batch: those for which that is exact.

AUC, churn and correlations need all rows at once: they are the functions over arrays of `tfstable.metrics`.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfstable")
class PredictionDifference(keras.metrics.MeanMetricWrapper):
    """Relative prediction difference of two models, as `tfstable.metrics.prediction_difference`, over batches.

        metric.update_state(predictions_of_one, predictions_of_the_other, sample_weight)

    Args:
        name: Name of the metric.
        dtype: Of the sums: Keras's default float type unless given.

    Shapes:
        `(batch,)` floats of both models, and weights of the same shape or None. Rows of weight 0 may hold anything.

    Reference:
        Shamir, Lin, "Real World Large Scale Recommendation Systems Reproducibility and Smooth Activations", 2022.
    """

    def __init__(self, name="prediction_difference", dtype=None):
        super().__init__(_relative_difference, name=name, dtype=dtype)

    def update_state(self, first, second, sample_weight=None):
        if sample_weight is not None:  # A NaN times a weight of 0 would be NaN.
            counts = ops.convert_to_tensor(sample_weight) > 0
            first, second = (ops.where(counts, values, ops.zeros_like(values)) for values in (first, second))
        return super().update_state(first, second, sample_weight)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def _relative_difference(first, second):
    total = ops.abs(first) + ops.abs(second)
    return 2 * ops.abs(first - second) / ops.where(total > 0, total, ops.ones_like(total))
