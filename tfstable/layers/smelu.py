"""SmeLU, the smooth ReLU."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfstable")
def smelu(x: tf.Tensor, beta: float = 1.0) -> tf.Tensor:
    """The function of the layer `SmeLU`, for `activation=smelu`. To set the half-width, use `activation=SmeLU(0.5)`."""
    if isinstance(x, keras.KerasTensor):
        return SmeLU(beta)(x)
    x = tf.convert_to_tensor(x)
    # Two digits of bfloat16 are too few for a difference that is squared, and (2 beta)^2 may overflow float16.
    wide = tf.cast(x, tf.float32) if x.dtype.size < 4 else x
    return tf.cast(_smelu(wide, float(beta)), x.dtype)


@keras.saving.register_keras_serializable(package="tfstable")
class SmeLU(keras.layers.Layer):
    """Smooth rectified linear unit, applied element-wise.

        f(x) = 0                        if x <= -beta         f'(x) = 0
        f(x) = (x + beta)^2 / (4 beta)  if |x| <= beta        f'(x) = (x + beta) / (2 beta)
        f(x) = x                        if x >= beta          f'(x) = 1

    The tails are exact: 0 and x, with slopes 0 and 1. Infinities and NaN give the same outputs as with ReLU.

    Each layer has its own half-width, a number that is not trained. Its gradient df/dbeta = (beta^2 - x^2) / (4 beta^2)
    on the parabola follows the loss, and the loss does not see reproducibility, the purpose of beta. A trained beta may
    shrink to ReLU's kink unnoticed. Behind a dense layer it would add nothing, because the weights already scale x
    against beta.

    Args:
        beta: Half-width of the parabola, in the units of the input. In [1e-30, 1e30], where float32 holds 1 / beta.

    Shapes:
        `(...)` float in, same shape and dtype out.

    Raises:
        ValueError: If `beta` is outside its domain.

    Reference:
        Shamir, Lin, Coviello, "Smooth Activations and Reproducibility in Deep Networks", 2020.

    Examples:
        >>> from tfstable.layers import SmeLU
        >>> SmeLU(beta=1.0)(keras.ops.array([-2.0, 0.0, 2.0])).numpy().tolist()
        [0.0, 0.25, 2.0]
    """

    def __init__(self, beta: float = 1.0, **kwargs: Any):
        # The dtype is the input's, so that `activation=SmeLU(0.5)` fits a layer of any dtype policy.
        super().__init__(autocast=False, **kwargs)
        if not 1e-30 <= beta <= 1e30:
            raise ValueError(f"beta must be in [1e-30, 1e30], got {beta}")
        self.beta = float(beta)
        self.supports_masking = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return smelu(x, self.beta)

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}


def _smelu(x: tf.Tensor, beta: float) -> tf.Tensor:
    @tf.custom_gradient
    def apply(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        # ClipByValue is one pass over memory where tf.clip_by_value is two; passes are all that SmeLU costs.
        zero, one = tf.constant(0, x.dtype), tf.constant(1, x.dtype)
        slope = tf.raw_ops.ClipByValue(t=x * (0.5 / beta) + 0.5, clip_value_min=zero, clip_value_max=one)
        # beta slope^2 is 0, the parabola, beta. It exceeds x by (x - beta)^2 / (4 beta) on the parabola: max selects.
        return tf.maximum(x, beta * tf.square(slope)), lambda upstream: upstream * slope

    return apply(x)
