"""New layers in a trained model, without a change of its predictions."""

import keras

from tfstable.layers.rezero import ReZero


def insert(model: keras.Sequential, position: int, layer: keras.layers.Layer) -> keras.Sequential:
    """Returns a deeper model that predicts the same: `ReZero(layer)` before the layer at `position`.

    The new gate is zero, so x + 0 * F(x) = x: predictions are equal bit for bit, and training goes on from there. The
    trained layers are shared with `model`, not copied. `ReZeroStack.insert` does the same inside a stack.

    Args:
        model: A built sequential model.
        position: In [0, number of layers]; the latter appends.
        layer: The layer to add; its output has the shape of its input.

    Raises:
        ValueError: If `model` is not built or `position` is outside its domain.

    Reference:
        Bachlechner et al., "ReZero is All You Need: Fast Convergence at Large Depth", 2020.
    """
    if not (model.built and 0 <= position <= len(model.layers)):
        raise ValueError(f"insert needs a built model and a position in [0, {len(model.layers)}], got {position}")
    deeper = keras.Sequential(
        [*model.layers[:position], ReZero(layer, dtype=layer.dtype_policy), *model.layers[position:]], name=model.name
    )
    deeper.build(model.input_shape)
    return deeper
