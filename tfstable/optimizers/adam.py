import math
from typing import Any, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_number
from tfstable.optimizers.guarded import LearningRate
from tfstable.optimizers.rule import ClippedArguments, RuleArguments, RuleOptimizer, State


class AdamArguments(RuleArguments, total=False):
    """The keyword arguments of `Adam` without `clipping`, for the preset with its own clipping."""

    beta_1: float
    beta_2: float
    epsilon: float


@keras.saving.register_keras_serializable(package="tfstable")
class Adam(RuleOptimizer):
    """Adam: a running mean of the gradients over the root of a running mean of their squares.

        m_t = beta_1 m_{t-1} + (1 - beta_1) g_t
        v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2
        r_t = m_t / (1 - beta_1^t) / (sqrt(v_t / (1 - beta_2^t)) + epsilon)

    For the rows of a table t counts the steps that touched the row: a row seen for the first time late in training then
    takes a step of the same size as one seen early, where a common t would make it up to sqrt((1 - beta_2) / (1 -
    beta_1)^2), about 3 times, as long.

    Args:
        learning_rate, **rule: See `RuleOptimizer`.
        beta_1: At least 0, below 1.
        beta_2: At least 0, below 1.
        epsilon: Above 0.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Kingma, Ba, "Adam: A Method for Stochastic Optimization", 2015.
    """

    uses_step = True

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **rule: Unpack[ClippedArguments],
    ) -> None:
        check_number("beta_1", beta_1, least=0, below=1)
        check_number("beta_2", beta_2, least=0, below=1)
        check_number("epsilon", epsilon, above=0)
        super().__init__(learning_rate, **rule)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def slots(self) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0}

    def direction(self, gradient: tf.Tensor, state: State, step: tf.Tensor) -> tuple[tf.Tensor, State]:
        mean, square = state
        return adam_direction(gradient, mean, square, step, self.beta_1, self.beta_2, self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


def adam_direction(
    gradient: tf.Tensor,
    mean: tf.Tensor,
    square: tf.Tensor,
    step: tf.Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> tuple[tf.Tensor, State]:
    """r and the new (mean, square) of Adam."""
    mean = beta_1 * mean + (1.0 - beta_1) * gradient
    square = beta_2 * square + (1.0 - beta_2) * tf.square(gradient)
    root = tf.sqrt(square / one_minus_power(beta_2, step)) + epsilon
    return mean / one_minus_power(beta_1, step) / root, (mean, square)


def one_minus_power(beta: float, step: tf.Tensor) -> tf.Tensor:
    """1 - beta^step, without the cancellation that costs float32 half its digits when beta is near 1."""
    return -tf.math.expm1(step * math.log(beta)) if beta else tf.ones_like(step)
