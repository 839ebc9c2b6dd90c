"""Losses that ask for a flat function: noise, gradient penalty, adversarial and virtual adversarial moves, flooding.

`RankingOptions.penalty` sets one of them. The pieces are functions of tensors, for models of one's own: with
`input_gradients` and `moved_logits` of `MultitaskModel`, a subclass's `compute_loss` adds what it likes:

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss_of = lambda logits: RankingModel.compute_loss(self, x, y, logits, sample_weight)
        if not training:
            return loss_of(y_pred)
        move = penalties.adversarial_move(self.input_gradients(x, loss_of), epsilon=0.3)
        return loss_of(y_pred) + loss_of(self.moved_logits(x, lambda v: v + move))

x below is the input vector of each row, `(batch, width)`: embeddings, numbers and what is read of histories, not ids.
Squares, norms and moves are in float32 for any precision of the layers, and float64 under "float64".
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import tensorflow as tf

from tfstable.models.targets import Rows
from tfstable.specs import BinaryTask, TaskSpec

Weights: TypeAlias = tf.Tensor | None


def normal_rows(seed: tf.Tensor, rows: Rows, own: tf.Tensor, width: int) -> tf.Tensor:
    """Returns standard normal numbers for a replica's rows of a batch, `(own, width)` float32.

    They are those rows of one table for the whole batch, a function of `seed`: any number of replicas draws the same.
    XLA, too, up to rounding; `tf.random.stateless_normal` has other numbers there. Each replica draws the whole table.

    Args:
        seed: `(2,)` integers.
        rows: Where the replica's rows are.
        own: Their number, a scalar.
        width: At least 1.
    """
    bits = tf.random.stateless_uniform([rows.total, width], seed, None, None, tf.uint32, alg="philox")
    # 23 bits and a half: between 0 and 1, and never either.
    uniform = (tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.float32) + 0.5) * 2.0**-23
    normal = tf.math.erfinv(2.0 * uniform - 1.0) * 2.0**0.5
    return normal[rows.start : rows.start + own]  # Last: `erfinv` rounds by the place in its tensor.


def unit_rows(x: tf.Tensor) -> tf.Tensor:
    """Returns each row, `(batch, width)`, divided by its length; zeros for a row of zeros.

    Rows of any finite size keep their direction: their squares need not be numbers of their dtype.
    """
    largest = tf.reduce_max(tf.abs(x), axis=1, keepdims=True)
    x = tf.math.divide_no_nan(x, largest)
    return tf.math.divide_no_nan(x, tf.norm(x, axis=1, keepdims=True))


def adversarial_move(gradients: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Returns the move of each row that raises its loss most, to first order; a constant for the gradient:

        r_i = epsilon g_i / ||g_i||,   so that   l(x_i + r_i) = l(x_i) + epsilon ||g_i|| + O(epsilon^2)

    Args:
        gradients: `(batch, width)`, of each row's loss by its input. Their lengths do not matter.
        epsilon: Length of the moves, positive.

    Returns:
        `(batch, width)`; zeros for a row without a gradient.

    Reference:
        Miyato, Dai, Goodfellow, "Adversarial Training Methods for Semi-Supervised Text Classification", 2017. There the
        norm is that of a whole text; here of a row's whole input vector.
    """
    return tf.stop_gradient(epsilon * unit_rows(gradients))


def mean_square(gradients: tf.Tensor, weights: Weights = None) -> tf.Tensor:
    """Returns half the mean over the rows of ||g_i||^2 / w_i, a scalar.

    Args:
        gradients: `(batch, width)`, of each row's loss, times its weight, by its input.
        weights: `(batch,)`; a row of weight 2 then counts as two of weight 1. None: each weighs 1.

    Reference:
        Drucker, LeCun, "Improving Generalization Performance Using Double Backpropagation", 1992.
    """
    squares = tf.reduce_sum(tf.square(gradients), axis=1)
    if weights is not None:
        squares = tf.math.divide_no_nan(squares, tf.cast(weights, squares.dtype))
    return tf.reduce_mean(squares) / 2


