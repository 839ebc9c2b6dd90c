from typing import Any, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_number
from tfstable.optimizers.guarded import LearningRate
from tfstable.optimizers.rule import ClippedArguments, RuleOptimizer, State


@keras.saving.register_keras_serializable(package="tfstable")
class SGD(RuleOptimizer):
    """Gradient descent, optionally with momentum.

        v_t = momentum v_{t-1} + g_t
        r_t = v_t, or g_t + momentum v_t with nesterov

    The velocity holds gradients, not steps, so that a change of the learning rate acts at once.

    Args:
        learning_rate, **rule: See `RuleOptimizer`.
        momentum: At least 0, below 1. 0: no velocity.
        nesterov: Look ahead by one step of the velocity. Needs a momentum.

    Raises:
        ValueError: If an argument is outside its domain, or `nesterov` is set without a momentum.

    Reference:
        Sutskever, Martens, Dahl, Hinton, "On the Importance of Initialization and Momentum in Deep Learning", 2013.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **rule: Unpack[ClippedArguments],
    ) -> None:
        check_number("momentum", momentum, least=0, below=1)
        if nesterov and not momentum:
            raise ValueError(f"momentum must be above 0 with nesterov=True; got {momentum!r}.")
        super().__init__(learning_rate, **rule)
        self.momentum = momentum
        self.nesterov = nesterov

    def slots(self) -> dict[str, float]:
        return {"velocity": 0.0} if self.momentum else {}

    def direction(self, gradient: tf.Tensor, state: State, step: tf.Tensor) -> tuple[tf.Tensor, State]:
        if not self.momentum:
            return gradient, ()
        (velocity,) = state
        velocity = self.momentum * velocity + gradient
        return gradient + self.momentum * velocity if self.nesterov else velocity, (velocity,)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}
