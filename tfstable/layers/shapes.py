"""Shapes that must be equal, where TensorFlow would broadcast in silence."""

import keras


def check_one_input(layer: keras.layers.Layer, shape, rank: int | None = None):
    """Checks the shape that a layer is built with: one tensor, of a rank, with a known last axis that is not empty.

    Raises:
        ValueError: If it is another.
    """
    if not isinstance(shape, tuple | list) or any(isinstance(axis, tuple | list) for axis in shape):
        raise ValueError(f"{_named(layer)} takes one tensor, got inputs of shapes {shape}")
    if (rank is not None and len(shape) != rank) or len(shape) < 2 or not shape[-1]:
        wanted = {2: "(batch, width)", 3: "(batch, length, width)"}.get(rank, "(batch, ..., width)")
        raise ValueError(f"{_named(layer)} takes {wanted} with a known width of at least 1, got {tuple(shape)}")


def check_equal(layer: keras.layers.Layer, what: str, shape, wanted):
    """Checks a shape by what is known of it; None stands for what is not.

    Raises:
        ValueError: If it is another than `wanted`.
    """
    same = len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )
    if not same:
        raise ValueError(f"{_named(layer)}: {what} must have shape {tuple(wanted)}, got {tuple(shape)}")


def _named(layer) -> str:
    return f"{type(layer).__name__} {layer.name!r}"
