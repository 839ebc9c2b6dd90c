import math
from typing import Any, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_number
from tfstable.optimizers.guarded import LearningRate
from tfstable.optimizers.rule import ClippedArguments, RuleOptimizer, State


@keras.saving.register_keras_serializable(package="tfstable")
class AdaX(RuleOptimizer):
    """AdaX: Adam whose second moment has a long memory, in which early gradients count most.

        m_t = beta_1 m_{t-1} + (1 - beta_1) g_t
        v_t = (1 + beta_2) v_{t-1} + beta_2 g_t^2
        r_t = m_t / sqrt(v_t / ((1 + beta_2)^t - 1) + epsilon)

    v_t grows like (1 + beta_2)^t and leaves float32 after 9 * 10^5 steps. The slot holds the quotient u_t under the
    root instead, which is a running mean, and the same number:

        u_t = (1 - a_t) u_{t-1} + a_t g_t^2,  a_t = beta_2 / ((1 + beta_2)^t - 1),  a_1 = 1

    For the rows of a table t counts the steps that touched the row.

    Args:
        learning_rate, **rule: See `RuleOptimizer`.
        beta_1: At least 0, below 1.
        beta_2: Above 0.
        epsilon: Above 0.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Li, Zhang, Wang, Luo, "AdaX: Adaptive Gradient Descent with Exponential Long Term Memory", 2020.
    """

    uses_step = True

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 1e-4,
        epsilon: float = 1e-12,
        **rule: Unpack[ClippedArguments],
    ) -> None:
        check_number("beta_1", beta_1, least=0, below=1)
        check_number("beta_2", beta_2, above=0)
        check_number("epsilon", epsilon, above=0)
        super().__init__(learning_rate, **rule)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def slots(self) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0}

    def direction(self, gradient: tf.Tensor, state: State, step: tf.Tensor) -> tuple[tf.Tensor, State]:
        mean, square = state
        share = self.beta_2 / tf.math.expm1(step * math.log1p(self.beta_2))
        mean = self.beta_1 * mean + (1.0 - self.beta_1) * gradient
        square = (1.0 - share) * square + share * tf.square(gradient)
        # Divided by a root of its own op: graphs turn x / sqrt(y) into x * rsqrt(y), see `adagrad_direction`.
        return tf.math.divide_no_nan(mean, tf.sqrt(square + self.epsilon)), (mean, square)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
