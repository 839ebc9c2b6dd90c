import math
from typing import Any, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.adam import adam_direction
from tfstable.optimizers.domains import check_number
from tfstable.optimizers.guarded import LearningRate
from tfstable.optimizers.rule import ClippedArguments, RuleOptimizer, State
from tfstable.optimizers.slots import Slot

STEPS, COEFFICIENTS, EPSILON = 5, (3.4445, -4.7750, 2.0315), 1e-7  # Of Jordan's code.


@keras.saving.register_keras_serializable(package="tfstable")
class Muon(RuleOptimizer):
    """Muon: for matrices, a step in which all directions of the momentum are about equally long.

        v_t = momentum v_{t-1} + g_t
        u_t = g_t + momentum v_t, or v_t without nesterov                  (n x m)
        X   = u_t / (||u_t||_2 + 1e-7), then five times  X <- a X + (b A + c A^2) X,  A = X X^T
        r_t = 0.2 sqrt(max(n, m)) X

    The iteration (Newton-Schulz, a = 3.4445, b = -4.7750, c = 2.0315) brings the singular values near 1, between about
    0.7 and 1.2. The scale makes r about as large per weight as Adam's, so that one rate and one decay suit both.

    All other variables get Adam's r, as in the published code: vectors, scalars, and matrices with a single row or
    column, such as the kernel of an output layer. A tensor of more axes is a stack of matrices in its last two.
    Embedding tables are refused: the published code leaves them to Adam, and here a table has an optimizer of its own
    (`Composite`).

    Args:
        learning_rate, **rule: See `RuleOptimizer`. Take the rate as for Adam, not as for Adagrad.
        momentum: At least 0, below 1.
        nesterov: Look ahead by one step of the velocity.
        beta_1, beta_2, epsilon: See `Adam`; for the variables that are not matrices.

    Raises:
        ValueError: If an argument is outside its domain; when built, for an embedding table.

    Reference:
        Jordan et al., "Muon: An Optimizer for Hidden Layers in Neural Networks", 2024; the scale is that of Liu et al.,
        "Muon is Scalable for LLM Training", 2025.
    """

    uses_step = True
    for_tables = False

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        momentum: float = 0.95,
        nesterov: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.95,
        epsilon: float = 1e-8,
        **rule: Unpack[ClippedArguments],
    ) -> None:
        check_number("momentum", momentum, least=0, below=1)
        check_number("beta_1", beta_1, least=0, below=1)
        check_number("beta_2", beta_2, least=0, below=1)
        check_number("epsilon", epsilon, above=0)
        super().__init__(learning_rate, **rule)
        self.momentum = momentum
        self.nesterov = nesterov
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def slots(self) -> dict[str, float]:
        return {"velocity": 0.0, "mean": 0.0, "square": 0.0}

    def slots_for(self, variable: Any) -> dict[str, Slot]:
        names = ["velocity"] if is_matrix(variable.shape) else ["mean", "square"]
        return {name: Slot(0.0, tuple(variable.shape)) for name in names}

    def direction(self, gradient: tf.Tensor, state: State, step: tf.Tensor) -> tuple[tf.Tensor, State]:
        if not is_matrix(gradient.shape):
            mean, square = state
            return adam_direction(gradient, mean, square, step, self.beta_1, self.beta_2, self.epsilon)
        (velocity,) = state
        velocity = self.momentum * velocity + gradient
        update = gradient + self.momentum * velocity if self.nesterov else velocity
        return 0.2 * math.sqrt(max(gradient.shape[-2:])) * orthogonalised(update), (velocity,)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


def is_matrix(shape: Any) -> bool:
    """Whether a tensor of this shape is a matrix, or a stack of them, with several rows and columns."""
    return len(shape) >= 2 and min(shape[-2:]) > 1


def orthogonalised(matrix: tf.Tensor) -> tf.Tensor:
    """The matrix, `(..., n, m)`, with its singular values brought near 1."""
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    x = tf.linalg.matrix_transpose(matrix) if is_tall else matrix
    x = tf.math.divide_no_nan(x, tf.sqrt(tf.reduce_sum(tf.square(x), [-2, -1], keepdims=True)) + EPSILON)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = tf.matmul(x, x, transpose_b=True)  # (..., k, k), k the smaller of n and m
        x = a * x + tf.matmul(b * gram + c * tf.matmul(gram, gram), x)
    return tf.linalg.matrix_transpose(x) if is_tall else x
