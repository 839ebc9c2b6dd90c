import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf

from tfstable.optimizers.adam import one_minus_power
from tfstable.optimizers.domains import check_number
from tfstable.optimizers.norm_clipping import NormClipping

EPSILON = 1e-8  # As in the authors' code.


@keras.saving.register_keras_serializable(package="tfstable")
@dataclasses.dataclass(frozen=True)
class AdaGN(NormClipping):
    """Gives each tensor's gradient a norm of about 1: the mean of its norms over their root mean square (AdaGN).

        m_t = gamma_1 m_{t-1} + (1 - gamma_1) ||g_t||_2
        v_t = gamma_2 v_{t-1} + (1 - gamma_2) ||g_t||_2^2
        h_t = 1 / ||g_t||_2 * m_t / (1 - gamma_1^t) / (sqrt(v_t / (1 - gamma_2^t)) + 1e-8)

    Unlike most clippings it also enlarges small gradients. It is the gradient normalisation of Stable-SPAM, without the
    clipping of single elements and the resets of Adam's state that belong to it there.

    Args:
        gamma_1, gamma_2: Shares of the old means. At least 0, below 1.
        accumulate: See `NormClipping`.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Huang et al., "Stable-SPAM: How to Train in 4-Bit More Stably than 16-Bit Adam", 2025.
    """

    gamma_1: float = 0.7
    gamma_2: float = 0.9

    initial: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)  # m, v and t.

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("gamma_1", self.gamma_1, least=0, below=1)
        check_number("gamma_2", self.gamma_2, least=0, below=1)

    def advance(self, norms: tf.Tensor, whole: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean, square, count = tf.unstack(state, axis=1)
        count += 1.0
        mean = self.gamma_1 * mean + (1.0 - self.gamma_1) * norms
        square = self.gamma_2 * square + (1.0 - self.gamma_2) * tf.square(norms)
        root = tf.sqrt(square / one_minus_power(self.gamma_2, count)) + EPSILON
        wanted = mean / one_minus_power(self.gamma_1, count) / root
        return tf.math.divide_no_nan(wanted, norms), tf.stack([mean, square, count], axis=1)
