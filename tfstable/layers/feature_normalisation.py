"""Normalises the vector of each feature by itself."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape


@keras.saving.register_keras_serializable(package="tfstable")
class FeatureNormalization(keras.layers.Layer):
    """Divides the vector of each feature by its own size, for feature vectors that are joined to one input:

        y = x / sqrt(mean(x^2) + floor^2)

    The mean runs over the elements of one feature. Features do not affect each other, so a model can get a new feature
    and keep its predictions. The floor keeps the row of a rare value, whose elements are mostly noise, smaller than a
    trained row; without a floor both would have the same size. There is no gain and no bias, because the next layer has
    a kernel.

    Args:
        widths: Width of each feature's vector, in order. At least 1 each.
        floor: Root mean square that counts as small, in the units of the input. Positive.

    Shapes:
        `(batch, sum of widths)` float in, same shape and dtype out.

    Raises:
        ValueError: If a width is below 1 or `floor` is not positive.

    Reference:
        Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019; here per feature, with a floor of relevant size.

    Examples:
        One feature with two elements, one with a single element; a tiny floor leaves a root mean square of 1:

        >>> from tfstable.layers import FeatureNormalization
        >>> y = FeatureNormalization(widths=[2, 1], floor=1e-6)(tf.constant([[3.0, 3.0, -8.0]]))
        >>> y.numpy().round(3).tolist()
        [[1.0, 1.0, -1.0]]
    """

    def __init__(self, widths: Sequence[int], floor: float = 0.5, **kwargs: Any):
        super().__init__(**kwargs)
        if min(widths, default=0) < 1 or not floor > 0:
            raise ValueError(f"widths must be at least 1 each and floor positive, got {widths=}, {floor=}")
        self.widths, self.floor = list(widths), floor

    def call(self, x: tf.Tensor) -> tf.Tensor:
        parts, start = [], 0
        for width, run in itertools.groupby(self.widths):  # Neighbours of one width at once.
            count = len(list(run))
            part = x[:, start : start + count * width] if count < len(self.widths) else x
            vectors = self.normalise(tf.reshape(part, [-1, count, width]))
            parts.append(tf.reshape(vectors, [-1, count * width]))
            start += count * width
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)

    def normalise(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns vectors of features, `(..., width)`, each divided by its size."""
        x = tf.cast(vectors, self.variable_dtype)  # In bfloat16 a mean of squares would keep only two digits.
        size = tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + self.floor**2)
        return tf.cast(x * size, vectors.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths, "floor": self.floor}
