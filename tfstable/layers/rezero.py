"""ReZero: residual branches that start at zero."""

from typing import Any, Self

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape, check_equal, check_one_input


@keras.saving.register_keras_serializable(package="tfstable")
class ReZero(keras.layers.Layer):
    """Residual connection around any layer, gated by a trainable scalar that starts at zero.

        y = x + alpha * F(x),  alpha = 0 at the start

    The layer starts as the identity, for any F and any depth: signals and gradients pass unchanged. Training opens each
    branch as far as the loss asks. The only requirement is that F(x) is finite.

    Args:
        layer: The layer F; its output has the shape of its input. For an attention layer, x is query, key and value. To
            attend to a `context` of another width, build F first.

    Call arguments:
        x: Input.
        context: For an attention layer: `(batch, length, ...)`, the keys and values. Default: x.
        **kwargs: Passed to F: `training`, `attention_mask`, ...

    Shapes:
        `(batch, ..., width)` in, same shape out.

    Raises:
        ValueError: If the input is not one tensor, or F returns another shape.

    Reference:
        Bachlechner et al., "ReZero is All You Need: Fast Convergence at Large Depth", 2020.

    Examples:
        A new branch changes nothing until its gate opens:

        >>> from tfstable.layers import ReZero
        >>> layer = ReZero(keras.layers.Dense(2))
        >>> layer(keras.ops.array([[1.0, 2.0]])).numpy().tolist()
        [[1.0, 2.0]]
        >>> float(layer.alpha)
        0.0
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        self.layer = layer
        self.supports_masking = True
        attention = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
        self._inputs = 2 if isinstance(layer, attention) else 1

    def build(self, input_shape: Shape) -> None:
        check_one_input(self, input_shape)
        if not self.layer.built:
            self.layer.build(*[input_shape] * self._inputs)
        x = keras.KerasTensor(input_shape, self.compute_dtype)
        self._check(x, self.layer.compute_output_spec(*[x] * self._inputs))
        self.alpha = self.add_weight(shape=(), initializer="zeros", name="alpha")
        self.built = True

    def call(self, x: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        inputs = (x, kwargs.pop("context", x)) if self._inputs == 2 else (x,)
        y = self.layer(*inputs, **kwargs)
        self._check(x, y)
        return x + self.alpha * y

    def _check(self, x: tf.Tensor, y: tf.Tensor) -> None:
        if isinstance(y, tuple | list | dict):
            raise ValueError(f"ReZero {self.name!r}: {self.layer.name!r} must put out one tensor, got {len(y)}")
        check_equal(self, f"the output of {self.layer.name!r}", y.shape, x.shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})
