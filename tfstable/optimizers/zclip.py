import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_number
from tfstable.optimizers.norm_clipping import NormClipping, shrink

EPSILON = 1e-6  # As in the authors' code: z is finite where all norms so far were equal.


@keras.saving.register_keras_serializable(package="tfstable")
@dataclasses.dataclass(frozen=True)
class ZClip(NormClipping):
    """Shrinks all gradients when their common norm is an outlier among those of earlier steps (ZClip).

        z_t = (n_t - m_{t-1}) / (sqrt(v_{t-1}) + 1e-6),  n_t the norm of all dense gradients together
        n*  = m_{t-1} + threshold sqrt(v_{t-1}) / (z_t / threshold) if z_t > threshold, else n_t
        h_t = n* / n_t
        m_t = alpha m_{t-1} + (1 - alpha) n*
        v_t = alpha v_{t-1} + (1 - alpha) (n* - m_t)^2

    In the first `warmup_steps` steps h is 1, and m and v are the mean and variance of the norms so far. Embedding
    tables have a norm, a mean and a variance of their own.

    Args:
        threshold: Largest z that is not clipped. Above 0.
        alpha: Share of the old mean and variance. At least 0, below 1.
        warmup_steps: Length of the warm-up, at least 1.
        accumulate: See `NormClipping`.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Kumar et al., "ZClip: Adaptive Spike Mitigation for LLM Pre-Training", 2025.
    """

    threshold: float = 2.5
    alpha: float = 0.97
    warmup_steps: int = 25

    initial: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)  # m, v, and the steps so far.
    per_tensor: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, above=0)
        check_number("alpha", self.alpha, least=0, below=1)
        check_number("warmup_steps", self.warmup_steps, least=1, whole=True)

    def advance(self, norms: tf.Tensor, whole: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean, variance, count = tf.unstack(state, axis=1)
        warm = count < self.warmup_steps
        root = tf.sqrt(variance)
        z = (norms - mean) / (root + EPSILON)
        clipped = tf.where((z > self.threshold) & ~warm, mean + self.threshold * root / (z / self.threshold), norms)
        new_mean = self.alpha * mean + (1.0 - self.alpha) * clipped
        new_variance = self.alpha * variance + (1.0 - self.alpha) * tf.square(clipped - new_mean)
        # Mean and variance of the first norms, one at a time: the published code keeps them all (Welford, 1962).
        share = 1.0 / (count + 1.0)
        first_mean = mean + share * (norms - mean)
        first_variance = (1.0 - share) * variance + share * ((norms - mean) * (norms - first_mean))
        moved = tf.where(warm, first_mean, new_mean), tf.where(warm, first_variance, new_variance), count + 1.0
        return shrink(clipped, norms), tf.stack(moved, axis=1)
