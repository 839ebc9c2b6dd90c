"""Activation clipping."""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfstable.layers.shapes import Shape


@keras.saving.register_keras_serializable(package="tfstable")
class ClipActivation(keras.layers.Layer):
    """Clips activations element-wise, so that one outlier cannot blow up all layers above.

        f(x) = min(max(x, -limit), limit)

    Args:
        limit: Largest absolute value that passes. Positive and finite.

    Shapes:
        `(...)` float in, same shape and dtype out. Where it clips, the gradient is 0.

    Raises:
        ValueError: If `limit` is not positive and finite.

    Reference:
        Named among the common remedies by Tang et al., "Improving Training Stability for Multitask Ranking Models in
        Recommender Systems", KDD 2023.

    Examples:
        >>> from tfstable.layers import ClipActivation
        >>> ClipActivation(limit=1.0)(keras.ops.array([-5.0, 0.5, 3.0])).numpy().tolist()
        [-1.0, 0.5, 1.0]
    """

    def __init__(self, limit: float, **kwargs: Any):
        super().__init__(**kwargs)
        if not (math.isfinite(limit) and limit > 0):
            raise ValueError(f"limit must be positive and finite, got {limit}")
        self.limit = float(limit)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return ops.clip(x, -self.limit, self.limit)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "limit": self.limit}
