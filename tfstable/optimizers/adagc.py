import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_number
from tfstable.optimizers.norm_clipping import NormClipping, shrink


@keras.saving.register_keras_serializable(package="tfstable")
@dataclasses.dataclass(frozen=True)
class AdaGC(NormClipping):
    """Bounds the norm of each tensor's gradient relative to a running mean of its own clipped norms (AdaGC).

        h_t     = min(1, relative gamma_{t-1} / ||g_t||_2)
        gamma_t = beta gamma_{t-1} + (1 - beta) h_t ||g_t||_2

    In the first `warmup_steps` steps h is common to all dense tensors, or to all tables: min(1, absolute / ||g||_2),
    with the norm of all their gradients together. gamma is then the least h ||g||_2 so far.

    A step in which a tensor's gradient is zero does not count for it: gamma would become 0, and the tensor would never
    move again. The published code has no such exception.

    Args:
        relative: Largest norm relative to gamma. Above 0.
        absolute: Largest common norm in the warm-up. Above 0.
        beta: Share of the old mean. At least 0, below 1.
        warmup_steps: Length of the warm-up, at least 1.
        accumulate: See `NormClipping`.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Wang et al., "AdaGC: Improving Training Stability for Large Language Model Pretraining", 2025.
    """

    relative: float = 1.05
    absolute: float = 1.0
    beta: float = 0.98
    warmup_steps: int = 100

    initial: ClassVar[tuple[float, ...]] = (0.0, 0.0)  # gamma, and the steps counted.

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("relative", self.relative, above=0)
        check_number("absolute", self.absolute, above=0)
        check_number("beta", self.beta, least=0, below=1)
        check_number("warmup_steps", self.warmup_steps, least=1, whole=True)

    def advance(self, norms: tf.Tensor, whole: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        gamma, count = tf.unstack(state, axis=1)
        warm = count < self.warmup_steps
        common = shrink(self.absolute * tf.ones_like(whole), whole)
        factors = tf.where(warm, common, shrink(self.relative * gamma, norms))
        clipped = factors * norms
        least = tf.where(count == 0, clipped, tf.minimum(gamma, clipped))
        moved = tf.where(warm, least, self.beta * gamma + (1.0 - self.beta) * clipped)
        seen = norms > 0
        return factors, tf.stack([tf.where(seen, moved, gamma), tf.where(seen, count + 1.0, count)], axis=1)
