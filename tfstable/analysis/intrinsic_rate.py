"""The intrinsic learning rate: how fast weights turn that a normalisation follows."""

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfstable.optimizers import SGD, Composite


class ScaleInvariant(NamedTuple):
    """Weights whose common size the loss does not see: L(c w) = L(w) for c > 0.

    Attributes:
        path: Path of the layer, such as "bottom/dense_0".
        variables: Its kernel and bias. The pair counts as one tensor: the size of one of them alone does matter.
    """

    path: str
    variables: tuple[keras.Variable, ...]


def scale_invariant(model: keras.Model) -> list[ScaleInvariant]:
    """Returns the scale-invariant weights of a model, in the order of its layers.

    They belong to dense layers without an activation whose output goes to a layer normalisation, next to each other in
    a `keras.Sequential`; `RankingModel` has them under `hidden_normalisation`. The invariance is exact but for the
    normalisation's epsilon, which must be small beside the variance of the layer's output.

    Args:
        model: The model, built.
    """
    found = []
    for stack in (layer for layer in model._flatten_layers() if isinstance(layer, keras.Sequential)):
        for layer, following in itertools.pairwise(stack.layers):
            is_linear = isinstance(layer, keras.layers.Dense) and layer.activation is keras.activations.linear
            if is_linear and isinstance(following, keras.layers.LayerNormalization) and layer.trainable_variables:
                path = layer.kernel.path.removesuffix("/kernel")
                found.append(ScaleInvariant(path, tuple(layer.trainable_variables)))
    return found


def only(paths: Sequence[str]) -> str:
    """Returns a regular expression that finds these paths of variables alone, as a `Group` takes it."""
    return f"^(?:{'|'.join(map(re.escape, paths))})$"


def angular_step_at_equilibrium(rate: float, decay: float, momentum: float = 0.0) -> float:
    """Returns the angle by which scale-invariant weights turn per step, in radians, once their size is in equilibrium:

        sqrt(2 lambda_e (1 - b) / (1 + b)),  lambda_e = eta lambda

    It is that of SGD, v = b v + g and w <- w - eta v - eta lambda w, with gradients that are independent from step to
    step: at the equilibrium, decay takes from the size of w what steps across it add. The size is then

        ||w||^2 = (eta / (1 - b)) ||g(w / ||w||)|| / sqrt(2 lambda_e)

    Far above it, ||w||^2 falls by e in 1 / (2 lambda_e) steps; near it the difference does in 1 / (4 lambda_e).

    Args:
        rate: eta, at least 0.
        decay: lambda, at least 0.
        momentum: b, at least 0, below 1.

    References:
        Li, Lyu, Arora, "Reconciling Modern Deep Learning with Traditional Optimization Analyses: The Intrinsic Learning
        Rate", 2020.
        Wan, Zhu, Zhang, Sun, "Spherical Motion Dynamics: Learning Dynamics of Normalized Neural Network using SGD and
        Weight Decay", 2021 (the angular step, with the decay inside the gradient: sqrt(2 lambda_e / (1 + b)). Here the
        decay is decoupled).
    """
    return (2 * rate * decay * (1 - momentum) / (1 + momentum)) ** 0.5


class Rotations:
    """Measures how scale-invariant weights turn in a step, inside the graph that makes the step.

    Args:
        tensors: What `scale_invariant` returns.
        optimizer: The optimizer, built: a `Composite`.
        every: Keep the figures of every N-th step.
    """

    def __init__(self, tensors: Sequence[ScaleInvariant], optimizer: Composite, every: int):
        self._tensors, self._optimizer, self._every = list(tensors), optimizer, every
        self._measured = tf.Variable(tf.fill([len(self._tensors), 2], float("nan")), trainable=False)

    def weights(self) -> list[list[tf.Tensor]]:
        """Returns the weights as they are, for `after_step`."""
        return [[tf.identity(v.value) for v in tensor.variables] for tensor in self._tensors]

    def after_step(self, before: Sequence[Sequence[tf.Tensor]]) -> None:
        """Measures a step, in cross-replica context.

        Args:
            before: What `weights` returned before the step.
        """
        figures = [tf.stack(_turn(a, b)) for a, b in zip(before, self.weights(), strict=True)]  # size, angle
        due = tf.equal(self._optimizer.iterations.value % self._every, 0)
        self._measured.assign(tf.where(due, tf.cast(tf.stack(figures), tf.float32), self._measured))

    def figures(self) -> dict[str, dict[str, float]]:
        """Returns the figures of the last step that was kept, per layer; NaN before the first.

        Returns:
            By path of a layer, of its kernel and bias as one tensor: `weight_norm` ||w||, before the step, and
            `angular_step`, the angle between w before and after it, in radians. Under SGD without clipping also
            `effective_rate`, eta / ||w||^2; and with decay `lambda_e`, eta lambda; `equilibrium_angular_step`, see
            `angular_step_at_equilibrium`; and `steps_to_equilibrium`, 1 / (2 lambda_e).
        """
        found = {}
        for tensor, (size, angle) in zip(self._tensors, self._measured.numpy().tolist(), strict=True):
            found[tensor.path] = {"weight_norm": size, "angular_step": angle, **self._of_rates(tensor, size)}
        return found

    def _of_rates(self, tensor: ScaleInvariant, size: float) -> dict[str, float]:
        rules = {id(rule): rule for rule in map(self._optimizer.optimizer_of, tensor.variables)}
        rule: Any = next(iter(rules.values()))
        if len(rules) > 1 or not isinstance(rule, SGD) or rule.clipping is not None or rule.nesterov:
            return {}
        rate = float(tf.convert_to_tensor(rule.learning_rate)) * float(rule.rate_factor.numpy())
        figures = {"effective_rate": rate / size**2 if size else float("inf")}
        if (decay := rule.weight_decay) and rate:
            figures |= {
                "lambda_e": rate * decay,
                "equilibrium_angular_step": angular_step_at_equilibrium(rate, decay, rule.momentum),
                "steps_to_equilibrium": 1 / (2 * rate * decay),
            }
        return figures


def _turn(before: Sequence[tf.Tensor], after: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """||w|| before a step, and the angle of the step; of w = 0 the angle is 0."""
    one, other = (tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0) for parts in (before, after))
    size = tf.norm(one)
    u, v = (tf.math.divide_no_nan(w, tf.norm(w)) for w in (one, other))
    # An arc cosine would lose angles below 3e-4 in float32.
    return size, 2 * tf.atan2(tf.norm(u - v), tf.norm(u + v))
