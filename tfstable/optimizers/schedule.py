"""The learning rate over the steps."""

from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfstable.optimizers.domains import check_choice, check_number


def window_decay(done: ArrayLike, end: float) -> np.ndarray:
    """Factor of the rate inside a window: half a cosine, from 1 at the start of the window to `end` at its end.

        d(s) = end + (1 - end) (1 + cos(pi s)) / 2

    The last batches of a window then move the weights little, and the next window starts at the whole rate again. The
    factor depends only on the position in the window, so a run resumes exactly, for windows of any length.

    Args:
        done: s, the share of the window's steps before this one, in [0, 1]. Any shape.
        end: The factor at the end, in [0, 1].

    Returns:
        An array of the shape of `done`, float64.

    Reference:
        Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.

    Examples:
        >>> from tfstable.optimizers.schedule import window_decay
        >>> window_decay([0.0, 0.5, 1.0], end=0.1).round(3).tolist()
        [1.0, 0.55, 0.1]
    """
    return end + (1 - end) * (1 + np.cos(np.pi * np.asarray(done))) / 2


@keras.saving.register_keras_serializable(package="tfstable")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up, then a constant rate or a decay.

        eta_t = eta * min(1, (t + 1) / warmup) * d(max(0, t - warmup) / decay_steps)
        d(s)  = 1                              "none"
        d(s)  = (1 + cos(pi * min(s, 1))) / 2  "cosine", 0 from decay_steps on
        d(s)  = 1 / sqrt(1 + s)                "inverse_sqrt"

    Args:
        learning_rate: eta, at least 0.
        warmup_steps: Steps of the warm-up, at least 0. The first step already has eta / warmup_steps.
        decay: "none", "cosine" or "inverse_sqrt".
        decay_steps: Time scale of the decay, in steps, at least 1. Unused with "none".

    Raises:
        ValueError: If an argument is outside its domain.

    Examples:
        >>> from tfstable.optimizers import WarmupDecay
        >>> rate = WarmupDecay(0.4, warmup_steps=4, decay="inverse_sqrt", decay_steps=100)
        >>> [round(float(rate(step)), 3) for step in (0, 1, 3, 104, 304)]
        [0.1, 0.2, 0.4, 0.283, 0.2]
    """

    def __init__(
        self,
        learning_rate: float,
        warmup_steps: int = 0,
        decay: Literal["none", "cosine", "inverse_sqrt"] = "none",
        decay_steps: int = 1,
    ) -> None:
        check_number("learning_rate", learning_rate, least=0)
        check_number("warmup_steps", warmup_steps, least=0, whole=True)
        check_choice("decay", decay, ("none", "cosine", "inverse_sqrt"))
        check_number("decay_steps", decay_steps, least=1, whole=True)
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self.decay, self.decay_steps = decay, decay_steps

    def __call__(self, step: Any) -> tf.Tensor:
        t = tf.cast(step, tf.float32)
        rate = self.learning_rate * tf.minimum(1.0, (t + 1) / max(self.warmup_steps, 1))
        s = tf.maximum(0.0, t - self.warmup_steps) / self.decay_steps
        if self.decay == "cosine":
            return rate * (1 + tf.cos(3.141592653589793 * tf.minimum(s, 1.0))) / 2
        return rate / tf.sqrt(1 + s) if self.decay == "inverse_sqrt" else rate

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
            "decay_steps": self.decay_steps,
        }
