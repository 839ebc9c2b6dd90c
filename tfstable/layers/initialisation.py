"""Initial kernels that keep the size of a signal from layer to layer."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

_POINTS = np.linspace(-12.0, 12.0, 48_001)  # 12 deviations: what lies outside is below 1e-30.


def activation_gain(function: Callable[[tf.Tensor], tf.Tensor]) -> float:
    """Returns the gain of an activation, by the trapezoidal rule:

        gain = 1 / sqrt(E f(z)^2),  z standard normal

    A kernel of variance gain^2 / fan_in that reads f(z) gives pre-activations of variance 1, as z has. The gain of a
    homogeneous f, such as ReLU's sqrt(2), holds for z of any variance; that of another, such as SmeLU, for 1 alone.

    Args:
        function: The activation: a function or layer, `(n,)` float64 in and out.

    Raises:
        ValueError: If the function is 0 almost everywhere, or not finite.

    Examples:
        >>> from tfstable.layers import SmeLU, activation_gain
        >>> round(activation_gain(keras.activations.relu), 4), round(activation_gain(SmeLU(1.0, dtype="float64")), 4)
        (1.4142, 1.3803)
    """
    with tf.init_scope():  # Also where a model is made inside a graph.
        values = np.asarray(ops.convert_to_numpy(function(tf.constant(_POINTS))), np.float64)
    density = np.exp(-(_POINTS**2) / 2) / np.sqrt(2 * np.pi)
    square = float(np.sum(density * values**2) * (_POINTS[1] - _POINTS[0]))
    if not 0 < square < np.inf:
        raise ValueError(f"the activation must have a positive and finite E f(z)^2, got {square}")
    return square**-0.5


@keras.saving.register_keras_serializable(package="tfstable")
class MeanSquareOrthogonal(keras.initializers.Initializer):
    """Orthogonal kernels that keep the mean square per unit, up to the gain.

        W = gain * sqrt(max(1, n_out / n_in)) * Q,  Q `(n_in, n_out)` with orthonormal columns, or rows if n_out > n_in

    In expectation over the draw of Q, mean_j (x W)_j^2 = gain^2 mean_i x_i^2: a weight has the mean square gain^2 /
    n_in, as with He's initialisation. If n_out >= n_in this holds for every x exactly. `keras.initializers.Orthogonal`
    keeps the *norm* instead, ||x W|| = gain ||x||, where n_out >= n_in: the factor sqrt(n_out / n_in) is missing, and
    the mean square per unit falls wherever the width grows. For square kernels both are the same.

    Args:
        gain: Factor of the kernel, such as `activation_gain` of the activation whose output the kernel reads. Positive
            and finite.
        seed: See `keras.initializers.Orthogonal`.

    Raises:
        ValueError: If the gain is outside its domain, or a shape is not `(n_in, n_out)`.

    References:
        Saxe, McClelland, Ganguli, "Exact Solutions to the Nonlinear Dynamics of Learning in Deep Linear Neural
        Networks", 2013.
        He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015 (the mean square).
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        if not 0 < gain < np.inf:
            raise ValueError(f"gain must be positive and finite, got {gain}")
        self.gain, self.seed = gain, seed
        self._of_norm = keras.initializers.Orthogonal(gain, seed)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
        if len(shape := tuple(shape)) != 2:
            raise ValueError(f"MeanSquareOrthogonal makes kernels (n_in, n_out), got the shape {shape}")
        n_in, n_out = shape
        return max(1.0, n_out / n_in) ** 0.5 * self._of_norm(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self.seed}
