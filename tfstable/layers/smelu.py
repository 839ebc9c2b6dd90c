"""SmeLU, the smooth ReLU."""

import math

import keras
from keras import ops


def smelu(x, beta: float = 1.0):
    """The SmeLU function; see `SmeLU`."""
    # Clipping first keeps the parabola finite where `where` discards it: else its gradient is 0 * inf = NaN.
    joint = ops.clip(x, -beta, beta)
    return ops.where(x >= beta, x, ops.square(joint + beta) / (4.0 * beta))


@keras.saving.register_keras_serializable(package="tfstable")
class SmeLU(keras.layers.Layer):
    """Smooth rectified linear unit, applied element-wise.

        f(x) = 0                        if x <= -beta
        f(x) = (x + beta)^2 / (4 beta)  if |x| <= beta
        f(x) = x                        if x >= beta

    Args:
        beta: Half-width of the parabola, in the units of the input. Positive and finite.

    Shapes:
        `(...)` float in, same shape and dtype out.

    Raises:
        ValueError: If `beta` is not positive and finite.

    Reference:
        Shamir, Lin, Coviello, "Smooth Activations and Reproducibility in Deep Networks", 2020.
    """

    def __init__(self, beta: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        if not (math.isfinite(beta) and beta > 0):
            raise ValueError(f"beta must be positive and finite, got {beta}")
        self.beta = float(beta)

    def call(self, x):
        return smelu(x, self.beta)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}
