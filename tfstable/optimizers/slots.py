"""The state that a rule keeps of each weight, as variables: made, renewed, and asked what has happened."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from tfstable.optimizers.rows import working_dtype, write_row_values
from tfstable.optimizers.tables import is_embedding_table

DIAGNOSTICS = ("clipping_factor", "update_norm", "gradient_norm", "weight_norm")
Variables: TypeAlias = dict[str, Any]  # The slots of a weight by name; "step" and "diagnostics" are no rule's own.


class Slot(NamedTuple):
    """One part of the state of a weight.

    Attributes:
        initial: The value of all its elements at the start.
        shape: Its shape. For an embedding table the first axis must be the table's rows.
    """

    initial: float
    shape: tuple[int, ...]


def make_slots(add_variable: Callable[..., Any], variable: Any, own: Mapping[str, Slot], counts: bool) -> Variables:
    """Makes the slots of a weight, on its device.

    Args:
        add_variable: As of a Keras optimizer.
        variable: The weight.
        own: The rule's own slots by name.
        counts: Whether each row of a table counts the steps that touched it.
    """
    path = getattr(variable, "path", variable.name).replace("/", "_").replace(":", "_")

    def slot(name: str, initial: float, shape: Sequence[int], dtype: Any) -> Any:
        value = variable.value if isinstance(variable, keras.Variable) else variable
        with tf.distribute.get_strategy().extended.colocate_vars_with(value):
            # `keras.initializers.Constant` would round the value to float32 on its way to float64.
            fill = functools.partial(filled, initial)
            return add_variable(shape=shape, dtype=dtype, initializer=fill, name=f"{path}_{name}")

    dtype = working_dtype(variable)
    made = {name: slot(name, initial, shape, dtype) for name, (initial, shape) in own.items()}
    if counts and is_embedding_table(variable):
        # A float needs no integer kernels on accelerators; where it stops counting, at 2^24 touches of one row, every
        # correction made from it has long converged.
        made["step"] = slot("step", 0.0, (variable.shape[0],) + (1,) * (len(variable.shape) - 1), dtype)
    # Always made, so that a run may change `track_every` and still resume from its checkpoints.
    made["diagnostics"] = slot("diagnostics", float("nan"), (len(DIAGNOSTICS),), "float32")
    return made


def filled(value: float, shape: Sequence[int], dtype: Any) -> tf.Tensor:
    """An initializer whose value keeps float64."""
    return tf.fill(shape, tf.constant(value, dtype))


def renew(strategy: Any, slots: Variables, own: Mapping[str, Slot], rows: tf.Tensor) -> None:
    """Starts the state of rows of a table anew; in cross-replica context."""
    for name, slot in slots.items():
        if name != "diagnostics":
            value = own[name].initial if name in own else 0.0
            initial = tf.fill([len(rows), *slot.shape[1:]], tf.constant(value, slot.dtype))
            strategy.extended.update(slot.value, write_row_values, args=(rows, initial))


def touched(slots: Variables, own: Mapping[str, Slot]) -> tf.Tensor | None:
    """Which rows of a table have a slot that is not at its start, `(rows,)` bool; None without slots."""
    moved = [
        tf.reduce_any(slots[name].value != tf.constant(initial, slots[name].dtype), axis=1)
        for name, (initial, _) in own.items()
    ]
    return tf.reduce_any(tf.stack(moved), axis=0) if moved else None


def figures(slots: Variables) -> dict[str, float]:
    """The figures of the last tracked step, by name."""
    return dict(zip(DIAGNOSTICS, slots["diagnostics"].numpy().tolist(), strict=True))
