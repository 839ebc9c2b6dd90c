"""Stacks of dense layers, as the options of a model describe them."""

from collections.abc import Sequence
from typing import Any

import keras

from tfstable.layers import ClipActivation, GeneralisedSmeLU, ReZero, SmeLU
from tfstable.options import RankingOptions


def dense_stack(options: RankingOptions, units: Sequence[int], name: str, rezero: bool, dtype: Any) -> keras.Sequential:
    """Returns dense layers with the activation, normalisation and dropout of `options`.

    Args:
        options: The model's options.
        units: Widths of the layers; the identity without any.
        name: The stack's name.
        rezero: Add residuals around layers that keep the width of the layer before.
        dtype: The layers' dtype policy.
    """
    layers: list[keras.layers.Layer] = []
    width = None
    for i, size in enumerate(units):
        block = [keras.layers.Dense(size, kernel_initializer="he_normal", name=f"dense_{i}", dtype=dtype)]
        if options.hidden_normalisation:
            block.append(keras.layers.LayerNormalization(name=f"norm_{i}", dtype=dtype))
        function = activation(options, dtype)
        if isinstance(function, str):
            function = keras.layers.Activation(function, dtype=dtype)
        block.append(function)
        if options.activation_clip is not None:
            block.append(ClipActivation(options.activation_clip, dtype=dtype))
        if options.dropout:
            block.append(keras.layers.Dropout(options.dropout, dtype=dtype))
        if rezero and size == width:
            block = [ReZero(keras.Sequential(block), name=f"rezero_{i}", dtype=dtype)]
        layers += block
        width = size
    return keras.Sequential(layers or [keras.layers.Identity(dtype=dtype)], name=name)


def activation(options: RankingOptions, dtype: Any) -> str | keras.layers.Layer:
    """Returns the activation of `options`: Keras's name for it, or a layer."""
    if options.activation != "smelu":
        return options.activation
    if options.slope_below:
        return GeneralisedSmeLU(options.beta, options.beta, options.slope_below, dtype=dtype)
    return SmeLU(options.beta, dtype=dtype)
