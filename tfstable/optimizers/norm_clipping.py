"""The base of the clippings that compare a gradient's norm with those of earlier steps."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfstable.optimizers.clipping import Clipping
from tfstable.optimizers.rows import write_row_values
from tfstable.optimizers.tables import is_embedding_table


@dataclasses.dataclass(frozen=True)
class NormClipping(Clipping):
    """A factor h on the gradient, from its norm and a state of earlier norms. The rule sees h g instead of g.

    The clippings of eq. (5) scale the update r that the rule makes of the raw gradient. Here a rule that divides by the
    size of its gradients undoes part of h. With `accumulate="clipped"`, the default and as published, the state of the
    rule gets h g; with "raw" the step is the same, but the state gets g.

    Gradients are those of the optimizer's variables, summed over replicas, with duplicate rows of tables summed; of a
    table they are the rows of the batch. In a `Composite`, each group has norms of its own. The state changes in
    applied steps alone, is part of checkpoints, and starts anew with `--init-from`.

    Subclasses are frozen dataclasses with `initial` and `advance`.
    """

    accumulate: str = dataclasses.field(default="clipped", kw_only=True)

    scopes: ClassVar[tuple[str, ...]] = ("tensor",)
    initial: ClassVar[tuple[float, ...]]  # The state of a unit at the start.
    per_tensor: ClassVar[bool] = True  # A unit is a tensor; else all dense tensors, or all tables.

    def advance(self, norms: tf.Tensor, whole: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The pure rule of a step: h and the new state.

        Args:
            norms: ||g||_2 of each unit, `(units,)`.
            whole: The norm of all dense gradients together, or of all tables', whichever the unit belongs to.
            state: `(units, numbers)`.

        Returns:
            `(units,)` and `(units, numbers)`.
        """
        raise NotImplementedError


def make_state(add_variable: Callable[..., Any], clipping: NormClipping, variables: Sequence[Any]) -> Any:
    """Makes the state of a clipping for an optimizer's variables, `(units, numbers)`."""
    exact = "float64" if any(tf.as_dtype(v.dtype) == tf.float64 for v in variables) else "float32"
    units = len(variables) if clipping.per_tensor else 2

    def start(shape: Sequence[int], dtype: Any) -> tf.Tensor:
        return tf.broadcast_to(tf.constant(clipping.initial, dtype), shape)

    return add_variable(shape=(units, len(clipping.initial)), dtype=exact, initializer=start, name="norms")


def gradient_factors(
    strategy: Any, clipping: NormClipping, state: Any, places: Sequence[int], variables: Sequence[Any], gradients: Any
) -> list[tf.Tensor]:
    """Returns h of each gradient and writes the new state; in cross-replica context.

    Args:
        strategy: The strategy of the variables.
        clipping: The clipping.
        state: The result of `make_state`.
        places: Numbers of the variables among those it was made for.
        variables: The variables.
        gradients: Their gradients, the same on every replica.
    """
    squares = tf.stack([_square(strategy, gradient, state.dtype) for gradient in gradients])  # (variables,)
    parts = [int(is_embedding_table(variable)) for variable in variables]
    of_parts = tf.math.unsorted_segment_sum(squares, parts, 2)
    if clipping.per_tensor:
        units, unit_of, own, whole = list(places), list(range(len(parts))), squares, tf.gather(of_parts, parts)
    else:
        units = sorted(set(parts))
        unit_of = [units.index(part) for part in parts]
        own = whole = tf.gather(of_parts, units)
    rows = tf.constant(units, tf.int64)
    factors, new = clipping.advance(tf.sqrt(own), tf.sqrt(whole), tf.gather(state.value, rows))
    strategy.extended.update(state.value, write_row_values, args=(rows, new))
    return tf.unstack(tf.gather(factors, unit_of))


def _square(strategy: Any, gradient: Any, dtype: Any) -> tf.Tensor:
    # Every replica has the same sums; one of them measures for all.
    local = strategy.experimental_local_results(gradient)[0]
    values = local.values if isinstance(local, tf.IndexedSlices) else local
    return tf.cast(tf.reduce_sum(tf.square(values)), dtype)


def shrink(wanted: tf.Tensor, norms: tf.Tensor) -> tf.Tensor:
    """min(1, wanted / norms), 1 where a norm is 0.

    `divide_no_nan`, because graphs turn x / sqrt(y) into x * rsqrt(y), which rounds otherwise than eager execution.
    """
    return tf.where(wanted < norms, tf.math.divide_no_nan(wanted, norms), 1.0)
