"""New layers in a trained model, without a change of its predictions."""

from collections.abc import Sequence

import keras

from tfstable.layers.rezero import ReZero


def insert(model: keras.Sequential, position: int, layer: keras.layers.Layer) -> keras.Sequential:
    """Returns a deeper model with the same predictions: it has `ReZero(layer)` before the layer at `position`.

    The new gate is zero, so x + 0 * F(x) = x: predictions are equal bit for bit, and training continues from there. The
    deeper model shares the trained layers with `model`. `ReZeroStack.insert` does the same inside a stack.

    Args:
        model: A built `keras.Sequential`. A functional or subclassed model may branch and share layers, which a list of
            layers cannot express: build a new model with the layer in it, and use `carry_over`.
        position: In [0, number of layers]; the latter appends. A model inside the model is one layer.
        layer: The layer to add; its output has the shape of its input.

    Raises:
        ValueError: If `model` is not a `keras.Sequential` or not built, `position` is outside its domain, or `layer`
            returns another shape.

    Reference:
        Bachlechner et al., "ReZero is All You Need: Fast Convergence at Large Depth", 2020.

    Examples:
        >>> from tfstable.layers import insert
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
        >>> deeper = insert(model, position=1, layer=keras.layers.Dense(8, activation="relu"))
        >>> x = keras.ops.ones((2, 4))
        >>> bool((deeper(x) == model(x)).numpy().all()), len(deeper.layers)
        (True, 3)
    """
    if not isinstance(model, keras.Sequential) or type(model).call is not keras.Sequential.call:
        raise ValueError(
            f"insert needs a keras.Sequential, whose layers follow each other, got {type(model).__name__} "
            f"{model.name!r}; build a new model with the layer in it, and use carry_over"
        )
    if not (model.built and 0 <= position <= len(model.layers)):
        raise ValueError(f"insert needs a built model and a position in [0, {len(model.layers)}], got {position}")
    new, (given,) = ReZero(layer, dtype=layer.dtype_policy), model.inputs
    # Keeps the dtype: an id cast to float32 may become another id.
    start = keras.Input(batch_shape=given.shape, dtype=given.dtype, name=given.name)
    return keras.Sequential([start, *model.layers[:position], new, *model.layers[position:]], name=model.name)


def carry_over(trained: keras.Model, deeper: keras.Model, new: Sequence[ReZero]) -> None:
    """Copies the weights of `trained` into `deeper`, the same model with `new` layers. Both then predict the same.

    Use it instead of `insert` for models that are made from a config, such as `RankingModel`:

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
            f"the weights of deeper, without the layers in new, must match the {len(trained.weights)} weights of "
            f"trained in number and shapes, got {len(kept)} weights"
        )
    for target, source in zip(kept, trained.weights, strict=True):
        target.assign(source)