def virtual_move(
    tape: tf.GradientTape,
    x: tf.Tensor,
    logits: tf.Tensor,
    curvature: tf.Tensor,
    direction: tf.Tensor,
    epsilon: float,
) -> tf.Tensor:
    """Returns the move of each row under which its predictions change most, by one power iteration from a direction:

        r = epsilon F d / ||F d||,   F = J^T diag(curvature) J,   J = d logits / d x

    F is the Hessian of the divergence at r = 0. The paper takes the gradient of the divergence at a small xi d, which
    is xi F d + O(xi^2); this is its limit xi -> 0. No xi is then lost in the rounding of bfloat16.

    Args:
        tape: Persistent, of the `logits`; watched `x`.
        x: `(batch, width)`.
        logits: `(batch, outputs)`.
        curvature: `(batch, outputs)`, at least 0: what `curvatures` returns.
        direction: `(batch, width)`, at random.
        epsilon: Length of the moves, positive.

    Returns:
        `(batch, width)`, a constant for the gradient; zeros for a row whose predictions do not depend on it.

    Reference:
        Miyato, Maeda, Koyama, Ishii, "Virtual Adversarial Training: A Regularization Method for Supervised and
        Semi-Supervised Learning", 2018.
    """
    u = tf.zeros_like(logits)
    with tf.GradientTape() as of_u:
        of_u.watch(u)
        pulled = tape.gradient(logits, x, output_gradients=u)  # J^T u, linear in u: its derivative by u is J.
    pushed = of_u.gradient(pulled, u, output_gradients=direction)  # J d, (batch, outputs)
    return adversarial_move(tape.gradient(logits, x, output_gradients=curvature * pushed), epsilon)


def curvatures(tasks: Mapping[str, TaskSpec], logits: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the second derivative of each task's `divergence` by its logit, `(batch, tasks)`.

    It is p (1 - p) for a binary task, and 1 for a regression.

    Args:
        tasks: The tasks by name.
        logits: By task, `(batch,)`.
    """
    of_tasks = []
    for name, task in tasks.items():
        p = tf.sigmoid(logits[name])
        of_tasks.append(task.weight * (p * (1 - p) if isinstance(task, BinaryTask) else tf.ones_like(p)))
    return tf.stack(of_tasks, axis=1)


def divergence(
    tasks: Mapping[str, TaskSpec],
    logits: Mapping[str, tf.Tensor],
    moved: Mapping[str, tf.Tensor],
    weights: Mapping[str, Weights],
) -> tf.Tensor:
    """Returns how far predictions are from those for moved rows: a scalar, the mean over the rows, summed over tasks.

        KL(p || q) of a binary task's probabilities; (f - f')^2 / 2 of a regression: KL of normals of variance 1

    Each task counts by its weight. No label is read: a row counts for every task.

    Args:
        tasks: The tasks by name.
        logits: By task, `(batch,)`; a constant for the gradient.
        moved: By task, `(batch,)`, of the moved rows.
        weights: Example weights by task, `(batch,)`, or None for one of weight 1.
    """
    total = []
    for name, task in tasks.items():
        f, q = tf.stop_gradient(logits[name]), moved[name]
        if isinstance(task, BinaryTask):
            each = tf.sigmoid(f) * (f - q) + tf.math.softplus(q) - tf.math.softplus(f)
        else:
            each = tf.square(q - f) / 2
        weight = weights[name]
        total.append(task.weight * tf.reduce_mean(each if weight is None else each * tf.cast(weight, each.dtype)))
    return tf.add_n(total)


def flooding_sign(loss: tf.Tensor, level: float) -> tf.Tensor:
    """Returns what flooding multiplies the gradient of a whole batch's loss with: its objective is |L - level| + level.

        1 above the level, -1 below it, 0 on it; NaN for a loss that is NaN

    Two steps of rate eta, down and up again, sum to -eta^2 H g = -(eta^2 / 2) grad ||g||^2, to second order.

    Reference:
        Ishida, Yamane, Sakai, Niu, Sugiyama, "Do We Need Zero Training Loss After Achieving Zero Training Error?",
        2020.
    """
    difference = loss - tf.cast(level, loss.dtype)
    return tf.where(tf.math.is_nan(difference), difference, tf.sign(difference))


def squared_gradient(
    gradients: list[tf.Tensor], rate: float, over_replicas: Callable[[list[tf.Tensor]], list[tf.Tensor]]
) -> tf.Tensor:
    """Returns a scalar whose gradient by the weights is (rate / 2) H g, that of (rate / 4) ||g||^2.

    g, the gradient of the whole batch's loss, is a sum over the replicas. This replica's part of H g is the gradient of
    the inner product of its own gradients with g, held constant: the parts sum to H g. The result is not the penalty's
    value.

    Args:
        gradients: This replica's part of g, one tensor per weight, on the tape.
        rate: Positive.
        over_replicas: Sums over the replicas.

    Reference:
        Barrett, Dherin, "Implicit Gradient Regularization", 2021: a step of rate eta follows the flow of
        L + (eta / 4) ||grad L||^2, up to a third power of eta per step.
    """
    wide = [tf.cast(g, tf.float64 if g.dtype == tf.float64 else tf.float32) for g in gradients]
    whole = [tf.stop_gradient(g) for g in over_replicas(wide)]
    return rate / 2 * tf.add_n([tf.reduce_sum(a * b) for a, b in zip(wide, whole, strict=True)])
