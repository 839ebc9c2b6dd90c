"""What becomes of one weight: pure functions of arrays, for weights, their averages and the optimizer's state alike."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

Places = np.ndarray  # (new,) int: the position there of each position here; -1 for a new one.
Read = Callable[[str], np.ndarray | None]  # The array there of a weight, by path.


class Move(Protocol):
    """Makes the array of a weight here from arrays there."""

    def __call__(self, fresh: np.ndarray, read: Read, of_weights: bool) -> np.ndarray:
        """Returns the array, of the shape of `fresh`.

        Args:
            fresh: As it is in a new model.
            read: Reads arrays there.
            of_weights: Whether they are weights, whose new inputs start at zero; else new parts stay fresh.
        """
        ...


class Carry(NamedTuple):
    """Copies a weight by the positions of its axes.

    A part whose input is new and whose outputs are known starts at zero, so that it adds nothing to them. Parts with a
    new output stay fresh. The last axis is the output's, the ones before it are inputs; of a vector the axis is both.

    Attributes:
        old: Path there.
        axes: Per axis its places; None: as they are.
    """

    old: str
    axes: tuple[Places | None, ...] = ()

    def __call__(self, fresh: np.ndarray, read: Read, of_weights: bool) -> np.ndarray:
        found = read(self.old)
        if found is None:
            return fresh
        if not any(axis is not None for axis in self.axes):
            return found.astype(fresh.dtype)
        return spread(found, fresh, self.axes, of_weights)

    def without(self, axis: int, rank: int) -> "Carry":
        """Returns the move of an array that lacks an axis, counted from the end, of a weight of this rank."""
        axes = [*self.axes, *[None] * (rank - len(self.axes))]
        del axes[axis]
        return Carry(self.old, tuple(axes))


def spread(
    found: np.ndarray, fresh: np.ndarray, axes: Sequence[Places | None], new_inputs_are_zero: bool
) -> np.ndarray:
    """Returns `found` at its places here, and zeros or `fresh` elsewhere; see `Carry`."""
    known = np.ones((1,) * fresh.ndim, bool)
    known_output = known
    for number, axis in enumerate(axes):
        if axis is None or fresh.shape[number] != len(axis):  # A state of one number per row has no columns.
            continue
        is_known = np.expand_dims(axis >= 0, [n for n in range(fresh.ndim) if n != number])
        known = known & is_known
        if number == fresh.ndim - 1:
            known_output = known_output & is_known
        found = found.take(np.maximum(axis, 0), axis=number)
    rest = np.where(known_output, 0, fresh) if new_inputs_are_zero and fresh.ndim > 1 else fresh
    return np.where(known, found, rest).astype(fresh.dtype)


class Zeros(NamedTuple):
    """Sets a weight to zero: a head or a cross layer that adds nothing yet."""

    def __call__(self, fresh: np.ndarray, read: Read, of_weights: bool) -> np.ndarray:
        return np.zeros_like(fresh) if of_weights else fresh


class TablePart(NamedTuple):
    """A table inside a stacked variable.

    Attributes:
        start: Its first row here.
        old, old_start, old_rows: The variable there, and the table's rows in it.
        rows: Its rows' places.
        joined: `(rows,)` bool: rows of which the optimizer has seen nothing.
        columns: Its columns' places; None: as they are.
    """

    start: int
    old: str
    old_start: int
    old_rows: int
    rows: Places
    joined: np.ndarray
    columns: Places | None = None


class Stack(NamedTuple):
    """Fills the tables of a stacked variable; tables without a counterpart stay fresh."""

    parts: tuple[TablePart, ...]

    def __call__(self, fresh: np.ndarray, read: Read, of_weights: bool) -> np.ndarray:
        made = fresh.copy()
        for part in self.parts:
            found = read(part.old)
            if found is None:
                continue
            places = part.rows if of_weights else np.where(part.joined, -1, part.rows)
            own = slice(part.start, part.start + len(places))
            axes = (places, *[part.columns if axis else None for axis in range(1, fresh.ndim)])
            table = found[part.old_start : part.old_start + part.old_rows]
            if part.columns is None and (places >= 0).all():
                made[own] = table[places]
            else:
                made[own] = spread(table, fresh[own], axes, new_inputs_are_zero=False)
        return made


class Fold(NamedTuple):
    """Adds to a bias what inputs that are gone gave on average: mean(x) K, mean(x) K_1 K_2, or the sum of mean(x).

    Attributes:
        bias: Path of the bias here.
        mean: Which vector there the inputs are part of; see `sample.means`.
        gone: Positions of the inputs in it.
        kernels: Paths there.
        columns: The places of the bias; None: as they are.
    """

    bias: str
    mean: str
    gone: np.ndarray
    kernels: tuple[str, ...]
    columns: Places | None = None

    def __call__(self, bias: np.ndarray, mean: np.ndarray, read: Read) -> np.ndarray:
        value = mean[self.gone].astype(np.float64)
        if not self.kernels:
            value = value.sum(keepdims=True)
        for number, path in enumerate(self.kernels):
            kernel = read(path)
            if kernel is None:
                return bias
            value = value @ (kernel[self.gone] if not number else kernel).astype(np.float64)
        if self.columns is not None:
            value = np.where(self.columns >= 0, value[np.maximum(self.columns, 0)], 0.0)
        return (bias + value).astype(bias.dtype)
