"""Stacks of dense layers, as the options of a model describe them."""

from collections.abc import Sequence
from typing import Any

import keras

from tfstable.layers import ClipActivation, GeneralisedSmeLU, MeanSquareOrthogonal, ReZero, SmeLU, activation_gain
from tfstable.options import RankingOptions


def dense_stack(
    options: RankingOptions, units: Sequence[int], name: str, rezero: bool, dtype: Any, linear_input: bool = False
) -> keras.Sequential:
    """Returns dense layers with the activation, normalisation and dropout of `options`.

    Args:
        options: The model's options.
        units: Widths of the layers; the identity without any.
        name: The stack's name.
        rezero: Add residuals around layers that keep the width of the layer before.
        dtype: The layers' dtype policy.
        linear_input: Whether the first layer reads no activation's output, so that its kernel has gain 1.
    """
    gain = activation_gain_of(options)
    layers: list[keras.layers.Layer] = []
    width = None
    for i, size in enumerate(units):
        kernel = kernel_initializer(options, 1.0 if linear_input and i == 0 else gain)
        block = [keras.layers.Dense(size, kernel_initializer=kernel, name=f"dense_{i}", dtype=dtype)]
        if options.hidden_normalisation:
            norm = keras.layers.LayerNormalization(epsilon=options.normalisation_epsilon, name=f"norm_{i}", dtype=dtype)
            block.append(norm)
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


def kernel_initializer(options: RankingOptions, gain: float) -> str | keras.initializers.Initializer:
    """Returns the initializer of a kernel, with the gain of the activation that makes its input; 1 of none."""
    if options.kernel_initializer == "fan_in":
        return keras.initializers.VarianceScaling(gain**2, "fan_in", "truncated_normal")
    if options.kernel_initializer == "orthogonal":
        return MeanSquareOrthogonal(gain)
    return {"he": "he_normal", "glorot": "glorot_uniform"}[options.kernel_initializer]


def output_start(options: RankingOptions, bias: float) -> dict[str, Any]:
    """Returns the initializers of an output layer: of its bias, and a linear layer's of its kernel."""
    # Keras's default where `options` name no gain.
    kernel = "glorot_uniform" if options.kernel_initializer == "he" else kernel_initializer(options, 1.0)
    return {"kernel_initializer": kernel, "bias_initializer": keras.initializers.Constant(bias)}


def activation_gain_of(options: RankingOptions) -> float:
    """Returns the gain of the activation and its clipping; 1 where no initializer asks for it."""
    if options.kernel_initializer not in ("fan_in", "orthogonal"):
        return 1.0
    function = keras.activations.get(activation(options, "float64"))
    if options.activation_clip is None:
        return activation_gain(function)
    clip = ClipActivation(options.activation_clip, dtype="float64")
    return activation_gain(lambda z: clip(function(z)))


def activation(options: RankingOptions, dtype: Any) -> str | keras.layers.Layer:
    """Returns the activation of `options`: Keras's name for it, or a layer."""
    if options.activation != "smelu":
        return options.activation
    if options.slope_below:
        return GeneralisedSmeLU(options.beta, options.beta, options.slope_below, dtype=dtype)
    return SmeLU(options.beta, dtype=dtype)
