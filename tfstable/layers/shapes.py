"""Shapes that must be equal, where TensorFlow would broadcast in silence."""

from collections.abc import Sequence

import keras

Shape = tuple[int | None, ...]  # None: not known when the graph is built.


def check_one_input(layer: keras.layers.Layer, shape: Sequence[int | None], rank: int | None = None) -> int:
    """Checks the shape that a layer is built with: one tensor, of a rank, with a known last axis that is not empty.

    Returns:
        The length of the last axis.

    Raises:
        ValueError: If it is another.
    """
    if not isinstance(shape, tuple | list) or any(isinstance(axis, tuple | list) for axis in shape):
        raise ValueError(f"{_named(layer)} takes one tensor, got inputs of shapes {shape}")
    if (rank is not None and len(shape) != rank) or len(shape) < 2 or not shape[-1]:
        wanted = "(batch, width)" if rank == 2 else "(batch, length, width)" if rank == 3 else "(batch, ..., width)"
        raise ValueError(f"{_named(layer)} takes {wanted} with a known width of at least 1, got {tuple(shape)}")
    return shape[-1]


def check_pair(layer: keras.layers.Layer, query: Sequence[int | None], keys: Sequence[int | None]) -> tuple[int, int]:
    """Checks the shapes that a layer of a query and a history is built with: `(batch, q)` and `(batch, length, k)`.

    Returns:
        q and k.

    Raises:
        ValueError: If one is another, or `length` is not known.
    """
    if len(keys) == 3 and not keys[1]:
        raise ValueError(f"{_named(layer)} takes keys of a known length of at least 1, got {tuple(keys)}")
    return check_one_input(layer, query, rank=2), check_one_input(layer, keys, rank=3)


def check_equal(
    layer: keras.layers.Layer, what: str, shape: Sequence[int | None], wanted: Sequence[int | None]
) -> None:
    """Checks a shape by what is known of it; None stands for what is not.

    Raises:
        ValueError: If it is another than `wanted`.
    """
    same = len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )
    if not same:
        raise ValueError(f"{_named(layer)}: {what} must have shape {tuple(wanted)}, got {tuple(shape)}")


def _named(layer: keras.layers.Layer) -> str:
    return f"{type(layer).__name__} {layer.name!r}"
