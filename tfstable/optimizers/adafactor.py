from typing import Any, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_number
from tfstable.optimizers.guarded import LearningRate
from tfstable.optimizers.rule import ClippedArguments, RuleOptimizer, State
from tfstable.optimizers.slots import Slot


@keras.saving.register_keras_serializable(package="tfstable")
class Adafactor(RuleOptimizer):
    """Adafactor: Adam without its mean, and with a matrix's squares kept as one number per row and one per column.

        b_t = 1 - t^(-decay)
        R_t = b_t R_{t-1} + (1 - b_t) row means of (g_t^2 + epsilon_1); C_t likewise by columns
        V_t = R_t C_t^T / mean(R_t)                                      for a matrix; a vector keeps a whole V
        U_t = g_t / sqrt(V_t);  U_t <- U_t / max(1, RMS(U_t) / threshold)
        r_t = max(epsilon_2, RMS(w_t)) U_t
        w  -= rho_t r_t,  rho_t = min(learning_rate, 1 / sqrt(t))

    So a step is relative to the size of the weights: `learning_rate` stands in the place of the published 1e-2, the
    largest relative step. A schedule changes it inside the minimum; `rate_factor` and `relative_rate` of a variable
    multiply the minimum. State is n + m numbers for an n x m matrix; of a tensor of more axes, the last two count.
    Embedding tables are refused: a row would share its column means with rows that are never in its batches. For tables
    take `Adagrad(accumulator="row")`.

    Args:
        learning_rate, **rule: See `RuleOptimizer`; the largest relative step.
        decay: Exponent of the forgetting: the larger, the longer the memory. Above 0.
        threshold: Largest root mean square of U, d in the paper. Above 0.
        epsilon_1: Added to the squares. Above 0.
        epsilon_2: Least size of the weights in r, so that zeros can move. Above 0.

    Raises:
        ValueError: If an argument is outside its domain; when built, for an embedding table.

    Reference:
        Shazeer, Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", 2018.
    """

    uses_step = True
    for_tables = False

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        decay: float = 0.8,
        threshold: float = 1.0,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        **rule: Unpack[ClippedArguments],
    ) -> None:
        check_number("decay", decay, above=0)
        check_number("threshold", threshold, above=0)
        check_number("epsilon_1", epsilon_1, above=0)
        check_number("epsilon_2", epsilon_2, above=0)
        super().__init__(learning_rate, **rule)
        self.decay = decay
        self.threshold = threshold
        self.epsilon_1 = epsilon_1
        self.epsilon_2 = epsilon_2

    def slots(self) -> dict[str, float]:
        return {"row": 0.0, "column": 0.0, "square": 0.0}

    def slots_for(self, variable: Any) -> dict[str, Slot]:
        shape = tuple(variable.shape)
        if len(shape) < 2:
            return {"square": Slot(0.0, shape)}
        return {"row": Slot(0.0, shape[:-1]), "column": Slot(0.0, (*shape[:-2], shape[-1]))}

    def rate_at(self, step: tf.Tensor) -> tf.Tensor:
        rate = tf.convert_to_tensor(self.learning_rate)
        return tf.minimum(rate, tf.math.rsqrt(tf.cast(step, rate.dtype)))

    def direction(self, gradient: tf.Tensor, state: State, step: tf.Tensor) -> tuple[tf.Tensor, State]:
        new = tf.pow(step, -self.decay)  # 1 - b_t
        squares = tf.square(gradient) + self.epsilon_1
        if len(state) == 1:
            state = ((1.0 - new) * state[0] + new * squares,)
            square = state[0]
        else:
            row = (1.0 - new) * state[0] + new * tf.reduce_mean(squares, -1)  # (..., n)
            column = (1.0 - new) * state[1] + new * tf.reduce_mean(squares, -2)  # (..., m)
            share = row / tf.reduce_mean(row, -1, keepdims=True)
            square, state = share[..., :, None] * column[..., None, :], (row, column)
        # `divide_no_nan`: see `adagrad_direction`.
        update = tf.math.divide_no_nan(gradient, tf.sqrt(square))
        return update / tf.maximum(_rms(update) / self.threshold, 1.0), state

    def relative(self, update: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        # Not `*`: graphs reorder products with a scalar such as the rate, and then differ from eager execution.
        return tf.math.multiply_no_nan(update, tf.maximum(_rms(weight), self.epsilon_2))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "decay": self.decay,
            "threshold": self.threshold,
            "epsilon_1": self.epsilon_1,
            "epsilon_2": self.epsilon_2,
        }


def _rms(tensor: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_mean(tf.square(tensor)))
