"""New layers in a trained model, without a change of its predictions."""

from collections.abc import Sequence

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
    new = ReZero(layer, dtype=layer.dtype_policy)
    deeper = keras.Sequential([*model.layers[:position], new, *model.layers[position:]], name=model.name)
    deeper.build(model.input_shape)
    return deeper


def carry_over(trained: keras.Model, deeper: keras.Model, new: Sequence[ReZero]) -> None:
    """Copies the weights of `trained` into `deeper`, the same model with `new` layers: then both predict the same.

    This is `insert` for models that are made by their config, `RankingModel` among them:

        deeper = RankingModel.from_config({**trained.get_config(), "units": [256] * 12})    # 8 before; rezero: true
        deeper.build()
        carry_over(trained, deeper, new=deeper.bottom.layers[-4:])

    Args:
        trained: A built model.
        deeper: A built model whose weights are those of `trained`, in order, once those of `new` are left out.
        new: ReZero layers of `deeper` that have not been trained.

    Raises:
        ValueError: If the weights do not correspond, or a layer of `new` is not closed.
    """
    if not all(isinstance(layer, ReZero) and float(layer.alpha) == 0 for layer in new):
        raise ValueError(f"new layers must be ReZero with alpha = 0, got {[layer.name for layer in new]}")
    left_out = {id(weight) for layer in new for weight in layer.weights}
    kept = [weight for weight in deeper.weights if id(weight) not in left_out]
    if [w.shape for w in kept] != [w.shape for w in trained.weights]:
        raise ValueError(
            f"the weights of deeper without those of new must be those of trained, got {len(kept)} of other shapes or "
            f"number than {len(trained.weights)}"
        )
    for target, source in zip(kept, trained.weights, strict=True):
        target.assign(source)
