"""A given vector on its way into the model."""

from typing import Any, Literal

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape, check_one_input

NORMALISATIONS = ("none", "l2", "layer")


@keras.saving.register_keras_serializable(package="tfstable")
class VectorInput(keras.layers.Layer):
    """Normalises and projects a given vector x; its last element, a flag, passes as it is.

        l2:    n = x / sqrt(sum(x^2) + epsilon)
        layer: n = (x - mean(x)) / sqrt(var(x) + epsilon)
        y = n W

    There is no gain and no bias, because the next layer has a kernel and a bias. A missing vector, which is zeros,
    stays zeros.

    Args:
        projection: Width of y, at least 1; None: y = n.
        normalise: "none", "l2" or "layer".
        epsilon: Keeps the size of a vector of zeros positive.

    Shapes:
        `(batch, width + 1)` float in, `(batch, (projection or width) + 1)` out, same dtype.

    Raises:
        ValueError: If `projection` is below 1, `normalise` is unknown or `epsilon` is not positive.

    Examples:
        >>> from tfstable.layers import VectorInput
        >>> VectorInput(normalise="l2")(tf.constant([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]])).numpy()
        array([[0.6, 0.8, 0. ],
               [0. , 0. , 1. ]], dtype=float32)
    """

    def __init__(
        self,
        projection: int | None = None,
        normalise: Literal["none", "l2", "layer"] = "none",
        epsilon: float = 1e-6,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if projection is not None and projection < 1:
            raise ValueError(f"projection must be at least 1 or None, got {projection}")
        if normalise not in NORMALISATIONS or not epsilon > 0:
            raise ValueError(
                f"normalise must be one of {NORMALISATIONS} and epsilon positive, got {normalise!r}, {epsilon}"
            )
        self.projection, self.normalise, self.epsilon = projection, normalise, epsilon

    def build(self, input_shape: Shape) -> None:
        width = check_one_input(self, input_shape, rank=2) - 1
        if self.projection is not None:
            self.kernel = self.add_weight(shape=(width, self.projection), initializer="glorot_uniform", name="kernel")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        x = self._normalised(inputs[:, :-1])  # (batch, width)
        if self.projection is not None:
            x = tf.matmul(x, self.kernel)
        return tf.concat([x, inputs[:, -1:]], axis=1)

    def _normalised(self, vector: tf.Tensor) -> tf.Tensor:
        if self.normalise == "none":
            return vector
        x = tf.cast(vector, self.variable_dtype)  # In bfloat16 a sum of squares would keep two digits.
        if self.normalise == "layer":
            x -= tf.reduce_mean(x, axis=1, keepdims=True)
            square = tf.reduce_mean(tf.square(x), axis=1, keepdims=True)
        else:
            square = tf.reduce_sum(tf.square(x), axis=1, keepdims=True)
        return tf.cast(x * tf.math.rsqrt(square + self.epsilon), vector.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape if self.projection is None else (*input_shape[:-1], self.projection + 1)

    def get_config(self) -> dict[str, Any]:
        own = {"projection": self.projection, "normalise": self.normalise, "epsilon": self.epsilon}
        return {**super().get_config(), **own}
