"""SmeLU with two slopes."""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfstable")
class GeneralisedSmeLU(keras.layers.Layer):
    """Two lines joined by a parabola, applied element-wise: for example a smooth leaky ReLU.

        f(x) = shift + slope_below * min(x + a, 0)                                       the line below -a
             + slope_below * u + (slope_above - slope_below) * u^2 / (2 (a + b))         the parabola
             + slope_above * max(x - b, 0)                                               the line above b
        where u = clip(x + a, 0, a + b)

    The slope is continuous: slope_below up to -a, slope_above from b, linear between them.
    `GeneralisedSmeLU(beta, beta)` equals `SmeLU(beta)` and takes more operations.

    Args:
        a: The parabola begins at x = -a. Finite.
        b: The parabola ends at x = b. Finite, greater than -a.
        slope_below: Slope of the line below -a. Finite.
        slope_above: Slope of the line above b. Finite.
        shift: Value at x = -a. Finite.

    Shapes:
        `(...)` float in, same shape and dtype out.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Shamir, Lin, Coviello, "Smooth Activations and Reproducibility in Deep Networks", 2020.

    Examples:
        >>> from tfstable.layers import GeneralisedSmeLU
        >>> GeneralisedSmeLU(a=1.0, b=1.0, slope_below=0.5)(keras.ops.array([-3.0, -1.0, 3.0])).numpy().tolist()
        [-1.0, 0.0, 3.5]
    """

    def __init__(
        self,
        a: float = 1.0,
        b: float = 1.0,
        slope_below: float = 0.0,
        slope_above: float = 1.0,
        shift: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)  # The dtype is the input's.
        self.a, self.b, self.slope_below, self.slope_above, self.shift = map(
            float, (a, b, slope_below, slope_above, shift)
        )
        if not all(map(math.isfinite, (self.a, self.b, self.slope_below, self.slope_above, self.shift))):
            raise ValueError(f"arguments must be finite, got {a=}, {b=}, {slope_below=}, {slope_above=}, {shift=}")
        if not self.a + self.b >= 1e-30:
            raise ValueError(f"a + b must be at least 1e-30, got {a=}, {b=}")
        self.supports_masking = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.convert_to_tensor(x)
        wide = tf.cast(x, tf.float32) if x.dtype.size < 4 else x
        return tf.cast(self._apply(wide), x.dtype)

    def _apply(self, x: tf.Tensor) -> tf.Tensor:
        width, rise = self.a + self.b, self.slope_above - self.slope_below

        @tf.custom_gradient  # TensorFlow's own gradient would count two pieces at each joint.
        def apply(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            s = tf.clip_by_value((x + self.a) / width, 0.0, 1.0)  # u / (a + b)
            y = self.shift + width * s * (self.slope_below + (rise / 2) * s)
            # Leaves out a slope of 0: times an infinite x it would be NaN.
            if self.slope_below:
                y += self.slope_below * tf.minimum(x + self.a, 0.0)
            if self.slope_above:
                y += self.slope_above * tf.maximum(x - self.b, 0.0)
            return y, lambda upstream: upstream * (self.slope_below + rise * s)

        return apply(x)

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, x.dtype)

    def get_config(self) -> dict[str, Any]:
        names = ("a", "b", "slope_below", "slope_above", "shift")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
