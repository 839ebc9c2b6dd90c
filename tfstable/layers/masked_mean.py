"""The mean of a history's positions."""

from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape, check_equal, check_one_input


@keras.saving.register_keras_serializable(package="tfstable")
class MaskedMean(keras.layers.Layer):
    """Averages the positions that are not padded:

        y = sum_i m_i k_i / max(1, sum_i m_i),    m_i = 0 where padded

    Call arguments:
        keys: The positions.
        attention_mask: `(batch, length)` bool, False where padded. Default: nothing is padded.

    Shapes:
        `(batch, length, width)` in, `(batch, width)` out, zeros where all is padded.

    Raises:
        ValueError: If input or mask have another shape.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def build(self, keys_shape: Shape) -> None:
        check_one_input(self, keys_shape, rank=3)
        self.built = True

    def call(self, keys: tf.Tensor, attention_mask: tf.Tensor | None = None) -> tf.Tensor:
        if attention_mask is None:
            return tf.reduce_mean(keys, axis=1)
        check_equal(self, "attention_mask", attention_mask.shape, keys.shape[:2])
        present = tf.cast(attention_mask, keys.dtype)
        total = tf.squeeze(tf.matmul(present[:, None], keys), axis=1)
        return total / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1)

    def compute_output_shape(self, keys_shape: Shape) -> Shape:
        return keys_shape[0], keys_shape[2]
