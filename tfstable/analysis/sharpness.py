"""Sharpness: the largest eigenvalue of the loss's Hessian, which bounds the stable learning rate."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfstable.models import RankingModel
from tfstable.optimizers import Adagrad, Composite, is_embedding_table


def largest_eigenvalue(
    loss: Callable[[], tf.Tensor],
    variables: Sequence[keras.Variable | tf.Variable],
    scales: Sequence[tf.Tensor] | None = None,
    *,
    iterations: int = 50,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the largest (most positive) eigenvalue of the Hessian H of `loss`, by power iteration on products H v.

        v <- H v / ||H v||,  lambda = v . H v,  until ||H v - lambda v|| <= tolerance ||H v||

    This finds the eigenvalue of largest magnitude. If it is negative, or if two eigenvalues of opposite signs prevent
    convergence, a second phase iterates H + ||H v|| I, whose largest eigenvalue is the one of H plus ||H v||. Each
    product is a gradient of a gradient: it takes no more memory than a training step, and about four times its work.

    Args:
        loss: Computes the scalar loss from the variables' current values; called inside a gradient tape.
        variables: Variables of H, all of one dtype. The loss may ignore some; their rows and columns of H are 0.
        scales: None, or one tensor s per variable, of its shape; the matrix is then diag(s) H diag(s).
        iterations: Largest number of products H v, in each of the two phases.
        tolerance: Relative residual to stop at; the eigenvalue's relative error is about its square.
        seed: Seed of the start vector.

    Returns:
        The eigenvalue and its last relative residual, scalars of the variables' dtype. Works eagerly and inside a
        `tf.function`.

    Reference:
        Wu, Ma, E, "How SGD Selects the Global Minima in Over-parameterized Learning", 2018: descent on a quadratic is
        stable while 2/eta is above this eigenvalue; Cohen et al., "Gradient Descent on Neural Networks Typically Occurs
        at the Edge of Stability", 2021.
    """
    values = [v.value if isinstance(v, keras.Variable) else v for v in variables]
    dtype = tf.convert_to_tensor(values[0]).dtype

    def product(vector: list[tf.Tensor]) -> list[tf.Tensor]:
        scaled = vector if scales is None else [v * s for v, s in zip(vector, scales, strict=True)]
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                value = loss()
            gradient = inner.gradient(value, values, unconnected_gradients="zero")
            slope = _dot(gradient, [tf.stop_gradient(v) for v in scaled])
        result = outer.gradient(slope, values, unconnected_gradients="zero")
        return result if scales is None else [h * s for h, s in zip(result, scales, strict=True)]

    @tf.function(autograph=False)  # Traced once for both phases.
    def power(vector: list[tf.Tensor], shift: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Iterates H + shift I; returns the eigenvalue of H, ||H v|| and the relative residual."""

        def step(number: tf.Tensor, vector: list[tf.Tensor], *_: tf.Tensor) -> tuple[Any, ...]:
            image = product(vector)
            eigenvalue, size = _dot(vector, image), tf.sqrt(_dot(image, image))
            residual = tf.sqrt(tf.maximum(size**2 - eigenvalue**2, 0))  # ||H v - lambda v||, for ||v|| = 1
            moved = [h + shift * v for h, v in zip(image, vector, strict=True)]
            return number + 1, _normalised(moved), eigenvalue, size, tf.math.divide_no_nan(residual, size)

        def unsettled(
            number: tf.Tensor, vector: list[tf.Tensor], eigenvalue: tf.Tensor, size: tf.Tensor, residual: tf.Tensor
        ) -> tf.Tensor:
            return (number < iterations) & ((number == 0) | (residual > tolerance))

        zero = tf.zeros([], dtype)
        return tf.while_loop(unsettled, step, (0, vector, zero, zero, zero))[2:]

    seeds = tf.random.experimental.stateless_split([seed, 0], len(values))
    shapes = [v.shape for v in values]
    start = _normalised([tf.random.stateless_normal(shapes[i], seeds[i], dtype=dtype) for i in range(len(values))])
    eigenvalue, size, residual = power(start, tf.zeros([], dtype))

    def shifted() -> tuple[tf.Tensor, tf.Tensor]:
        # Restarts from the start vector: by now the vector may be an eigenvector of the wrong eigenvalue.
        moved, _, its_residual = power(start, size)
        return moved, its_residual

    # Positive, and not a mixture of two signs.
    return tf.cond(eigenvalue > 0.9 * size, lambda: (eigenvalue, residual), shifted)


class SharpnessProbe:
    """Measures the sharpness of a model's loss on a batch, and the limit 2/eta of its optimizer.

    The Hessian H is taken over the dense variables; embedding tables stay fixed. On a quadratic, descent at rate eta is
    stable while 2/eta is above the largest eigenvalue of H. Adagrad moves coordinate i by eta g_i / sqrt(G_i) instead.
    This is descent in the coordinates w_i G_i^(1/4), so 2/eta must be above the largest eigenvalue of

        D^(-1/2) H D^(-1/2),  D = diag(sqrt(G + g^2))

    with the accumulators of a step on this batch. The matrix ignores clipping, which shrinks the step further: where
    the eigenvalue exceeds 2/eta, clipping keeps the run stable.

    Args:
        model: The model, built.
        optimizer: Its optimizer, built: one of `tfstable.optimizers`.
        iterations, tolerance: See `largest_eigenvalue`.
    """

    def __init__(
        self, model: RankingModel, optimizer: keras.optimizers.Optimizer, iterations: int = 50, tolerance: float = 1e-2
    ):
        self._model, self._iterations, self._tolerance = model, iterations, tolerance
        self._variables = [v for v in model.trainable_variables if not is_embedding_table(v)]
        self._optimizers = optimizer.optimizers if isinstance(optimizer, Composite) else [optimizer]
        # Replicated variables can only be read on a replica; every replica measures the same.
        self._strategy = getattr(self._variables[0].value, "distribute_strategy", tf.distribute.get_strategy())

    def __call__(
        self, features: Mapping[str, tf.Tensor], labels: Mapping[str, tf.Tensor], weight: tf.Tensor
    ) -> dict[str, float]:
        """Returns the figures for one batch, as a dataset of the trainer yields it.

        Returns:
            `hessian`, the largest eigenvalue of H; `preconditioned`, the largest eigenvalue of the matrix above, equal
            to `hessian` without Adagrad; `two_over_rate`, 2 / the largest current rate of a dense variable; `residual`,
            the larger relative residual of the two power iterations.
        """
        rates = [
            float(tf.convert_to_tensor(o.learning_rate) * tf.convert_to_tensor(o.rate_factor.value))
            for o in self._optimizers
            if any(_knows(o, v) for v in self._variables)
        ]
        figures = self._measure(features, labels, weight)
        hessian, preconditioned, residual = (self._strategy.experimental_local_results(f)[0] for f in figures)
        return {
            "hessian": float(hessian),
            "preconditioned": float(preconditioned),
            "two_over_rate": 2 / max(rates) if max(rates) else float("inf"),
            "residual": float(residual),
        }

    @tf.function(reduce_retracing=True, autograph=False)
    def _measure(
        self, features: Mapping[str, tf.Tensor], labels: Mapping[str, tf.Tensor], weight: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return self._strategy.run(self._measure_on_replica, args=(features, labels, weight))

    def _measure_on_replica(
        self, features: Mapping[str, tf.Tensor], labels: Mapping[str, tf.Tensor], weight: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def loss() -> tf.Tensor:
            logits = self._model.logits(features, training=False)  # Dropout would change H from product to product.
            return self._model.compute_loss(features, labels, logits, weight)

        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(value, [v.value for v in self._variables], unconnected_gradients="zero")
        scales = [self._scale(v, g) for v, g in zip(self._variables, gradients, strict=True)]
        largest = functools.partial(largest_eigenvalue, iterations=self._iterations, tolerance=self._tolerance)
        hessian, residual = largest(loss, self._variables)
        preconditioned, other = largest(loss, self._variables, scales)
        return hessian, preconditioned, tf.maximum(residual, other)

    def _scale(self, variable: keras.Variable, gradient: tf.Tensor) -> tf.Tensor:
        """D^(-1/2) of a variable."""
        for optimizer in self._optimizers:
            if isinstance(optimizer, Adagrad) and _knows(optimizer, variable):
                square = optimizer.accumulator(variable) + tf.square(gradient) + optimizer.epsilon
                return tf.where(square > 0, tf.pow(square, -0.25), 0.0)
        return tf.ones_like(gradient)


def _knows(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> bool:
    return any(variable is own for own in optimizer._trainable_variables)


def _dot(one: list[tf.Tensor], other: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([tf.reduce_sum(a * b) for a, b in zip(one, other, strict=True)])


def _normalised(vector: list[tf.Tensor]) -> list[tf.Tensor]:
    size = tf.sqrt(_dot(vector, vector))
    return [tf.math.divide_no_nan(v, size) for v in vector]
